"""Where a reader is: the record that it works on, and what it has taken and not given back.

The stream assigns :attr:`Cursor.record` per event. Until the event finishes, its effects are collected by the cursor, which is the
:class:`~stream_core.streams.effects.Effects` of one event after the other: a failure or cancellation drops all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from stream_core.streams.effects import Effects, Emit, Session, active_effects

if TYPE_CHECKING:
    from stream_core.primitives import RawRecord
    from stream_core.streams.verdicts import Verdict

__all__ = ["Acknowledgement", "Cursor", "GiveBack", "Taker", "active_cursor", "give_back"]

GiveBack = Callable[[], None]
"""Lets events that were taken and not finished be taken again, before all others."""


class Acknowledgement:
    """Finishes an event by hand.

    While its body still works on the event that waits until it asks for the next one: what the event has done and its offset
    belong into the same checkpoint.

    Attributes:
        given: whether it was given.
        late: finishes the event when it is given after the body has asked for the next one.
    """

    __slots__ = ("given", "late")

    def __init__(self) -> None:
        self.given = False
        self.late: Callable[[], None] | None = None

    def give(self) -> bool:
        """Finish the event; returns whether it was not finished before."""
        if self.given:
            return False
        self.given = True
        if self.late is not None:
            self.late()
        return True


class Taker(Protocol):
    """Something that takes events for a cursor, as :class:`~stream_core.streams.iteration.Iteration`, which stands on this module."""

    @property
    def has_open_event(self) -> bool:
        """Whether the open event of the cursor was taken by it."""

    def judge_open(self, verdict: Verdict) -> None:
        """Remember what was decided on the open event."""

    async def reject_open(self, verdict: Verdict) -> None:
        """Do with the open event what was decided on it, and finish it."""

    def withdraw(self, offsets: Mapping[Session, int]) -> list[GiveBack]:
        """Give up all that was taken and is not finished.

        Args:
            offsets: where the open event begins, by session.

        Returns:
            what lets it be taken again, the oldest first.
        """


class Cursor(Effects):
    """The position of one actor, and the effects of the event that it works on.

    Args:
        name: the agent and the number of the actor, for messages.
        subscription: the name of the agent's subscription.
        emit: takes the sends of an event that finished.
        concurrent: other actors of the agent work on the same partitions, so that order is lost.

    Attributes:
        record: the record being worked on, ``None`` when no event is open.
        acknowledgement: finishes the open event, where that is done by hand.
        takers: those that have taken something for this actor and not given it back.
    """

    if TYPE_CHECKING:
        __slots__ = ("acknowledgement", "record", "takers")
        record: RawRecord | None
    else:  # the record is the atom: one slot under two names, because it is assigned per event
        __slots__ = ("acknowledgement", "takers")
        record = Effects.atom

    def __init__(self, name: str, subscription: str, emit: Emit, *, concurrent: bool = False) -> None:
        super().__init__(name, subscription, emit, concurrent=concurrent)
        self.acknowledgement: Acknowledgement | None = None
        self.takers: list[Taker] = []

    def open_records(self) -> list[tuple[Session, RawRecord]]:
        """Return the records of the open event: one, or all of a list of ``take``; none outside of an event."""
        if self.record is None or self.session is None:
            return []
        return [*self.others, (self.session, self.record)]

    def close_event(self) -> dict[Session, int]:
        """Let no event be open any more; returns where the one began that was, by session."""
        offsets: dict[Session, int] = {}
        for session, record in self.open_records():
            offsets.setdefault(session, record.offset)
        self.record, self.others, self.acknowledgement = None, [], None
        return offsets

    def judge_open(self, verdict: Verdict) -> None:
        """Remember what was decided on the open event of a body that ended early: when it comes again it is rejected, not worked on."""
        if (taker := self._taker()) is not None:
            taker.judge_open(verdict)

    async def reject_open(self, verdict: Verdict) -> None:
        """Do with the open event of a body that ended early what was decided on it, and finish the event."""
        if (taker := self._taker()) is not None:
            await taker.reject_open(verdict)

    def _taker(self) -> Taker | None:
        return next((taker for taker in self.takers if taker.has_open_event), None)

    def withdraw(self) -> list[GiveBack]:
        """Give up all that a body which ended early has taken and not finished, its open event first.

        Returns:
            what :func:`give_back` lets be taken again; until then nobody gets it.
        """
        offsets = self.close_event()
        takers, self.takers = self.takers, []
        return [back for taker in takers for back in taker.withdraw(offsets)]

    def is_first(self) -> bool:
        """Tell whether all events before the open one are finished by its subscription: so it is in order."""
        record = self.others[0][1] if self.others else self.record
        return self.session is None or record is None or self.session.first(self.subscription, record.offset)


def give_back(withdrawn: Sequence[GiveBack]) -> None:
    """Let what was withdrawn be taken again, before anything else."""
    for back in reversed(withdrawn):  # each goes to the front: the oldest comes last, to be the first
        back()


def active_cursor() -> Cursor | None:
    """Return the cursor of the actor that runs this code, if it has an event open."""
    effects = active_effects()
    return effects if isinstance(effects, Cursor) else None
