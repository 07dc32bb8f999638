"""Where an actor is: the one thing that tables, sends and ``current_event()`` look at while a body runs.

Each actor's task sets one context variable once, to its cursor; the stream then only assigns :attr:`Cursor.record` per
event. Whatever an event does is written to the cursor's undo log and held sends until the event finishes, so that the
event is the atom: a failure or cancellation drops both.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol

from stream_core.states import SESSION, Machine, SessionState

if TYPE_CHECKING:
    from stream_core.primitives import TP, RawRecord
    from stream_core.values.schemas import Schema

__all__ = ["Check", "Cursor", "Restorable", "Session", "active_cursor", "current_cursor", "set_cursor"]


class Restorable(Protocol):
    """Something whose changes an event may have to take back: the overlay of a table partition."""

    def restore(self, key: bytes, previous: Any) -> None:
        """Put back what ``key`` held before the event changed it."""


class Check(Protocol):
    """Something that an event may not finish with: values that it changed where nobody keeps them."""

    def check(self, cursor: Cursor) -> None:
        """Raise when the open event of ``cursor`` may not finish as it is: it fails with that error then."""

    def forget(self, cursor: Cursor) -> None:
        """The event is over."""


class Session:
    """What an event can know of the assigned partition it came from.

    Args:
        tp: the partition.
        schema: how its keys and values are decoded.
        partitions: how many partitions the topic has.

        state: where it begins; see :data:`~stream_core.states.SESSION`.

    Attributes:
        partition: the partition number, -1 in memory only.
        open: whether it takes events, in state RUNNING only. This and ``dead`` follow the state; they are attributes because they are
            asked for while events are delivered.
        dead: the partition is given up, or its interval dropped: effects of its events come to nothing.
    """

    __slots__ = ("_machine", "dead", "open", "partition", "partitions", "schema", "tp")

    def __init__(self, tp: TP, schema: Schema, partitions: int, state: SessionState = SessionState.RUNNING) -> None:
        self.tp = tp
        self.partition = tp.partition
        self.partitions = partitions
        self.schema = schema
        self._machine = Machine(f"the session of {tp}", state, SESSION)
        self.open = state is SessionState.RUNNING
        self.dead = state is SessionState.CLOSED

    @property
    def state(self) -> SessionState:
        """The state of the partition in this generation."""
        return self._machine.state

    def _to(self, state: SessionState) -> None:
        self._machine.to(state)
        self.open = state is SessionState.RUNNING
        self.dead = state is SessionState.CLOSED

    def first(self, cursor: Cursor) -> bool:
        """Whether all events before the open one of ``cursor`` are finished by its subscription: so it is in order."""
        return True


class Cursor:
    """The position of one actor, and the effects of the event it works on.

    Args:
        name: the agent and the number of the actor, for messages.
        subscription: the name of the agent's subscription.
        emit: takes the sends of an event that finished.
        concurrent: other actors of the agent work on the same partitions, so that order is lost.

    Attributes:
        session: the partition session of the event.
        record: the record being worked on, ``None`` when no event is open.
        others: the events before it in a buffer of ``take``, which are one event together with it.
        acknowledgement: finishes the open event, where that is done by hand.
        undo: ``(overlay, key, previous)`` for each change of the open event, oldest first.
        held: sends that leave when the event finishes (exactly-once only).
        held_bytes: how many bytes these are.
        checks: asked before the event finishes; nearly always there are none.
        pinned: the open event has effects that others can see already, so no cut may pass before it finishes.
        iterations: those that have taken something for this actor and not given it back.
        on_ask: called once, when the body asks for its next event: whoever cancelled the open one learns that the body went on.
        attention: the stream must call :meth:`finish` before it goes on; kept as one flag because it is tested per event.
    """

    __slots__ = (
        "_emit",
        "acknowledgement",
        "attention",
        "checks",
        "concurrent",
        "held",
        "held_bytes",
        "iterations",
        "name",
        "on_ask",
        "others",
        "pinned",
        "record",
        "session",
        "subscription",
        "undo",
    )

    def __init__(
        self,
        name: str,
        subscription: str,
        emit: Callable[[list[Any]], None],
        *,
        concurrent: bool = False,
    ) -> None:
        self.name = name
        self.subscription = subscription
        self.concurrent = concurrent
        self.session: Session | None = None
        self.record: RawRecord | None = None
        self.others: list[tuple[Session, RawRecord]] = []
        self.acknowledgement: Any = None
        self.undo: list[tuple[Restorable, bytes, Any]] = []
        self.held: list[Any] = []
        self.held_bytes = 0
        self.checks: list[Check] = []
        self.pinned = False
        self.attention = False
        self.iterations: list[Any] = []
        self.on_ask: Callable[[], None] | None = None
        self._emit = emit

    def finish(self) -> bool:
        """Make the effects of the open event final; returns whether its session still takes events.

        Raises:
            Exception: a check refuses: the event has failed, as if its body had raised this.
        """
        session = self.session
        if self.on_ask is not None:
            self.asked()
        if self.checks:
            self._check()
        if self.held:
            held, self.held = self.held, []
            self.held_bytes = 0
            if session is not None and not session.dead:
                self.pinned = True  # should one of them be refused, the ones before it have left
                self._emit(held)
        self.undo.clear()
        self.pinned = False
        self.attention = False
        return session is not None and session.open

    def asked(self) -> None:
        """Tell whoever waits for it that the body asks for its next event."""
        if self.on_ask is not None:
            tell, self.on_ask = self.on_ask, None
            tell()

    def _check(self) -> None:
        for check in self.checks:
            check.check(self)
        self._forget()

    def _forget(self) -> None:
        checks, self.checks = self.checks, []
        for check in checks:
            check.forget(self)

    def abandon(self) -> None:
        """Forget the effects of the open event without taking them back: what they changed is dropped as a whole."""
        self.undo.clear()
        self.held.clear()
        self.held_bytes = 0
        self._forget()
        self.pinned = False

    def rollback(self) -> bool:
        """Take back the effects of the open event.

        Returns:
            True when that was not enough because others had seen them: the whole interval must be replayed.
        """
        for overlay, key, previous in reversed(self.undo):
            overlay.restore(key, previous)
        pinned = self.pinned
        self.undo.clear()
        self.held.clear()
        self.held_bytes = 0
        self._forget()
        self.pinned = False
        self.attention = False
        return pinned


_current: ContextVar[Cursor | None] = ContextVar("stream_cursor", default=None)


current_cursor: Callable[[], Cursor | None] = _current.get
"""The cursor of the actor that runs this code, if an actor does; not a function of ours, because tables ask it per access."""


def active_cursor() -> Cursor | None:
    """The cursor of the actor that runs this code, if it has an event open."""
    cursor = _current.get()
    return cursor if cursor is not None and cursor.record is not None else None


def set_cursor(cursor: Cursor | None) -> None:
    """Make ``cursor`` the one of this task; the engine calls it once per actor."""
    _current.set(cursor)
