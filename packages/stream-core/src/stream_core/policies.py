"""What happens to an event that fails: a declared policy, not an accident.

A policy has two parts: how often the same event is tried again, with growing delays, and what happens when that was in vain.

========================  ===========================================  =====================================
policy                    tries again                                  then
========================  ===========================================  =====================================
``"crash"``, the default  as often as ``agent_max_restarts`` says      the worker exits non-zero
``"retry"``               three times, or as you say                   as ``crash``, or as you say
``"skip"``                no                                           goes on behind it, and logs its place
``"dead_letter"``         no                                           sends the record to another topic
========================  ===========================================  =====================================
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, NamedTuple

from stream_core.errors import ConfigurationError, StoreError, StreamError, TransportError, UnknownTopicError

__all__ = ["Chosen", "FailurePolicy", "JudgedError", "is_of_event"]

Action = Literal["crash", "skip", "dead_letter"]


@dataclass(frozen=True, slots=True)
class FailurePolicy:
    """A failure policy. Users write its name (``on_failure="skip"``), or make one with the methods of this class.

    Attributes:
        action: what happens when trying again was in vain: ``"crash"``, ``"skip"`` or ``"dead_letter"``.
        attempts: how often the same event is tried again first; ``None`` as often as the setting ``agent_max_restarts`` says.
        delay: seconds before the first of these attempts.
        factor: by which the delay grows with each of them.
        longest: seconds that it grows to.
        topic: name of the topic of dead letters; ``None`` for ``{app id}-dead-letter``.
    """

    CRASH: ClassVar[FailurePolicy]
    SKIP: ClassVar[FailurePolicy]
    DEAD_LETTER: ClassVar[FailurePolicy]

    action: Action
    attempts: float | None = 0
    delay: float = 0.1
    factor: float = 2.0
    longest: float = 5.0
    topic: str | None = None

    @classmethod
    def retry(
        cls,
        attempts: int | None = 3,
        *,
        delay: float = 0.1,
        factor: float = 2.0,
        longest: float = 30.0,
        then: str | FailurePolicy = "crash",
    ) -> FailurePolicy:
        """Try the same event again, later and later.

        Args:
            attempts: how often; ``None`` for ever.
            delay: seconds before the first attempt.
            factor: by which the delay grows with each attempt; 1 leaves it as it is.
            longest: seconds that the delay grows to.
            then: what happens when all attempts failed: ``"crash"``, ``"skip"``, ``"dead_letter"`` or such a policy.

        Raises:
            ConfigurationError: a number is out of range, or ``then`` tries again itself.
        """
        last = cls.of(then, "FailurePolicy.retry(then=)")
        if last.attempts:
            raise ConfigurationError("FailurePolicy.retry(then=) must end it: use 'crash', 'skip' or 'dead_letter'")
        if (attempts is not None and attempts < 1) or delay < 0 or factor < 1 or longest < delay:
            raise ConfigurationError(
                f"FailurePolicy.retry({attempts}, {delay=}, {factor=}, {longest=}): use at least one attempt, a delay of 0 or more "
                "seconds, a factor of 1 or more, and a longest delay that is not shorter than the first"
            )
        often = math.inf if attempts is None else attempts
        return replace(last, attempts=often, delay=delay, factor=factor, longest=longest)

    @classmethod
    def dead_letter(cls, topic: Any = None) -> FailurePolicy:
        """Send the record of the event, as it is, to a topic of dead letters, and go on behind it.

        Args:
            topic: that topic, or its name; ``{app id}-dead-letter`` when left out.
        """
        return cls("dead_letter", topic=getattr(topic, "name", topic))

    @classmethod
    def of(cls, value: str | FailurePolicy, where: str) -> FailurePolicy:
        """Find the policy of that name; ``where`` names the definition in the error.

        Raises:
            ConfigurationError: there is no such policy.

        :meta private:
        """
        if isinstance(value, FailurePolicy):
            return value
        if value not in _BY_NAME:
            known = ", ".join(map(repr, _BY_NAME))
            raise ConfigurationError(f"{where}: {value!r} is no failure policy; there are {known}")
        return _BY_NAME[value]

    @property
    def final(self) -> FailurePolicy:
        """The same without another attempt.

        :meta private:
        """
        return replace(self, attempts=0)

    def wait(self, failures: int) -> float:
        """Give the seconds to wait before the next attempt after so many failures, at least one.

        :meta private:
        """
        delay = self.delay
        for _ in range(failures - 1):
            if delay >= self.longest or self.factor == 1:
                break
            delay *= self.factor
        return min(delay, self.longest)


FailurePolicy.CRASH = FailurePolicy("crash", attempts=None)
FailurePolicy.SKIP = FailurePolicy("skip")
FailurePolicy.DEAD_LETTER = FailurePolicy("dead_letter")

_BY_NAME = {
    "crash": FailurePolicy.CRASH,
    "skip": FailurePolicy.SKIP,
    "dead_letter": FailurePolicy.DEAD_LETTER,
}
_BY_NAME["retry"] = FailurePolicy.retry()


class JudgedError(StreamError):
    """An event failed, and what raised this says what happens to it, whatever the policy of its agent is.

    Args:
        message: what went wrong, in one sentence.
        policy: what happens to the event.
    """

    def __init__(self, message: str, policy: FailurePolicy) -> None:
        super().__init__(message)
        self.policy = policy


class Chosen(NamedTuple):
    """Which policy holds for an event that failed.

    Attributes:
        policy: the policy.
        option: which option has said so, or would; empty where none decides.
        topic: where that option is declared; empty for the agent.
    """

    policy: FailurePolicy
    option: str = ""
    topic: str = ""


def is_of_event(error: BaseException) -> bool:
    """Tell whether an error may be the fault of its event, so that a declared policy decides.

    It is not where a broker, a client or a store is to blame, also for one error of a group: to pass over it would lose it for no reason.
    """
    if isinstance(error, BaseExceptionGroup):
        return all(map(is_of_event, error.exceptions))
    return isinstance(error, UnknownTopicError) or not isinstance(error, TransportError | StoreError)
