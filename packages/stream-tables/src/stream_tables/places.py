"""Where in a data directory the state of a cluster is: never where that of another one is."""

from __future__ import annotations

import fcntl
import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from stream_core.errors import StoreError
from stream_core.ports import Store, Stores

__all__ = ["PlacedStores", "place_of"]

logger = logging.getLogger(__name__)

OWNER = "cluster"
"""Name of the file that has the id of the cluster whose state lies directly in a directory."""


def place_of(cluster: str, root: Path) -> Path:
    """Give the directory below ``root`` for the state that belongs to a cluster.

    It is ``root`` itself for the cluster that comes first, which is kept in a file there, and ``root/clusters/{id}`` for all others. So
    what an older version has left in ``root`` is found again, by the first cluster that the app is run on.

    Args:
        cluster: id of the cluster; empty where it has none, which then counts as the first.
        root: a directory; it is created.

    Raises:
        StoreError: the directory cannot be written.
    """
    if not cluster:
        return root
    try:
        with _locked(root) as owner:
            first = os.pread(owner, 1024, 0).decode(errors="replace")
            if not first:
                os.pwrite(owner, cluster.encode(), 0)
    except OSError as error:
        raise StoreError(
            f"data directory {root} cannot be written: {error}; check it, or set another one (datadir)"
        ) from error
    if first in ("", cluster):
        return root
    place = root / "clusters" / re.sub(r"[^A-Za-z0-9_-]", "_", cluster)
    logger.info("the state of cluster %s is in %s, because %s has that of cluster %s", cluster, place, root, first)
    return place


@contextmanager
def _locked(root: Path) -> Iterator[int]:
    """Open the file with the id for this process alone: an empty file is one whose writer has died."""
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(root / OWNER, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


class PlacedStores:
    """Stores in a directory that is known once the broker has said which cluster it is; :meth:`place` comes before the first of them."""

    def __init__(self, make: Callable[[Path], Stores]) -> None:
        self._make = make
        self._stores: Stores | None = None

    def place(self, directory: Path) -> None:
        """Keep the stores in ``directory``; the first call counts."""
        if self._stores is None:
            self._stores = self._make(directory)

    def open(self, table: str, partition: int) -> Store:
        """Open a table partition; see :meth:`stream_core.ports.Stores.open`."""
        return self._placed.open(table, partition)

    def destroy(self, table: str, partition: int) -> None:
        """Remove the files of a table partition that is not open."""
        self._placed.destroy(table, partition)

    def close(self) -> None:
        """Close every store that is open."""
        if self._stores is not None:
            self._stores.close()

    @property
    def _placed(self) -> Stores:
        if self._stores is None:
            raise StoreError("a store is opened before its directory is known: start the tables first")
        return self._stores
