"""The effects of one unit of work: what it changes and sends counts as a whole, or not at all.

Nearly always the unit is an event, and its effects are those of a :class:`~stream_core.streams.cursor.Cursor`. It can be something
that no record brought, as a timer or a window that closes: see :meth:`Effects.unit`. Tables, sends and checkpoints see no difference.

Each task that does such work sets one context variable once; from then on only :attr:`Effects.atom` is assigned per event. ::

    atom is set ──▶ tables: undo, checks   ──▶ finish()    the changes stay, the held sends leave
                    sends:  held               rollback()  the changes are taken back, the held sends dropped;
                    others saw it: pinned                  when it was pinned the interval is replayed as well
                                               abandon()   the interval is dropped anyway: forget all of it
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from stream_core.errors import IllegalStateError
from stream_core.states import SESSION, Machine, SessionState

if TYPE_CHECKING:
    from stream_core.ports import Delivery
    from stream_core.primitives import TP, Outgoing, RawRecord, RecordMetadata
    from stream_core.values.schemas import Schema

__all__ = [
    "Check",
    "Effects",
    "Emit",
    "HeldSend",
    "Restorable",
    "Session",
    "active_effects",
    "current_effects",
    "set_effects",
]


class Restorable(Protocol):
    """Something whose changes may have to be taken back: the overlay of a table partition."""

    def restore(self, key: bytes, previous: Any) -> None:
        """Put back what ``key`` held before it was changed."""


class Check(Protocol):
    """Something that a unit of work may not finish with: values that it changed where nobody keeps them."""

    def check(self, effects: Effects) -> None:
        """Raise when the unit may not finish as it is: it fails with that error then."""

    def forget(self, effects: Effects) -> None:
        """Forget what was remembered of the unit: it is over."""


class HeldSend(msgspec.Struct, eq=False):
    """A send whose unit of work is not finished; awaiting it releases the sends of that unit first.

    Attributes:
        deliver: waits for the acknowledgement of a send.
        effects: which hold it.
        session: of the unit.
        record: what is sent.
        size: its bytes.
        delivery: the acknowledgement, once it has left.
        dropped: it will never leave.
        parked: its event is finished, and one before it is not; or it waits in a list of ``take`` that fills.
    """

    deliver: Callable[[HeldSend], Coroutine[Any, Any, RecordMetadata]]
    effects: Effects
    session: Session | None
    record: Outgoing
    size: int
    delivery: Delivery | None = None
    dropped: bool = False
    parked: bool = False

    def __await__(self) -> Generator[Any, None, RecordMetadata]:
        return self.deliver(self).__await__()


Emit = Callable[[list[HeldSend]], None]
"""Takes the sends of a unit of work that finished."""


class Session:
    """What a unit of work can know of the assigned partition that it belongs to.

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
        units: the open units of work that no record brought.
    """

    __slots__ = ("_machine", "dead", "open", "partition", "partitions", "schema", "tp", "units")

    def __init__(self, tp: TP, schema: Schema, partitions: int, state: SessionState = SessionState.RUNNING) -> None:
        self.tp = tp
        self.partition = tp.partition
        self.partitions = partitions
        self.schema = schema
        self.units: list[Effects] = []
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

    def first(self, reader: str, offset: int) -> bool:
        """Tell whether ``reader`` has finished all events before the one at ``offset``."""
        return True

    def ended(self, effects: Effects) -> None:
        """Forget a unit of work that no record brought: it is over."""
        self.units.remove(effects)


class Effects:
    """What one unit of work after the other has done so far: each becomes final, or is taken back, as a whole.

    Args:
        name: who does the work, for messages.
        subscription: the reader to whose progress the changes belong, by its name.
        emit: takes the sends of a unit that finished.
        concurrent: others do the same work on the same partitions, so that order is lost.

    Attributes:
        session: the partition session of the unit.
        atom: what is being worked on, as a record; ``None`` when nothing is open.
        others: further records that are one unit with it: those before it in a list of ``take``.
        undo: ``(overlay, key, previous)`` for each change, oldest first.
        held: sends that leave when the unit finishes (exactly-once only).
        held_bytes: how many bytes these are.
        checks: asked before the unit finishes; nearly always there are none.
        pinned: others can see effects of the open unit already, so no cut may pass before it finishes.
        on_ask: called once, when a body asks for its next event: whoever cancelled the open one learns that the body went on.
        attention: :meth:`finish` must be called before anything else is done; kept as one flag because it is tested per event.
    """

    __slots__ = (
        "_emit",
        "atom",
        "attention",
        "checks",
        "concurrent",
        "held",
        "held_bytes",
        "name",
        "on_ask",
        "others",
        "pinned",
        "session",
        "subscription",
        "undo",
    )

    def __init__(self, name: str, subscription: str, emit: Emit, *, concurrent: bool = False) -> None:
        self.name = name
        self.subscription = subscription
        self.concurrent = concurrent
        self.session: Session | None = None
        self.atom: object | None = None
        self.others: list[tuple[Session, RawRecord]] = []
        self.undo: list[tuple[Restorable, bytes, Any]] = []
        self.held: list[HeldSend] = []
        self.held_bytes = 0
        self.checks: list[Check] = []
        self.pinned = False
        self.attention = False
        self.on_ask: Callable[[], None] | None = None
        self._emit = emit

    @contextmanager
    def unit(self, session: Session, atom: object, on_conflict: Callable[[str, None], None]) -> Iterator[None]:
        """Do what the block does as one unit of work that no record brought: finish it at the end, take it back when the block raises.

        A checkpoint has all of it or nothing, and a partition that is given up waits for it as for an open event. When the interval
        is dropped nothing of the unit counts, and no replay brings it again: whoever began it must know when to begin it anew.
        Participants begin units by :class:`stream_core.engine.work.Work`, which counts them, so that recovery knows what was committed.

        Args:
            session: the partition that it belongs to.
            atom: what it is about, such as a window.
            on_conflict: asks for the interval to be dropped and replayed; called with a reason, and no error.

        Raises:
            IllegalStateError: the partition takes no more work, or a unit of these effects is open.
        """
        if self.atom is not None:  # finishing the one would make the changes of the other final
            raise IllegalStateError(
                f"{self.name}: {self.atom!r} is open, and {atom!r} cannot begin: give it Effects of its own"
            )
        if not session.open:
            raise IllegalStateError(
                f"{self.name}: {session.tp} takes no work in the state {session.state.name}; begin it anew with the next session"
            )
        around = current_effects()
        self.session, self.atom = session, atom
        session.units.append(self)
        set_effects(self)
        try:
            yield
            self.finish()
        except BaseException:
            if self.rollback():
                on_conflict(f"{self.name} failed, and others had seen its changes", None)
            raise
        finally:
            set_effects(around)
            self.atom = None
            session.ended(self)

    def finish(self) -> bool:
        """Make the effects of the open unit final; returns whether its session still takes events.

        Raises:
            Exception: a check refuses: the unit has failed, as if its body had raised this.
        """
        session = self.session
        if self.on_ask is not None:
            self.asked()
        if self.checks:  # before any send leaves: a unit that fails here has told nobody
            for check in self.checks:
                check.check(self)
            self._forget()
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

    def rollback(self) -> bool:
        """Take back the effects of the open unit.

        Returns:
            True when that was not enough because others had seen them: the whole interval must be replayed.
        """
        for overlay, key, previous in reversed(self.undo):
            overlay.restore(key, previous)
        pinned = self.pinned
        self.abandon()
        self.attention = False
        return pinned

    def abandon(self) -> None:
        """Forget the effects of the open unit without taking them back: what they changed is dropped as a whole."""
        self.undo.clear()
        self.held.clear()
        self.held_bytes = 0
        self._forget()
        self.pinned = False

    def _forget(self) -> None:
        checks, self.checks = self.checks, []
        for check in checks:
            check.forget(self)

    def is_first(self) -> bool:
        """Tell whether all that comes before the open unit is finished: so it is in order."""
        return True


_current: ContextVar[Effects | None] = ContextVar("stream_effects", default=None)


current_effects: Callable[[], Effects | None] = _current.get
"""The effects of whoever runs this code, with a unit open or not; a built-in method, because tables ask it per access."""


def active_effects() -> Effects | None:
    """Return the effects of whoever runs this code, if a unit of work is open."""
    effects = _current.get()
    return effects if effects is not None and effects.atom is not None else None


def set_effects(effects: Effects | None) -> None:
    """Let ``effects`` be those of this task from now on; an actor calls it once."""
    _current.set(effects)
