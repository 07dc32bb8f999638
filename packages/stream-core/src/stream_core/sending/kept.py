"""Records that are kept until they are acknowledged, whatever becomes of the producer that sent them."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator
from typing import Any

import msgspec

from stream_core.errors import BatchRefusedError, ProduceError, RecordRefusedError, StreamError
from stream_core.ports import Delivery
from stream_core.primitives import Outgoing, RecordMetadata

__all__ = ["Kept", "KeptRecords"]

logger = logging.getLogger(__name__)

SWEEP = 64
"""Kept records from which those that are acknowledged are looked for."""


class Kept(msgspec.Struct, eq=False):
    """A record that is kept until it is acknowledged; await it for its place. A struct is made in C, and one is made for every send.

    Attributes:
        records: keeps it.
        record: what is sent.
        delivery: of the last attempt.
        of_event: an event sent it, which must not be committed before it is acknowledged.
        optional: it is an answer in the place of another one: when the broker refuses it, that is logged, and nobody fails.
        error: why it will never be sent.
        failures: how often its producer failed, for a reason that waiting does not mend.
        refusals: how often the broker refused it when it was alone.
        suspect: it is sent alone, because it may be to blame.
        awaited: whoever sent it hears of its error.
    """

    records: KeptRecords
    record: Outgoing
    delivery: Delivery
    of_event: bool = False
    optional: bool = False
    error: StreamError | None = None
    failures: int = 0
    refusals: int = 0
    suspect: bool = False
    awaited: bool = False

    def __await__(self) -> Generator[Any, None, RecordMetadata]:
        self.awaited = True
        return self.place().__await__()

    async def place(self) -> RecordMetadata:
        """Wait for its place, over as many attempts as it takes. Raises the :attr:`error` for which it is given up."""
        while self.error is None:
            delivery = self.delivery
            try:
                return await delivery
            except StreamError:
                if self.error is None and self.delivery is delivery:
                    self.records.on_failure()
                    await self.records.moved()
        raise self.error


class KeptRecords:
    """The records that are not acknowledged, in the order in which they were sent.

    Args:
        on_failure: called when one of them has failed: its producer has to be replaced.

    Attributes:
        lost: how many were given up, and at best the log says so.
    """

    def __init__(self, on_failure: Callable[[], None]) -> None:
        self.on_failure = on_failure
        self.lost = 0
        self._records: deque[Kept] = deque()
        self._full = SWEEP
        self._refused: BatchRefusedError | None = None
        self._bell = asyncio.Event()

    def __iter__(self) -> Iterator[Kept]:
        return iter(list(self._records))

    def keep(self, kept: Kept) -> None:
        """Keep a record that was just sent."""
        line = self._records
        while line and line[0].delivery.acknowledged():
            line.popleft()
        line.append(kept)
        if len(line) >= self._full:  # behind a partition that is slow
            self.sweep()
            self._full = max(SWEEP, 2 * len(self._records))

    def sweep(self) -> None:
        """Forget what is acknowledged."""
        states = [(kept, kept.delivery.acknowledged()) for kept in self._records]
        self._records = deque(kept for kept, state in states if state is not True)
        if any(state is False for _, state in states):
            self.on_failure()

    # -- waiting

    async def moved(self) -> None:
        """Wait until records were sent again or given up, or there is another producer."""
        await self._bell.wait()

    def ring(self) -> None:
        """Wake up whoever waits in :meth:`moved`."""
        self._bell.set()
        self._bell = asyncio.Event()

    async def settled(self, *, of_events: bool = False) -> None:
        """Wait until what was kept up to now is acknowledged or given up; ``of_events`` asks only for what events have sent.

        Raises:
            BatchRefusedError: the broker refuses a record of an event, which is to be found: by sending it once more, in its event.
        """
        self.sweep()
        for kept in self:
            while (kept.of_event or not of_events) and kept.error is None and kept.delivery.acknowledged() is not True:
                waits = [asyncio.ensure_future(kept.place()), asyncio.ensure_future(self.moved())]
                try:
                    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for wait in waits:
                        wait.cancel()
                    await asyncio.gather(*waits, return_exceptions=True)
        if of_events and self._refused is not None:
            error, self._refused = self._refused, None
            raise error

    # -- giving up

    def refuse(self, kept: Kept, error: StreamError) -> None:
        """Give up a record that the broker refuses, also when it is alone."""
        if kept.error is not None:
            return  # dropped while it was alone: its event is replayed, and sends it again
        # Without a cause: where a refused batch is one, the producer of events is broken, and their interval has to be dropped.
        refused = RecordRefusedError(f"topic {kept.record[0]}: the broker refused the record: {error}", kept.record[0])
        if kept.of_event and not kept.optional and self._refused is None:
            self._refused = BatchRefusedError(str(refused))
            self._refused.__cause__ = error
        self.give_up(kept, refused)

    def give_up(self, kept: Kept, error: StreamError) -> None:
        """Send a record no more. Whoever waits for it hears why; if nobody does, the log does. Of a dropped one they have heard."""
        if kept.error is not None:
            return
        self._records.remove(kept)
        kept.error = error
        if not kept.awaited and (kept.optional or self._refused is None or not kept.of_event):
            self.lost += 1
            logger.error("a record for topic %s is not sent: %s", kept.record[0], error)
        self.ring()

    def drop_those_of_events(self) -> None:
        """Forget what events have sent: their interval was dropped, and they send it again when they are replayed."""
        self._refused = None
        for kept in self:
            if kept.of_event:
                self._records.remove(kept)
                kept.error = ProduceError(f"not sent again to {kept.record[0]}: the event that sent it is replayed")
        self.ring()

    def drop_all(self, waited: float) -> None:
        """Give up all, and say how many are left of which topic after ``waited`` seconds: the app stops."""
        self.sweep()
        if lost := self._records:
            self.lost += len(lost)
            topics = Counter(kept.record[0] for kept in lost)
            logger.error(
                "%d records that were sent outside of events are not acknowledged after %.1f s, and may be lost: %s",
                len(lost),
                waited,
                ", ".join(f"{count} for topic {topic}" for topic, count in topics.items()),
            )
        stopped = ProduceError("the app was stopped before the record was acknowledged")
        for kept in lost:
            kept.error = stopped
        self._records.clear()
        self.ring()
