"""Events that no window takes any more: what happens to them, by the choice of who defines the table."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from stream_core.errors import ConfigurationError
from stream_core.policies import FailurePolicy, JudgedError
from stream_tables.errors import TableError
from stream_tables.windows.kinds import label
from stream_tables.windows.rows import EARLIEST

__all__ = ["Late", "LateArg", "LateError", "LatePolicy"]

logger = logging.getLogger(__name__)


class Late(NamedTuple):
    """An event that no window takes.

    Attributes:
        table: name of the table.
        key: what was to be changed.
        timestamp: the instant of the event, in seconds since the epoch.
        time: the time that its partition is at, in the same seconds; where the event is ahead of the clock, that of the clock.
        is_future: it is not late, but further ahead of the clock than a day, which cannot be true.
    """

    table: str
    key: Any
    timestamp: float
    time: float
    is_future: bool

    def __str__(self) -> str:
        """Say what it is."""
        if self.is_future:
            return (
                f"table {self.table}: the event of {self.key!r} has the timestamp {self.timestamp:.3f}, more than a day ahead of the "
                f"clock ({self.time:.3f}): it would close all windows before it"
            )
        if self.timestamp <= label(EARLIEST):
            return (
                f"table {self.table}: the event of {self.key!r} has the timestamp {self.timestamp:.0f}, tens of thousands of years ago, of "
                "which no windows are kept"
            )
        return (
            f"table {self.table}: the event of {self.key!r} at {self.timestamp:.3f} comes when all its windows are closed: others have "
            f"moved the time of its partition to {self.time:.3f}. A longer grace= takes it in"
        )


LateArg = Literal["skip", "dead_letter", "crash"] | Callable[[Late], Any] | None
"""What users say of late events: a name, or a function that is called with each of them; ``None`` is ``"skip"``."""


class LateError(JudgedError, TableError):
    """An event came when all its windows were closed, and the table says that it fails then."""


class LatePolicy:
    """What happens to late events of one table.

    Args:
        choice: what the user says.
        table: name of the table.

    Attributes:
        choice: the same.
        count: how many events were late here, or had a timestamp that cannot be true.
        policy: what happens to an event that fails because of it.

    Raises:
        ConfigurationError: there is no such choice.
    """

    def __init__(self, choice: LateArg, table: str) -> None:
        if not (choice in (None, "skip", "dead_letter", "crash") or callable(choice)):
            raise ConfigurationError(
                f"table {table}: late={choice!r} is none of 'skip', 'dead_letter', 'crash', and no function"
            )
        self.choice = choice or "skip"
        self.policy = FailurePolicy.SKIP if callable(self.choice) else FailurePolicy.of(self.choice, "late").final
        self.count = 0

    def meet(self, late: Late) -> None:
        """Do with a late event what was chosen. Raises LateError, and what a function of a user raises: then the event fails."""
        self.count += 1
        if callable(self.choice):
            self.choice(late)
        elif self.choice == "skip":
            if self.count == 1:
                logger.warning("%s. It changes nothing, as all that come late; this is said once", late)
        else:
            raise LateError(str(late), self.policy)
