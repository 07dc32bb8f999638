"""A clock that a test drives by hand."""

from __future__ import annotations

__all__ = ["ManualClock"]


class ManualClock:
    """Tells the time that it was given; stands in wherever a callable that returns seconds is asked for.

    Args:
        now: seconds to begin with.
    """

    def __init__(self, now: float = 0.0) -> None:
        self._now = now

    def __call__(self) -> float:
        """The time in seconds."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Move on. Raises ValueError for a negative number: time does not go back."""
        if seconds < 0:
            raise ValueError(f"a clock cannot be advanced by {seconds} seconds; give zero or more")
        self._now += seconds
