"""Where an app keeps its state: that of one cluster is never taken for that of another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import stream_app as faust
from stream_core.primitives import TP

from .apps import OtherTransport, make, until


def counter(broker: str, datadir: Path, **options: Any) -> tuple[faust.App, faust.Table[str, int]]:
    """An app that counts words in RocksDB."""
    app = make(broker=broker, datadir=datadir, store="rocksdb://", **options)
    counts = app.Table("counts", default=int, key_type=str, value_type=int)

    @app.agent(app.topic("words", key_type=str, value_type=str, partitions=1), name="count")
    async def count(stream: faust.Stream[str]) -> None:
        async for word in stream:
            counts[word] += 1

    return app, counts


async def run(broker: str, datadir: Path, words: str, **options: Any) -> dict[str, int]:
    """Run an app on some words; returns what it has counted."""
    app, counts = counter(broker, datadir, **options)
    async with app:
        for word in words:
            await app.send("words", key=word, value=word)
        end = sum(counts.values()) + len(words)
        await until(lambda: sum(counts.values()) == end)
        return dict(counts.items())


def files(directory: Path) -> set[str]:
    """What is in a data directory: the stores and the ids of clusters."""
    found = [path for pattern in ("*.db", "cluster") for path in directory.rglob(pattern)]
    return {str(path.relative_to(directory)) for path in found if "instances" not in path.parts}


def times(directory: Path) -> dict[Path, int]:
    """When each file in a directory was changed."""
    return {path: path.stat().st_mtime_ns for path in directory.rglob("*")}


async def test_memory_never_touches_the_state_of_a_real_cluster(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A trial on ``memory://`` leaves the data directory as it is; it finds its own state again in the same process."""
    real = OtherTransport.url()
    assert await run(real, tmp_path, "aab") == {"a": 2, "b": 1}
    before = times(tmp_path)

    for words, expected in (("a", {"a": 1}), ("ac", {"a": 2, "c": 1})):
        assert await run("memory://trial", tmp_path, words) == expected
    assert times(tmp_path) == before
    assert await run(real, tmp_path, "b") == {"a": 2, "b": 2}
    assert "wiped" not in caplog.text


@pytest.mark.parametrize("tabledir", [None, "elsewhere"])
async def test_clusters_are_apart(tmp_path: Path, tabledir: str | None, caplog: pytest.LogCaptureFixture) -> None:
    """Staging and production under one data directory: each finds its own state again, and the first lies where it always did."""
    one, two = OtherTransport.url(), OtherTransport.url()
    options = {} if tabledir is None else {"tabledir": tmp_path / tabledir}
    assert await run(one, tmp_path, "aab", **options) == {"a": 2, "b": 1}
    first = files(tmp_path)
    assert first == (
        {"v1/tables/counts-0.db", "v1/cluster"} if tabledir is None else {"elsewhere/counts-0.db", "elsewhere/cluster"}
    )
    assert await run(two, tmp_path, "b", **options) == {"b": 1}
    (second,) = files(tmp_path) - first
    assert "/clusters/" in second
    assert await run(one, tmp_path, "b", **options) == {"a": 2, "b": 2}
    assert await run(two, tmp_path, "b", **options) == {"b": 2}
    assert "wiped" not in caplog.text


async def test_what_an_older_version_has_left_is_found_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It has no id of a cluster beside it: the first cluster that the app runs on has made it."""
    broker = OtherTransport.url()
    await run(broker, tmp_path, "aab")
    (tmp_path / "v1" / "cluster").unlink()

    app, counts = counter(broker, tmp_path)
    with caplog.at_level("INFO"):
        async with app:
            assert app.engine.ownership.sessions[TP("words", 0)].committed == 3
            assert dict(counts.items()) == {"a": 2, "b": 1}
    assert "recovered" not in caplog.text  # it was all on the disk
    assert files(tmp_path) == {"v1/tables/counts-0.db", "v1/cluster"}
