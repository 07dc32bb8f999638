"""Make what aiokafka logs fit to be read: one line per cause and ten seconds, and no secrets."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

__all__ = ["ClientLogFilter", "install"]

_LOGGERS = (
    "aiokafka",
    "aiokafka.cluster",
    "aiokafka.conn",
    "aiokafka.consumer.fetcher",
    "aiokafka.consumer.group_coordinator",
    "aiokafka.consumer.subscription_state",
    "aiokafka.producer.sender",
    "stream_kafka.connecting.client",
)
_SAY_EVERY = 10.0

_RETRIED = (
    "Group Coordinator Request failed: %s",
    "Marking the coordinator dead (node %s)for group %s.",
    "Got error produce response on topic-partition %s, retrying. Error: %s",
)
"""What the client tries again by itself: a new broker has no coordinator yet, and a new topic no leader."""

_ORDINARY = ("Heartbeat failed for group %s because it is rebalancing",)
"""What is a warning of the client, and nothing to worry about: a worker has come or gone, and who owns what is told by the worker."""

_PATIENCE = 3.0
"""Seconds for which that goes on before it is trouble."""


class ClientLogFilter(logging.Filter):
    """Let one warning of each kind pass every ten seconds, lines at INFO and of a rebalance only when debugging, and no credentials at all.

    What the client tries again by itself is a warning once it has gone on for ``_PATIENCE`` seconds.

    Args:
        clock: seconds that only grow.

    Without a broker one consumer and two producers log 79 lines a second.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._said: dict[str, tuple[float, int]] = {}
        self._retried: dict[str, tuple[float, float]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record is logged; its arguments lose their secrets, and its message counts what was held back."""
        if isinstance(record.args, tuple) and any(_is_secret(arg) for arg in record.args):
            record.args = tuple(type(arg).__name__ if _is_secret(arg) else arg for arg in record.args)
        if record.levelno < logging.WARNING or record.msg in _ORDINARY:
            return record.levelno < logging.INFO or _wants_news()
        now = self._clock()
        if record.msg in _RETRIED and not self._goes_on(record.msg, now):
            return False
        said, held = self._said.get(record.msg, (-_SAY_EVERY, 0))
        if now - said < _SAY_EVERY:
            self._said[record.msg] = (said, held + 1)
            return False
        self._said[record.msg] = (now, 0)
        if held:
            record.msg = f"{record.msg} ({held} more like this in the last {now - said:.0f} s)"
        return True

    def _goes_on(self, message: str, now: float) -> bool:
        """Note that this happened, and say whether it has happened again and again for ``_PATIENCE`` seconds."""
        first, last = self._retried.get(message, (now, now))
        if now - last > _SAY_EVERY:
            first = now
        self._retried[message] = (first, now)
        return now - first >= _PATIENCE


def _wants_news() -> bool:
    """Say whether somebody debugs the client: a worker that logs at INFO says by itself what concerns its user."""
    return logging.getLogger("aiokafka").level != logging.NOTSET or logging.getLogger().isEnabledFor(logging.DEBUG)


def _is_secret(arg: object) -> bool:
    return type(arg).__name__.startswith("Sasl")


_FILTER = ClientLogFilter()


def install() -> None:
    """Put the filter on the loggers of the client; a second call changes nothing."""
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_FILTER)
