"""Stores of other people: named by scheme, entry point or class, told what their URL and the options of tables say; and who gets which."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from importlib import import_module
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from stream_app import App
from stream_core.errors import ConfigurationError
from stream_core.memory import MemoryCluster, MemoryStores
from stream_core.ports import Stores
from stream_core.testing.contracts import store

MODULE = """
from stream_core.memory import MemoryStores

made = []

class Shelves(MemoryStores):
    def __init__(self, directory, *, url, depth="1", colour=None):
        made.append((directory.name, url, depth, colour))
        super().__init__()

class Plain(MemoryStores):
    def __init__(self, directory):
        super().__init__()
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package with drivers, and an entry point for one of them; its name."""
    name = f"stores_{uuid4().hex}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    info = tmp_path / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[stream.stores]\nshelves = {name}:Shelves\n")
    monkeypatch.syspath_prepend(tmp_path)
    return name


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Callable[..., App]]:
    """Makes apps on a cluster of the test's own."""
    name = uuid4().hex
    yield lambda **options: App(
        "app", **{"broker": f"memory://{name}", "datadir": tmp_path, "web_enabled": False, **options}
    )
    MemoryCluster.discard(name)


async def made_by(app: App, package: str) -> list[tuple[Any, ...]]:
    """What the driver of the package is told while an app starts: directory, URL and options."""
    module = import_module(package)
    module.made.clear()
    async with app:
        pass
    told: list[tuple[Any, ...]] = module.made
    return told


@pytest.mark.parametrize("how", ["entry point", "path with a dot", "path with a colon"])
async def test_a_driver_is_named_by_its_url(make: Callable[..., App], package: str, how: str) -> None:
    """It is called with the directory, the URL without its query, and the options by name; for this worker alone once more."""
    scheme = {"entry point": "shelves", "path with a dot": f"{package}.Shelves"}.get(how, f"{package}:Shelves")
    app = make(store=f"{scheme}://cellar/left?depth=3")
    app.Table("t")
    assert await made_by(app, package) == [("tables", f"{scheme}://cellar/left", "3", None)] * 2


async def test_tables_have_options_of_their_own(make: Callable[..., App], package: str) -> None:
    """What the app says holds for all tables of the driver; what the URL of a table says, and what its options say, counts before it."""
    app = make(store="shelves://?depth=3")
    app.Table("as_the_app", store="shelves")
    app.Table("plain")
    app.Table("deep", options={"depth": 9})
    app.Table("red", store="shelves://cellar?colour=red&depth=5", options={"depth": 6})
    app.Table("other", store=f"{package}:Plain")
    expected = {
        ("tables", "shelves://", "3", None),
        ("tables", "shelves://", 9, None),
        ("tables", "shelves://cellar", 6, "red"),
    }
    assert set(await made_by(app, package)) == expected


@pytest.mark.parametrize(
    ("url", "options", "says"),
    [
        ("shelves://?dept=3", {}, "got an unexpected keyword argument 'dept'; did you mean depth?"),
        ("shelves://", {"color": "red"}, "'color'; did you mean colour?"),
        ("{package}:Plain://?depth=3", {}, "cannot be used with these options"),
        ("shelvs://", {}, "did you mean shelves://"),
        ("pathlib:PurePath://", {}, "pathlib:PurePath:// opens no stores: .* no method open; see the page Stores"),
        ("no.such:Stores://", {}, "cannot be loaded .*; write package.module:Class"),
    ],
)
async def test_what_a_driver_does_not_take(
    make: Callable[..., App], package: str, url: str, options: dict[str, Any], says: str
) -> None:
    """It is told before the app starts anything, with the nearest name."""
    app = make(store=url.format(package=package))
    app.Table("t", options=options)
    with pytest.raises(ConfigurationError, match=says):
        await app.start()
    await app.stop()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("memory://?size=1", "memory:// has no options: leave size out"),
        ("rocksdb://?blom=1", "rocksdb:// has no option 'blom'; did you mean bloom"),
        ("rocksdb://?cache=1G&cache=2G", "says something twice"),
        ("rocksdb://?cache", "cannot be used"),
        ("rocksdb:///tmp/stores", "the setting datadir names: leave /tmp/stores out"),
        ("rocksdb:", "it has no scheme: write rocksdb://"),
        ("://", "it has no scheme: write rocksdb://"),
        ("rocksdb://?cache=4M&write_buffer=8M", "cache is 4194304, which must be more than write_buffer"),
    ],
)
def test_the_setting_is_read_where_it_is_assigned(make: Callable[..., App], url: str, says: str) -> None:
    """What our own drivers do not know is refused at once."""
    with pytest.raises(ConfigurationError, match=says):
        make(store=url)


class Where(MemoryStores):
    """In-process stores that note the directory which they are given; another one is for copies."""

    directories: list[Path] = []  # noqa: RUF012 - cleared by the test

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self.directories.append(directory)


async def test_options_reach_rocksdb(make: Callable[..., App]) -> None:
    """Each table is kept as the app and the table say: RocksDB writes down with what it was opened."""
    Where.directories.clear()
    app, done = make(store="rocksdb://?cache=64M&compression=none", topic_partitions=1), asyncio.Event()
    app.Table("a")
    app.Table("b", options={"bloom_filter_size": 0, "compression": "zstd"})
    app.Table("c", store="rocksdb://?open_files=70")
    app.Table("d", store=f"{__name__}:Where")
    seen = app.topic("seen", value_type=str)

    @app.agent(seen)
    async def look(stream: Any) -> None:
        async for _ in stream:
            done.set()

    async with app, asyncio.timeout(30):
        await seen.send("now")
        await done.wait()
    written = {
        table: next((Where.directories[0] / f"{table}-0.db").glob("OPTIONS-*")).read_text() for table in ("a", "b", "c")
    }
    for table, compression, bloom, files in (
        ("a", "kNoCompression", True, -1),
        ("b", "kZSTD", False, -1),
        ("c", "kNoCompression", True, 70),
    ):
        for line in f"compression={compression}", f"max_open_files={files}", f"write_buffer_size={8 << 20}":
            assert f"  {line}" in written[table], (table, line)
        assert ("filter_policy=nullptr" not in written[table]) is bloom


async def test_options_of_a_table_that_is_tried_in_memory(make: Callable[..., App]) -> None:
    """Where the app keeps its tables in memory, what a table says of a store on disk has no effect."""
    app = make()
    app.Table("t", options={"bloom": 0})
    async with app:
        pass


class OneDirectory:
    """The shortest driver: the in-process stores, kept by the directory."""

    def __init__(self, directory: Path) -> None:
        self._stores = MemoryStores()
        self.open, self.destroy, self.close = self._stores.open, self._stores.destroy, self._stores.close


@pytest.mark.parametrize("check", store.CHECKS, ids=lambda check: check.__name__)
async def test_the_contract_is_for_everybody(check: Callable[[Stores], Any], tmp_path: Path) -> None:
    """The suite takes any driver."""
    await check(OneDirectory(tmp_path))
