"""What is to become of the interval: the part of it that everybody knows who works on it."""

from __future__ import annotations

import asyncio

from stream_core.states import INTERVAL, IntervalState, Machine

__all__ = ["IntervalStatus"]


class IntervalStatus:
    """Says what is to become of the interval, and when a checkpoint should come.

    Agents, tables, producers and recovery have it to say that the interval must be dropped; :mod:`stream_core.engine.interval` acts on it.

    Attributes:
        due: set when a checkpoint should not wait for its time.
        progress: set when an event has finished.
        reason: why it must be dropped, in words, and the error unless a failure policy has counted that.
        began: the time of the event loop at which its first event may have come.
    """

    def __init__(self) -> None:
        self._machine = Machine("the interval", IntervalState.OPEN, INTERVAL)
        self._clock = asyncio.get_running_loop().time
        self._cut_at = self._clock()
        self.began = self._cut_at
        self.due, self.progress = asyncio.Event(), asyncio.Event()
        self.reason: tuple[str, BaseException | None] = ("", None)

    @property
    def state(self) -> IntervalState:
        """What becomes of it."""
        return self._machine.state

    @property
    def spoiled(self) -> bool:
        """Whether it must be dropped."""
        return self.state is IntervalState.SPOILED

    def spoil(self, reason: str, error: BaseException | None) -> None:
        """Let the interval be dropped, soon: something in it must not be committed.

        Args:
            reason: in words.
            error: why, unless a failure policy has counted it already and says when the event is tried again.
        """
        if self._machine.may(IntervalState.SPOILED):
            self._machine.to(IntervalState.SPOILED)
            self.reason = (reason, error)
        self.due.set()

    def cut(self) -> None:
        """Say that it is cut: from here on its outcome may be unknown."""
        self._machine.to(IntervalState.COMMITTING)
        self._cut_at = self._clock()

    def committed(self) -> None:
        """Say that the offsets are committed: it counts, also when the next interval is spoiled already."""
        if self.state is IntervalState.COMMITTING:
            self._machine.to(IntervalState.STORING)

    def stored(self) -> None:
        """Say that the stores have it: it is over, and the next one goes on."""
        if self.state is IntervalState.STORING:
            self._machine.to(IntervalState.OPEN)
            self.began = self._cut_at  # what came behind the cut belongs to the next one

    def drop(self) -> bool:
        """Say that nothing of it counts; returns whether that is news."""
        if self.state is IntervalState.DROPPED:
            return False
        self._machine.to(IntervalState.DROPPED)
        return True

    def begin(self) -> None:
        """Say that partitions are opened: the next interval begins, behind a drop with a producer of its own."""
        if self.state is IntervalState.DROPPED:
            self._machine.to(IntervalState.OPEN)
        self.began = self._clock()
