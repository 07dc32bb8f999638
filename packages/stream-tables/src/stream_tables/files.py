"""What the drivers of RocksDB have in common: where the files of a store are, how its batches are counted, what its errors mean."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, Generic, TypeVar

from stream_core.errors import ConfigurationError, StoreCorruptError, StoreError, StoreLockedError
from stream_core.ports import Store

__all__ = [
    "ARENA_BYTES",
    "BATCH",
    "BATCHES",
    "BUFFERS",
    "COUNTED",
    "FACTS",
    "VALUES",
    "Files",
    "check_batches",
    "failure",
    "numbers",
]

S = TypeVar("S", bound=Store)

VALUES, FACTS = "default", "facts"
NAME = re.compile(r"[A-Za-z0-9._-]{1,200}")
BUFFERS = 4  # write buffers of a store: one is filled while the others go to disk
# RocksDB takes 1 MiB at once for each column family: idle stores alone would fill the shared bound, and every write to
# another one would then write a file (64 stores: 7 times slower).
ARENA_BYTES = 64 << 10
COUNTED = 1024
"""So many batches of a store leave their number behind, by which the next open sees whether one is missing. Those that are in logs only are
fewer: all logs have 64 MB together, and a batch that comes with many others has up to 100 kB."""
BATCHES, BATCH = b"\0batches", b"\0batch-%d"  # beside the facts, whose names are text
MISSING: Final = "IO error: No such file or directory"
"""How an error of RocksDB begins when one of its files is gone, or another file names a wrong one."""


class Files(Generic[S]):
    """Opens the stores of a worker under one directory, created with mode 0700: ``{directory}/{table}-{partition}.db``.

    Args:
        directory: where they are.
        open_store: opens the store of a path; raises as :meth:`open` does.
        destroy: removes its files; raises as :meth:`destroy` does.

    Raises:
        StoreError: the directory cannot be created.
    """

    def __init__(self, directory: Path, open_store: Callable[[Path], S], destroy: Callable[[Path], None]) -> None:
        self._stores: dict[Path, S] = {}
        self._open = open_store
        self._destroy = destroy
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"store directory {directory} cannot be created: {error}; check it, or set another one"
            ) from error
        self._directory = directory

    def open(self, table: str, partition: int) -> S:
        """Open the store of a table partition, creating it when there is none.

        Raises:
            ConfigurationError: the table's name cannot be part of a file name.
            StoreLockedError: it is open, here or in another process.
            StoreCorruptError: it cannot be opened: destroy it and replay the changelog.
            StoreError: the disk is full, the directory is not ours, or the like.
        """
        path = self._path(table, partition)
        store = self._stores[path] = self._open(path)
        return store

    def destroy(self, table: str, partition: int) -> None:
        """Remove the files of a table partition; does nothing when there are none. Raises StoreLockedError when it is open."""
        self._destroy(self._path(table, partition))

    def close(self) -> None:
        """Close every store that is open; calling it again does nothing."""
        for store in self._stores.values():
            store.close()

    def _path(self, table: str, partition: int) -> Path:
        """Give the directory of a table partition. Raises ConfigurationError and StoreError."""
        if not NAME.fullmatch(table):
            raise ConfigurationError(
                f"table name {table!r}: use 1 to 200 letters, digits, dots, hyphens and underscores (ASCII)"
            )
        path = self._directory / f"{table}-{partition}.db"
        if path.is_symlink():
            raise StoreError(
                f"store {path} is a symbolic link, which is not followed: remove it, or link the data directory as a whole"
            )
        return path


def numbers(last: int) -> range:
    """Give the numbers of the batches that are looked for when ``last`` is the last one."""
    return range(max(1, last - COUNTED + 1), last + 1)


def check_batches(path: Path, last: int, found: Iterable[bytes | None]) -> None:
    """Make sure that all batches before the last one are there.

    RocksDB keeps up to four logs, and opens without a word when one of them is gone or empty: what the later ones have is there then,
    a changelog position among it, and what the lost one had is not. The same is so of a manifest that lacks its end. A store of a
    version that did not count begins at 0.

    Args:
        path: of the store.
        last: the number of the last batch.
        found: what is stored for each of :func:`numbers`.

    Raises:
        StoreCorruptError: some are missing.
    """
    lost = [number for number, data in zip(numbers(last), found, strict=True) if data != b"%d" % number]
    if lost:
        raise StoreCorruptError(
            f"store {path} is damaged: wipe it and replay the changelog (of its {last} batches {len(lost)} are missing, "
            f"from {lost[0]} on: a file is gone or cut)"
        )


def failure(error: Exception, path: Path) -> StoreError:
    """Make the error of ours for one of a driver, which has RocksDB's text and often no type."""
    reason = error.args[0] if error.args else ""
    text = reason.decode(errors="replace") if isinstance(reason, bytes) else str(error)
    if "lock hold by current process" in text:
        return StoreLockedError(f"store {path} is open in this process already: close it first")
    if "While lock file" in text:
        return StoreLockedError(
            f"store {path} is open in another process: wait for it to end, or give each its own data directory"
        )
    if text.startswith(("Corruption", MISSING)):
        return StoreCorruptError(f"store {path} is damaged: wipe it and replay the changelog ({text})")
    if "No space left" in text:
        return StoreError(f"store {path} cannot be written, the disk is full: free space and restart ({text})")
    if "Too many open files" in text:
        return StoreError(f"store {path} needs more open files than the process may have: raise `ulimit -n` ({text})")
    return StoreError(f"store {path} failed: {text}")
