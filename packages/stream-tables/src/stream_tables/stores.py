"""How tables use the store port: waiting for a lock, and writing much without holding up the event loop."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Mapping
from itertools import islice
from threading import Thread

from stream_core.errors import StoreCorruptError, StoreError, StoreLockedError
from stream_core.ports import KeyRange, Store, Stores

__all__ = ["CHUNK", "close_all", "open_when_free", "write_chunked"]

logger = logging.getLogger(__name__)

CHUNK = 1_000
"""Changes in one write: a driver may hold the interpreter lock for as long as a write takes."""

FIRST_DELAY, LONGEST_DELAY = 0.05, 1.0

CLOSING = 10.0
"""Seconds that closing may take: the next owner of a partition waits for its lock about as long."""


async def open_when_free(
    stores: Stores, table: str, partition: int, *, timeout: float, spare: Stores | None = None
) -> Store:
    """Open a table partition, waiting for another process to give it up.

    Args:
        stores: the driver.
        table: table name.
        partition: partition number.
        timeout: seconds to wait for the lock.
        spare: a driver for stores that no other process opens, used when the time is over. What it has is an older copy or
            nothing, and is replayed like any other store. The copy is removed when the real store is free at a later opening.

    Returns:
        The open store.

    Raises:
        StoreLockedError: the time is over and there is no ``spare``.
        StoreCorruptError: the store cannot be opened at all: destroy it and replay the changelog.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout
    delay = FIRST_DELAY
    while True:
        try:
            store = stores.open(table, partition)
        except StoreLockedError as error:
            left = deadline - loop.time()
            if left <= 0:
                if spare is None:
                    raise
                logger.warning(
                    "%s. After %g s this worker replays the partition into a copy of its own", error, timeout
                )
                return _open_spare(spare, table, partition)
        else:
            if spare is not None:
                _remove_copy(spare, table, partition)
            return store
        await asyncio.sleep(min(delay, left))
        delay = min(delay * 2, LONGEST_DELAY)


async def close_all(closings: Mapping[str, Callable[[], object]], timeout: float = CLOSING) -> None:
    """Close stores side by side; closing flushes, and the event loop goes on meanwhile. Never raises.

    One that fails or hangs is reported and holds up no other: each is closed by a thread of its own, which does not keep the process
    alive.

    Args:
        closings: what to call, by what it closes.
        timeout: seconds until those that are not closed are left alone.
    """
    if closings:
        await asyncio.to_thread(_close_all, closings, timeout)


def _close_all(closings: Mapping[str, Callable[[], object]], timeout: float) -> None:
    threads = [Thread(target=_close, args=item, name=f"close {item[0]}", daemon=True) for item in closings.items()]
    for thread in threads:
        thread.start()
    end = time.monotonic() + timeout
    for thread, what in zip(threads, closings, strict=True):
        thread.join(max(0.0, end - time.monotonic()))
        if thread.is_alive():
            logger.error(
                "%s is not closed after %g s; it is left alone, and may stay locked until this process ends",
                what,
                timeout,
            )


def _close(what: str, close: Callable[[], object]) -> None:
    try:
        close()
    except Exception:
        logger.exception("closing %s failed", what)


def _remove_copy(spare: Stores, table: str, partition: int) -> None:
    """Remove an older copy. That it cannot be removed is not a reason to leave the store that has just been opened without an owner."""
    try:
        spare.destroy(table, partition)
    except StoreError as error:
        logger.warning("an older copy of table %s, partition %d stays on the disk: %s", table, partition, error)


def _open_spare(spare: Stores, table: str, partition: int) -> Store:
    try:
        return spare.open(table, partition)
    except StoreCorruptError as error:
        logger.warning("%s. It was only a copy: it is removed and replayed", error)
        spare.destroy(table, partition)
        return spare.open(table, partition)


async def write_chunked(
    store: Store,
    changes: Mapping[bytes, bytes | None],
    facts: Mapping[str, bytes] | None = None,
    going_on: Callable[[], bool] = lambda: True,
    *,
    deleted: Collection[KeyRange] = (),
) -> None:
    """Write any number of changes in chunks, with a turn of the event loop between them; the facts come with the last.

    Each chunk is atomic, all of them together are not. What holds is: when the facts are there, so are all the changes.
    With the changelog position as a fact that is enough: after a crash between two chunks the store has the older
    position and some newer values, and the replay from there writes the final value of each key again.

    When this fails, is cancelled or does not go on before the last chunk, the store must be replayed from the position it has before a
    later position is written to it: else the changes that are missing never come.

    Args:
        store: the store.
        changes: final value by key, ``None`` deletes; not to be changed before this returns.
        facts: named facts, such as the changelog position.
        going_on: asked before each chunk but the first; nothing more is written once it is false.
        deleted: ranges of keys to delete, in which no change lies; they go with the last chunk.
    """
    if len(changes) <= CHUNK:
        store.write(changes, facts, deleted=deleted)
        return
    pending = iter(changes.items())
    for _ in range((len(changes) - 1) // CHUNK):
        store.write(dict(islice(pending, CHUNK)))
        await asyncio.sleep(0)
        if not going_on():
            return
    store.write(dict(pending), facts, deleted=deleted)
