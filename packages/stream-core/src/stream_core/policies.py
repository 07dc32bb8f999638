"""What happens to an event that fails: a declared policy, not an accident (design decision 9).

``"crash"`` (the default of agents and topics) keeps the event: the agent is restarted with a growing delay and gets the
*same* event first; when it fails again and again the worker exits non-zero. ``"skip"`` drops the effects of the event, logs
it with topic, partition and offset, and goes on behind it.
"""

from __future__ import annotations

from enum import Enum

from stream_core.errors import ConfigurationError

__all__ = ["FailurePolicy"]


class FailurePolicy(Enum):
    """A failure policy, by the name users write."""

    CRASH = "crash"
    SKIP = "skip"

    @classmethod
    def of(cls, value: str | FailurePolicy, where: str) -> FailurePolicy:
        """The policy of that name; ``where`` names the definition in the error.

        Raises:
            ConfigurationError: there is no such policy.
        """
        try:
            return cls(value)
        except ValueError:
            known = ", ".join(repr(policy.value) for policy in cls)
            raise ConfigurationError(f"{where}: {value!r} is no failure policy; there are {known}") from None
