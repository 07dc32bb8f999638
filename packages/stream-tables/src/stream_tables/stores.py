"""How tables use the store port: waiting for a lock, and writing much without holding up the event loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from itertools import islice

from stream_core.errors import StoreCorruptError, StoreLockedError
from stream_core.ports import Store, Stores

__all__ = ["CHUNK", "open_when_free", "write_chunked"]

logger = logging.getLogger(__name__)

CHUNK = 1_000
"""Changes in one write: a driver may hold the interpreter lock for as long as a write takes."""

FIRST_DELAY, LONGEST_DELAY = 0.05, 1.0


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
                spare.destroy(table, partition)
            return store
        await asyncio.sleep(min(delay, left))
        delay = min(delay * 2, LONGEST_DELAY)


def _open_spare(spare: Stores, table: str, partition: int) -> Store:
    try:
        return spare.open(table, partition)
    except StoreCorruptError as error:
        logger.warning("%s. It was only a copy: it is removed and replayed", error)
        spare.destroy(table, partition)
        return spare.open(table, partition)


async def write_chunked(
    store: Store, changes: Mapping[bytes, bytes | None], facts: Mapping[str, bytes] | None = None
) -> None:
    """Write any number of changes in chunks, with a turn of the event loop between them; the facts come with the last.

    Each chunk is atomic, all of them together are not. What holds is: when the facts are there, so are all the changes.
    With the changelog position as a fact that is enough: after a crash between two chunks the store has the older
    position and some newer values, and the replay from there writes the final value of each key again.

    When this fails or is cancelled before the last chunk, the store must be replayed from the position it has before a
    later position is written to it: else the changes that are missing never come.

    Args:
        store: the store.
        changes: final value by key, ``None`` deletes; not to be changed before this returns.
        facts: named facts, such as the changelog position.
    """
    pending = iter(changes.items())
    for _ in range((len(changes) - 1) // CHUNK):
        store.write(dict(islice(pending, CHUNK)))
        await asyncio.sleep(0)
    store.write(dict(pending), facts)
