"""Sends that wait: for their event to finish, and behind the gate while a transaction is being committed (exactly-once).

A failed event leaves nothing behind because its sends leave only when it finishes. What finishes while a transaction is being
committed belongs to the next one: the gate keeps its sends until that is open.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from stream_core.errors import ProduceError
from stream_core.ports import Delivery
from stream_core.primitives import Outgoing, RecordMetadata
from stream_core.sending.one_by_one import OneByOne
from stream_core.streams.effects import Effects, HeldSend

__all__ = ["BACKLOG", "SETTLE", "HeldSends"]

SETTLE = 0.002
"""Seconds between two looks at events that have to finish first."""

BACKLOG = 16 * 1024 * 1024
"""Bytes of held sends from which an event waits: for the gate, or, when it holds so many itself, until it may release them."""

HOLD = 1.0
"""Seconds for which a cut that waits lets no other event pin itself; then those that want to may, for a moment."""

AJAR = 0.05
"""Seconds of that moment."""


class HeldSends:
    """Holds the sends of events, and lets them go.

    Args:
        append: appends a record to the builder of its partition.
        one_by_one: whether, and how, each record is acknowledged before the next one leaves.

    Attributes:
        behind_gate: bytes of finished events that wait for the gate.
    """

    def __init__(self, append: Callable[[Outgoing], Delivery], one_by_one: OneByOne) -> None:
        self._append = append
        self._one_by_one = one_by_one
        self._loop = asyncio.get_running_loop()
        self._gate = asyncio.Event()
        self._waiting: list[HeldSend] = []
        self._cut_since: float | None = None
        self.behind_gate = 0

    # -- holding

    def full(self, cursor: Effects) -> bool:
        """Tell whether the event of ``cursor`` has to wait before it holds more; :meth:`room` waits."""
        return self.behind_gate > BACKLOG or cursor.held_bytes > BACKLOG

    async def room(self, cursor: Effects) -> None:
        """Wait until the event of ``cursor`` may hold more; one that holds very much itself releases that.

        Raises:
            ProduceError: the event has failed meanwhile.
        """
        if self.behind_gate > BACKLOG:
            await self._gate.wait()
        if cursor.held_bytes > BACKLOG:
            await self._released(cursor.held[-1])

    def hold(self, cursor: Effects, record: Outgoing, size: int) -> HeldSend:
        """Hold a record of ``size`` bytes until the open event of ``cursor`` finishes."""
        held = HeldSend(self.deliver, cursor, cursor.session, record, size)
        cursor.held.append(held)
        cursor.held_bytes += size
        cursor.attention = True
        return held

    # -- releasing

    def emit(self, held: list[HeldSend]) -> None:
        """Send what a finished event held, or keep it for the next interval while the gate is closed."""
        if self._gate.is_set():
            self._send(held)
        else:
            self._waiting.extend(held)
            self.behind_gate += sum(send.size for send in held)

    def _send(self, sends: list[HeldSend]) -> None:
        for held in sends:
            held.delivery = self._append(held.record)

    async def deliver(self, held: HeldSend) -> RecordMetadata:
        """Wait for the acknowledgement of a held send; inside its event that releases all sends of the event now.

        The event is pinned then: the next cut waits for it, because its records are in the open transaction. When actors
        overtake each other it waits for the events before it first, so that no cut ever has to wait for those.

        Raises:
            ProduceError: its event failed, or its producer did.
            RecordRefusedError: the broker refuses it, which only sending one by one can tell.
        """
        await self._released(held)
        return await self._acknowledged(held)

    async def delivered(self, held: HeldSend) -> RecordMetadata:
        """Wait for the acknowledgement of a held send that leaves when its event finishes: this releases nothing.

        Raises:
            ProduceError: its event failed, or its producer did.
            RecordRefusedError: as :meth:`deliver`.
        """
        await self._released(held, early=False)
        return await self._acknowledged(held)

    async def _acknowledged(self, held: HeldSend) -> RecordMetadata:
        assert held.delivery is not None
        if self._one_by_one:
            return await self._one_by_one.acknowledged(held.record[0], held.delivery)
        return await held.delivery

    async def _released(self, held: HeldSend, *, early: bool = True) -> None:
        """Wait until a held send has left; see :meth:`deliver`. ``early`` lets it leave before its event finishes."""
        cursor = held.effects
        while held.delivery is None:
            if held.dropped or (held.session is not None and held.session.dead):
                raise ProduceError(f"not sent to {held.record[0]}: the event that sent it failed")
            if early and held in cursor.held and self._may_release(cursor):
                sends, cursor.held = cursor.held, []
                cursor.held_bytes = 0
                cursor.pinned = cursor.attention = True
                self._send(sends)
            elif held in cursor.held or held.parked or held in self._waiting:
                await asyncio.sleep(SETTLE)
            else:
                held.dropped = True

    def _may_release(self, cursor: Effects) -> bool:
        may_pin = cursor.pinned or self._may_pin
        return self.open and cursor.is_first() and may_pin and not self._one_by_one.busy

    @property
    def _may_pin(self) -> bool:
        """Whether an event may pin itself. A cut that waits forbids it, but not for ever: what it waits for may wait for this event."""
        since = self._cut_since
        return since is None or (self._loop.time() - since) % (HOLD + AJAR) > HOLD

    def cut_waits(self) -> None:
        """Let no other event pin itself, for most of the time: a cut waits for those that are pinned."""
        if self._cut_since is None:
            self._cut_since = self._loop.time()

    def cut_done(self) -> None:
        """Let events release their sends again: the cut is made, or given up."""
        self._cut_since = None

    # -- the gate

    @property
    def open(self) -> bool:
        """Whether a transaction takes sends."""
        return self._gate.is_set()

    def close_gate(self) -> None:
        """Keep what is sent from now on for the next interval."""
        self._gate.clear()

    def open_gate(self) -> None:
        """Let the sends that waited go, in order, and everything after them: a transaction is open."""
        self._gate.set()
        waiting, self._waiting = self._waiting, []
        self.behind_gate = 0
        self._send(waiting)

    def drop(self) -> None:
        """Forget what waited for the next interval, and close the gate: this one was dropped, and its replay sends that again."""
        self._gate.clear()
        self.behind_gate = 0
        for held in self._waiting:
            held.dropped = True
        self._waiting.clear()
