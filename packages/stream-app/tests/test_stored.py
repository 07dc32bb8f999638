"""Stores that are looked at while no worker runs: how large they are, how far, and what of them counts beside a changelog."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from stream_app import App
from stream_core.memory import MemoryStores
from stream_core.primitives import TP, StoredRecord
from stream_tables.changelog import claim, encode_origin
from stream_tables.driver import open_stores
from stream_tables.partition import Facts
from stream_tables.table import Table

CHANGELOG = TP("bank-totals-changelog", 0)


@pytest.fixture
def app(tmp_path: Path) -> App:
    """An app that is not started, on a broker that nobody asks."""
    return App("bank", broker="kafka://nowhere", store="rocksdb://", datadir=tmp_path, web_enabled=False)


@pytest.fixture
def totals(app: App) -> Table[str, int]:
    """Its table."""
    return app.Table("totals", default=int, key_type=str, value_type=int)


def leave(
    directory: Path, values: Mapping[bytes, bytes], *, partition: int = 0, table: str = "totals", **facts: object
) -> None:
    """Leave a store behind, as a worker does."""
    names = {"position": Facts.POSITION, "topic_id": Facts.TOPIC_ID, "epoch": Facts.EPOCH, "written": Facts.WRITTEN_AT}
    told = {"written": int(time.time()), "topic_id": "id", **facts}
    stores = open_stores(directory)
    stores.open(table, partition).write(values, {names[name]: str(value).encode() for name, value in told.items()})
    stores.close()


@pytest.fixture
def held(app: App) -> Iterator[Any]:
    """The store of partition 0, open in a worker."""
    leave(app.conf.tabledir, {b'"a"': b"1"}, position=5)
    stores = open_stores(app.conf.tabledir)
    yield stores.open("totals", 0)
    stores.close()


def test_how_large_stores_are_and_how_far(app: App, totals: Table[str, int]) -> None:
    """Of each partition, also copies and those of other clusters; not of other tables whose names begin alike."""
    assert app.local_state.stored(totals).partitions() == []
    leave(app.conf.tabledir, {b'"a"': b"1", b'"b"': b"2"}, position=7)
    leave(app.conf.tabledir, {b'"c"': b"1"}, partition=11, position=3)
    leave(app.conf.tabledir, {b'"x"': b"1"}, table="totals-1", position=3)
    leave(app.conf.appdir / "instances/0/tables", {}, position=2)
    leave(app.conf.appdir / "clusters/other/tables", {b'"a"': b"1"})
    found = app.local_state.stored(totals).partitions()
    assert [(one.partition, one.state, one.position, one.keys) for one in found] == [
        (0, "closed", None, 1),
        (0, "closed", 2, 0),
        (0, "closed", 7, 2),
        (11, "closed", 3, 1),
    ]
    assert all(one.bytes > 1000 for one in found)
    assert found[3].path == app.conf.tabledir / "totals-11.db"


def test_a_store_that_a_worker_has_open(app: App, totals: Table[str, int], held: Any) -> None:
    """It tells its size alone, and the changelog is read from its beginning."""
    (found,) = app.local_state.stored(totals).partitions()
    assert (found.state, found.position, found.keys) == ("in use", None, None)
    assert found.bytes > 1000
    position, replay = app.local_state.stored(totals).begin(CHANGELOG, "id", 0, 10, None)
    assert (position, list(replay.items())) == (0, [])
    assert held.fact(Facts.POSITION) == b"5"


def test_a_store_that_is_damaged(app: App, totals: Table[str, int]) -> None:
    """It is said, and not read; its worker mends it."""
    leave(app.conf.tabledir, {b'"a"': b"1"}, position=5)
    (app.conf.tabledir / "totals-0.db/CURRENT").write_text("garbage")
    stored = app.local_state.stored(totals)
    assert [(one.state, one.position) for one in stored.partitions()] == [("damaged", None)]
    assert stored.begin(CHANGELOG, "id", 3, 10, None)[0] == 3


def test_tables_that_are_not_on_disk(app: App) -> None:
    """One in memory, or with a driver of somebody else, has nothing to look at."""
    leave(app.conf.tabledir, {b'"a"': b"1"}, position=5)
    for store in "memory", f"{__name__}:Elsewhere":
        table = app.Table(f"totals-{store[0]}", store=store)
        assert app.local_state.stored(table).partitions() == []


class Elsewhere(MemoryStores):
    """A driver of somebody else."""

    def __init__(self, directory: Path) -> None:
        super().__init__()


@pytest.mark.parametrize("only", [None, {b'"a"', b'"c"', b'"x"'}], ids=["all keys", "some keys"])
def test_a_store_and_what_came_behind_it(app: App, totals: Table[str, int], only: set[bytes] | None) -> None:
    """Of several copies the newest one counts; what the changelog has from its position on comes on top, by the rules of epochs."""
    leave(app.conf.tabledir, {b'"a"': b"1", b'"b"': b"2"}, position=7, epoch=4)
    leave(app.conf.appdir / "instances/0/tables", {b'"a"': b"0", b'"z"': b"9"}, position=6, epoch=4)
    position, replay = app.local_state.stored(totals).begin(CHANGELOG, "id", 2, 12, only)
    assert position == 7
    late, new = encode_origin(3, {}), encode_origin(5, {})
    for offset, (key, value, headers) in enumerate(
        [
            (b'"a"', b"100", late),
            (claim(CHANGELOG, 5).key, b"", claim(CHANGELOG, 5).headers),
            (b'"c"', b"3", new),
            (b'"x"', b"4", new),
            (b'"x"', None, new),
        ],
        position,
    ):
        replay.apply(StoredRecord(offset, 0, key, value, headers))
    expected = {"a": 1, "c": 3} if only else {"a": 1, "b": 2, "c": 3}
    assert dict(replay.items()) == expected


def test_a_table_with_windows_is_read_from_its_changelog(app: App, totals: Table[str, int]) -> None:
    """Its store has other keys than that."""
    totals.tumbling(10)
    leave(app.conf.tabledir, {b"\x80\0\0\0\0\0\0\0" + b'"a"': b"1"}, position=7)
    position, replay = app.local_state.stored(totals).begin(CHANGELOG, "id", 2, 12, None)
    assert (position, list(replay.items())) == (2, [])


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        ({"position": 7, "topic_id": "older"}, "another topic"),
        ({"position": 1}, "before the changelog begins"),
        ({"position": 13}, "behind its end"),
        ({}, "no position"),
        ({"position": 7, "written": 1}, "so old that deletions may be gone"),
    ],
)
def test_a_store_that_does_not_fit(app: App, totals: Table[str, int], facts: dict[str, Any], why: str) -> None:
    """What a worker would empty is not shown; and it is left as it is."""
    leave(app.conf.tabledir, {b'"a"': b"1"}, **facts)
    position, replay = app.local_state.stored(totals).begin(CHANGELOG, "id", 2, 12, None)
    assert (position, list(replay.items())) == (2, []), why
    (left,) = app.local_state.stored(totals).partitions()
    assert (left.position, left.keys) == (facts.get("position"), 1)
