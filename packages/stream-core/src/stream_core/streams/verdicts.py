"""What was decided on events that failed for good, kept until no replay can bring them again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from stream_core.errors import DecodeError
from stream_core.stacks import report_of

if TYPE_CHECKING:
    from stream_core.policies import FailurePolicy

__all__ = ["Verdict", "Verdicts"]

LONGEST_MESSAGE = 1000
"""Characters of an error message that a verdict keeps."""

FIRST_LINES, LAST_LINES = 1000, 3000
"""Characters of a traceback that a verdict keeps where it is long: how it began, and where the error is."""


class Verdict(NamedTuple):
    """What was decided on an event that failed for good, as text: the exception would keep the frames of its traceback alive.

    Attributes:
        policy: what happens to the event, with no further attempt.
        kind: the type of what was raised, with its module unless it is a builtin.
        message: what it said.
        traceback: the lines of user code that it came through, for a dead letter; empty where only ours are known.
    """

    policy: FailurePolicy
    kind: str
    message: str
    traceback: str = ""

    @classmethod
    def of(cls, error: BaseException, policy: FailurePolicy) -> Verdict:
        """Put down what a failure policy says of an error."""
        kind = type(error)
        name = kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
        told = policy.action == "dead_letter" and not isinstance(error, DecodeError)
        traceback = report_of(error) if told else ""
        if len(traceback) > FIRST_LINES + LAST_LINES:
            traceback = f"{traceback[:FIRST_LINES]}\n  ...\n{traceback[-LAST_LINES:]}"
        return cls(policy, name, str(error)[:LONGEST_MESSAGE], traceback)

    @property
    def reason(self) -> str:
        """Type and message in one, for people."""
        return f"{self.kind.rpartition('.')[2]}: {self.message}"


class Verdicts:
    """The verdicts on events of one partition, for one reader.

    They outlive a session: when an interval is dropped its events come again, and those are rejected again, so that the body does
    not get them. Forgetting looks at all verdicts once for each position, and not for each event: many events may fail in a row.
    """

    __slots__ = ("_by_offset", "_floor", "_last")

    def __init__(self) -> None:
        self._by_offset: dict[int, Verdict] = {}
        self._floor = -1
        self._last = -1

    def add(self, offset: int, verdict: Verdict) -> None:
        """Remember the verdict on the event at ``offset``."""
        self._by_offset[offset] = verdict
        self._last = max(self._last, offset)

    def since(self, offset: int) -> Mapping[int, Verdict]:
        """Return all verdicts by offset when one may be at ``offset`` or behind it, else nothing."""
        return self._by_offset if offset <= self._last else {}

    def forget_below(self, position: int) -> None:
        """Forget the verdicts on events below ``position``: no replay brings these again."""
        if position > self._floor and self._by_offset:
            self._floor = position
            for offset in [offset for offset in self._by_offset if offset < position]:
                del self._by_offset[offset]

    def __len__(self) -> int:
        return len(self._by_offset)
