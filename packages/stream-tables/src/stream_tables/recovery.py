"""Recovery of a table partition: where its store begins in the changelog, up to where it is followed, and how its owner takes over.

The target is the read-uncommitted end of the changelog, taken after the stable offsets of the sources: what a predecessor
committed lies below it, and the position cannot pass an undecided transaction. Recovered means ``position >= target``, never "saw the
last record": the last offset may be a control record.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from stream_core.engine.participants import Reading, SendNow
from stream_core.ports import Store
from stream_core.streams.units import UNITS
from stream_tables.changelog import claim
from stream_tables.follower import Follower
from stream_tables.following import Following
from stream_tables.partition import TOMBSTONES, Facts, State, TablePartition

__all__ = ["TOMBSTONES", "Owner", "begin", "recover", "why_not"]

logger = logging.getLogger(__name__)

WORTH_SAYING = 1_000, 1.0
"""Changelog offsets or seconds from which on a recovery is told on the level INFO."""


class Owner(NamedTuple):
    """What an owner of table partitions knows when it opens them; see :meth:`stream_core.engine.participants.Participant.open`.

    Attributes:
        committed: the committed position of each reading of the sources.
        generation: of the consumer group.
        ids: topic id by name, of sources and changelogs.
        send: writes a claim; ``None`` under exactly-once.
        exactly_once: its changelog records name no interval.
        unread: nothing was committed of any source before.
    """

    committed: Mapping[Reading, int]
    generation: int
    ids: Mapping[str, str]
    send: SendNow | None
    exactly_once: bool
    unread: bool = False


async def recover(following: Following, part: TablePartition[Any], owner: Owner, check: Callable[[], None]) -> None:
    """Bring a table partition from OPENING to RUNNING, also one that was followed by a standby until now.

    Args:
        following: reads changelogs.
        part: the table partition; its store says where to begin.
        owner: what its owner knows.
        check: called after each wait; raises when going on makes no more sense.

    Raises:
        StoreError: the store failed.
        TransportError: the changelog cannot be read or written; it can be tried again.
    """
    started = part.clock.monotonic()
    part.ids, part.topic_id, part.exactly_once = owner.ids, owner.ids.get(part.changelog.topic, ""), owner.exactly_once
    first, end = await following.bounds(part.changelog)
    check()
    position = begin(part, first, end)
    new = first == end and part.store.fact(Facts.POSITION) is None
    if new and any(position for reading, position in owner.committed.items() if reading.subscription != UNITS):
        logger.warning(
            "%s begins empty, though events of its sources are committed: a new table does; if this one is not new, its changelog was "
            "deleted, or all in it, as it was old enough; what it held comes again only with its events (`stream offsets reset`)",
            part.changelog,
        )
    follower = Follower(part, position, end, owner.committed)
    part.enter(State.REPLAYING)
    await following.run(follower)
    check()
    await _take_over(following, follower, owner)
    check()
    follower.finish()
    part.ready()
    if owner.unread and next(part.store.range(), None) is not None:
        logger.warning(
            "%s has values, and nothing is committed of its sources: %s. If these are new to the app, all is well. If it has read them "
            "before, what comes from there on counts again, and what came before is passed over: offsets of a group without members "
            "expire (offsets.retention.minutes of the broker, 7 days), and go with the group when that is deleted. Then say where to "
            "go on (`stream offsets reset --to-datetime WHEN`), or begin afresh with App(version=...)",
            part.changelog,
            ", ".join(
                f"{tp} is read from offset {offset} on" for (tp, name), offset in owner.committed.items() if not name
            ),
        )
    part.end = follower.target if owner.send is not None else None
    part.enter(State.RUNNING)
    count, seconds = follower.position - follower.start, part.clock.monotonic() - started
    level = logging.INFO if count >= WORTH_SAYING[0] or seconds >= WORTH_SAYING[1] else logging.DEBUG
    logger.log(level, "recovered %s: %d changelog offsets in %.1f s", part.changelog, count, seconds)


async def _take_over(following: Following, follower: Follower, owner: Owner) -> None:
    """Take an epoch above all in the log, and claim the log with it.

    Two owners that met the same epochs still differ by their generations. The claim is in the log before the first event counts, and
    the follower goes on up to it. So whatever a replaced owner sent either lies before the claim, where this follower judges
    it by its interval, or after the claim, where its lower epoch gives it away to everybody.
    """
    part = follower.part
    while True:
        epoch = part.epoch + 1 + owner.generation
        if owner.send is None:
            break
        offset = await owner.send(claim(part.changelog, epoch))
        if offset < 0:  # the broker has it, and does not say where
            offset = (await following.bounds(part.changelog))[1] - 1
        follower.extend(offset + 1)
        await following.run(follower)
        if part.epoch <= epoch:  # else somebody with a higher epoch was faster
            break
    part.epoch = epoch


def begin(part: TablePartition[Any], first: int, end: int) -> int:
    """Give the changelog offset at which to go on with a store, which is wiped when it cannot be gone on with. Raises StoreError.

    Args:
        part: the table partition; it gets the epoch that its store knows.
        first: the first offset that the changelog holds.
        end: the offset after its last record.
    """
    store = part.store
    fact, topic_id = store.fact(Facts.POSITION), store.fact(Facts.TOPIC_ID)
    part.epoch = int(store.fact(Facts.EPOCH) or 0)
    if fact is None and next(store.range(), None) is None:
        return first
    why = why_not(
        store,
        part.topic_id,
        first,
        end,
        part.clock.wall(),
        part.tombstones,
        part.layout,
        exactly_once=part.exactly_once,
    )
    if not why:
        if part.topic_id and not topic_id:  # of a version that knew no ids: the position fits, so it is this topic
            store.write({}, {Facts.TOPIC_ID: part.topic_id.encode()})
        return max(int(fact or first), first)
    logger.warning("the store of %s is wiped and replayed: %s", part.changelog, why)
    store.wipe()
    part.epoch = 0
    return first


def why_not(
    store: Store,
    topic_id: str,
    first: int,
    end: int,
    now: float,
    tombstones: float = TOMBSTONES,
    layout: str = "",
    *,
    exactly_once: bool = False,
) -> str:
    """Say why a store is none of a changelog partition, or not of what it holds now; empty when it can be gone on with.

    Args:
        store: the store.
        topic_id: of the changelog; empty when unknown.
        first: the first offset that the changelog holds.
        end: the offset after its last record.
        now: seconds since the epoch.
        tombstones: seconds for which the changelog keeps deletions.
        layout: of the keys; that of windows, or empty.
        exactly_once: its owner writes in transactions: each takes an offset for its end, which is behind the position, and no record.

    Raises:
        StoreError: it cannot be read.
    """
    fact, known = store.fact(Facts.POSITION), (store.fact(Facts.TOPIC_ID) or b"").decode()
    if known and topic_id and known != topic_id:
        return "the topic was deleted and created again"
    if fact is None:
        return "it has values and no position, because a write was cut off: they may be of another topic"
    if (store.fact(Facts.LAYOUT) or b"").decode() != layout:
        return "the table was defined in another way: with other windows, or with or without ttl="
    position = int(fact)
    if position > end:
        return f"it is at offset {position} and the changelog ends at {end}: the topic was recreated or truncated"
    missing = end - position > int(exactly_once)
    if position < first and missing:
        return f"it is at offset {position} and the changelog begins at {first}"
    if missing and now - int(store.fact(Facts.WRITTEN_AT) or 0) > tombstones / 2:
        return "it was not written for so long that deletions may be gone from the changelog"
    return ""
