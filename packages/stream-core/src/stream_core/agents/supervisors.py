"""Supervision: which actors of an agent start again when one of them fails, and when the worker gives up.

The failure policy (:mod:`stream_core.policies`) decides on the event, the supervisor strategy on the actors: under each policy the
actor that failed runs its body again.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from enum import Enum
from typing import Any

from stream_core.errors import ConfigurationError

__all__ = ["Strategy", "Supervisor"]

REMEMBERED = 1000
"""Failing events of one agent whose failures are counted at a time; the count of the oldest begins anew."""


class Strategy(Enum):
    """A supervisor strategy, by the name users write."""

    ONE_FOR_ONE = "one_for_one"
    ONE_FOR_ALL = "one_for_all"
    CRASH = "crash"

    @classmethod
    def of(cls, value: Any, where: str) -> Strategy:
        """Find the strategy of that name.

        Args:
            value: a name, a strategy, or a supervisor class of mode (or of one's own below it), or its path as text; it is recognised
                by its name, and none of its code runs.
            where: names the definition in the error.

        Raises:
            ConfigurationError: there is no such strategy.
        """
        if isinstance(value, cls):
            return value
        classes = value.__mro__ if isinstance(value, type) else ()
        names = [base.__name__ for base in classes] or [str(value).replace(":", ".").rpartition(".")[2]]
        for name in names:
            if name in _BY_NAME:
                return _BY_NAME[name]
        if any(name.startswith("Forfeit") for name in names):
            raise ConfigurationError(
                f"{where}: {value!r} gives up the actor that has failed, and nobody would read on in its partitions: to give up the event "
                'write on_failure="skip" or "dead_letter", to give up the worker supervisor_strategy="crash"'
            )
        known = ", ".join(map(repr, _BY_NAME))
        raise ConfigurationError(f"{where}: {value!r} is no supervisor strategy; there are {known}")


_BY_NAME = {
    "one_for_one": Strategy.ONE_FOR_ONE,
    "one_for_all": Strategy.ONE_FOR_ALL,
    "crash": Strategy.CRASH,
    "OneForOneSupervisor": Strategy.ONE_FOR_ONE,
    "OneForAllSupervisor": Strategy.ONE_FOR_ALL,
    "CrashingSupervisor": Strategy.CRASH,
}


class Supervisor:
    """Watches over the actors of one agent on this worker.

    Args:
        strategy: what it does when one of them fails.
        max_restarts: how often the same event may fail under the policy ``crash`` before the worker gives up.

    Attributes:
        max_restarts: the same; none with the strategy ``crash``.
    """

    def __init__(self, strategy: Strategy, max_restarts: int) -> None:
        self.max_restarts = 0 if strategy is Strategy.CRASH else max_restarts
        self._strategy = strategy
        self._restarts: list[Callable[[], None]] = []
        self._failures: dict[Hashable, int] = {}

    def add(self, restart: Callable[[], None]) -> None:
        """Supervise one more actor, which runs its body again when ``restart`` is called."""
        self._restarts.append(restart)

    def remove(self, restart: Callable[[], None]) -> None:
        """Supervise an actor no more."""
        self._restarts.remove(restart)

    def failed(self, event: Hashable) -> int:
        """Count a failure of an event; returns how often it has failed by now."""
        times = self._failures.pop(event, 0) + 1
        self._failures[event] = times
        if len(self._failures) > REMEMBERED:
            del self._failures[next(iter(self._failures))]
        return times

    def decided(self, event: Hashable) -> None:
        """Forget an event: it is not tried again."""
        self._failures.pop(event, None)

    def restart_others(self, restart: Callable[[], None]) -> None:
        """Run the bodies of all other actors again, where that is the strategy."""
        if self._strategy is Strategy.ONE_FOR_ALL:
            for other in self._restarts:
                if other != restart:
                    other()
