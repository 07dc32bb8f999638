"""Several events as one: the loop behind ``take``.

A buffer is one event that consists of several: its effects, its failure and its acknowledgement are those of all of them
together. While it fills, nothing of it is open.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from stream_core.errors import ConfigurationError
from stream_core.primitives import RawRecord
from stream_core.streams.cursor import Session
from stream_core.streams.events import Acknowledgement
from stream_core.streams.iteration import SKIPPED, Exhausted, Form, Iteration, event
from stream_core.streams.sessions import Chunk, Feed, Rejected, Verdict

__all__ = ["Buffers"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One event in a buffer.

    Attributes:
        feed: progress of its subscription.
        chunk: where it comes from.
        record: the record.
        item: what the body gets, or ``SKIPPED``.
        held: the sends of its processors.
        last: whether its chunk ends with it.
        acknowledgement: finishes it, where that is done by hand.
    """

    feed: Feed
    chunk: Chunk
    record: RawRecord
    item: Any
    held: list[Any]
    last: bool
    acknowledgement: Acknowledgement | None


@dataclass(slots=True)
class Buffer:
    """Events that are handed over together.

    Attributes:
        due: the time of the event loop at which it is handed over although it is not full; infinite when it may wait.
        entries: the events, in the order they came.
        size: how many of them the body gets.
    """

    due: float
    entries: list[Entry] = field(default_factory=list)
    size: int = 0


class Buffers:
    """Fills buffers from an iteration and hands them over.

    Args:
        iteration: where events come from.
        size: how many events a full buffer has.
        within: seconds after its first event when a buffer is handed over although it is not full; ``None`` waits until it is.
        by_partition: never mix partitions. Where events finish in any order they never are.
    """

    def __init__(self, iteration: Iteration, size: int, within: float | None, *, by_partition: bool) -> None:
        self._iteration = iteration
        self._size = size
        self._within = float("inf") if within is None else within
        self._by_partition = by_partition or iteration.subscription.out_of_order
        self._buffers: dict[Session | None, Buffer] = {}
        self._ended = False
        self._handed: list[Entry] = []
        for subscription in iteration.processors:
            subscription.listed = max(subscription.listed, size * subscription.concurrency)

    async def read(self, form: Form) -> AsyncGenerator[list[Any], None]:
        """Yield buffers of values, events, or pairs of key and value."""
        clock = asyncio.get_running_loop().time
        await self._iteration.begin(self)
        while True:
            for key in [key for key, buffer in self._buffers.items() if buffer.due <= clock()]:
                entries = self._open(key)
                if entries is not None:
                    yield [entry.item for entry in entries if entry.item is not SKIPPED]
                    self._finish(entries)
            if self._ended:
                return
            taken = await self._next_chunk()
            if taken is None:
                continue
            feed, chunk = taken
            key = chunk.session if self._by_partition else None
            sequence = list(self._iteration.sequence(feed, chunk))
            for number, (record, value) in enumerate(sequence, 1):
                if not chunk.session.open:
                    break
                buffer = self._buffers.setdefault(key, Buffer(clock() + self._within))
                buffer.entries.append(await self._entry(feed, chunk, record, value, form, last=number == len(sequence)))
                buffer.size += buffer.entries[-1].item is not SKIPPED
                if buffer.size >= self._size and (entries := self._open(key)) is not None:
                    yield [entry.item for entry in entries if entry.item is not SKIPPED]
                    self._finish(entries)
                if monotonic() >= self._iteration.turn:
                    await self._iteration.give_turn()
            if (rest := self._buffers.get(key)) is not None and not rest.size:
                self._open(key)  # nothing that the body gets: it need not wait for more

    async def _next_chunk(self) -> tuple[Feed, Chunk] | None:
        """The next chunk, or ``None`` when a buffer is due before there is one, or all of them because there will be none."""
        due = min((buffer.due for buffer in self._buffers.values()), default=float("inf"))
        try:
            if due == float("inf"):
                return await self._iteration.next_chunk()
            with suppress(TimeoutError):
                async with asyncio.timeout_at(due):
                    return await self._iteration.next_chunk()
        except Exhausted:
            self._ended = True
            for buffer in self._buffers.values():
                buffer.due = 0.0
        return None

    async def _entry(self, feed: Feed, chunk: Chunk, record: RawRecord, value: Any, form: Form, *, last: bool) -> Entry:
        """Prepare one event. What its processors send waits for the buffer, and nothing is open afterwards."""
        iteration, cursor = self._iteration, self._iteration.cursor
        item = await iteration.prepare(feed, record, value, form)
        if cursor.undo:
            raise ConfigurationError(
                f"subscription {feed.subscription.name}: a processor changed a table in front of take(); change it in the body"
            )
        held, cursor.held = cursor.held, []
        cursor.attention = cursor.pinned
        cursor.record = None
        acknowledgement = Acknowledgement(feed, chunk) if feed.subscription.manual else None
        if item is SKIPPED and acknowledgement is not None:
            acknowledgement.give()
        if item is not SKIPPED and form == "events":
            item = event(chunk, record, item, acknowledgement)
        return Entry(feed, chunk, record, item, held, last, acknowledgement)

    def _open(self, key: Session | None) -> list[Entry] | None:
        """Make a buffer the open event; ``None`` when the body gets nothing of it."""
        cursor = self._iteration.cursor
        entries = [entry for entry in self._buffers.pop(key).entries if entry.chunk.session.open]
        if not entries:
            self._iteration.forget_closed()
            return None
        shown = _shown(entries)
        *others, last = shown or entries
        cursor.others = [(entry.feed.session, entry.record) for entry in others]
        cursor.session, cursor.record = last.feed.session, last.record
        cursor.subscription = last.feed.subscription.name
        cursor.held = [send for entry in entries for send in entry.held]
        cursor.attention = True
        self._handed = entries
        if shown:
            return entries
        self._finish(entries)
        return None

    def finish_open(self) -> None:
        """Finish the list that the body has; an event that failed while its list fills comes again."""
        if self._handed:
            self._finish(self._handed)
        else:
            self._iteration.cursor.rollback()
            self._iteration.cursor.record = None

    def judge_open(self, verdict: Verdict) -> None:
        """Remember what was decided on each event of the list that the body has, or on the one that failed while the list fills."""
        if not self._handed:
            feed, _, record = self._iteration.find_open()
            feed.judge(record.offset, verdict)
        for entry in _shown(self._handed):
            entry.feed.judge(entry.record.offset, verdict)

    async def reject_open(self, verdict: Verdict) -> None:
        """Reject each event of the list that the body has, and finish the list.

        Events that a processor dropped belong to the list, too. They have not failed, so what their processors sent counts. An event that
        failed while its list fills cannot be finished before the others: it is rejected when the list fills again.
        """
        entries, cursor = self._handed, self._iteration.cursor
        if not entries:
            return
        cursor.held = [send for entry in entries if entry.item is SKIPPED for send in entry.held]
        cursor.attention = True
        for entry in _shown(entries):
            await entry.feed.subscription.reject(entry.feed.session.tp, Rejected(0, entry.record, verdict))
            if entry.acknowledgement is not None:
                entry.acknowledgement.give()
        self._finish(entries)

    def _finish(self, entries: list[Entry]) -> None:
        """The body has asked for the next buffer: this one is finished."""
        cursor = self._iteration.cursor
        cursor.finish()
        cursor.record, cursor.others = None, []
        self._handed = []
        for entry in entries:
            if entry.acknowledgement is not None:
                self._iteration.taken.remove((entry.feed, entry.chunk))
                entry.acknowledgement.close()
            else:
                entry.feed.reach(entry.record.offset)
                if entry.last:
                    self._iteration.leave(entry.feed, entry.chunk)
        self._iteration.forget_closed()


def _shown(entries: list[Entry]) -> list[Entry]:
    """The events that the body gets."""
    return [entry for entry in entries if entry.item is not SKIPPED]
