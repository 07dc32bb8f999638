"""Directories for the state of clusters."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from stream_core.errors import StoreError
from stream_core.memory import MemoryStores
from stream_tables.places import PlacedStores, place_of


def test_the_first_cluster_has_the_directory_itself(tmp_path: Path) -> None:
    """The others are below it, each in one of its own; and so it stays."""
    root = tmp_path / "data"
    for _ in range(2):
        assert place_of("one", root) == root
        assert place_of("two", root) == root / "clusters" / "two"
        assert place_of("../../etc", root) == root / "clusters" / "______etc"
        assert place_of("", root) == root


def test_a_file_whose_writer_has_died_belongs_to_nobody(tmp_path: Path) -> None:
    """An empty one is written by the next."""
    (tmp_path / "cluster").touch()
    assert place_of("one", tmp_path) == tmp_path
    assert (tmp_path / "cluster").read_text() == "one"


def test_one_of_many_is_first(tmp_path: Path) -> None:
    """However many begin at once."""
    names = [f"cluster-{number}" for number in range(16)]
    with ThreadPoolExecutor(16) as pool:
        places = list(pool.map(lambda name: place_of(name, tmp_path), names))
    assert places.count(tmp_path) == 1
    assert len(set(places)) == 16


def test_a_directory_that_cannot_be_written(tmp_path: Path) -> None:
    """It is an error that names it."""
    (tmp_path / "data").touch()
    with pytest.raises(StoreError, match=r"data directory .*data cannot be written: .*set another one \(datadir\)"):
        place_of("one", tmp_path / "data")


def test_stores_that_have_no_place_yet(tmp_path: Path) -> None:
    """They cannot be opened, and can be closed; the first place counts."""
    made: list[Path] = []

    def make(directory: Path) -> MemoryStores:
        made.append(directory)
        return MemoryStores()

    stores = PlacedStores(make)
    stores.close()
    with pytest.raises(StoreError, match="before its directory is known"):
        stores.open("counts", 0)
    stores.place(tmp_path / "one")
    stores.place(tmp_path / "two")
    stores.open("counts", 0).close()
    stores.destroy("counts", 0)
    stores.close()
    assert made == [tmp_path / "one"]
