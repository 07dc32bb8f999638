"""What a row is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from chaos.audit import AT_LEAST_ONCE, EXACTLY_ONCE
from chaos.scene import Setup

__all__ = ["BOTH", "Row"]

BOTH = (EXACTLY_ONCE, AT_LEAST_ONCE)


@dataclass(frozen=True, slots=True)
class Row:
    """One kind of fault with its expectation.

    Attributes:
        name: as given to ``--row``.
        play: runs it; the docstring's first line says what must hold.
        guarantees: run once under each.
        workers: run once with each number of workers.
        quick: seconds of faults in the short form, under the first guarantee and number of workers; 0 leaves it out.
        broker: whether it needs one.
    """

    name: str
    play: Callable[[Setup], Awaitable[None]]
    guarantees: tuple[str, ...] = BOTH
    workers: tuple[int, ...] = (2, 3)
    quick: float = 0.0
    broker: bool = True

    @property
    def summary(self) -> str:
        """What must hold, in one sentence."""
        return (self.play.__doc__ or "").strip().splitlines()[0]
