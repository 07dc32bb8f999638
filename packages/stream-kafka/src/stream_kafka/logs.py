"""What aiokafka logs, made fit to be read: one line per cause and ten seconds, and no secrets."""

from __future__ import annotations

import logging
import time

__all__ = ["install"]

_LOGGERS = (
    "aiokafka",
    "aiokafka.cluster",
    "aiokafka.conn",
    "aiokafka.consumer.fetcher",
    "aiokafka.consumer.group_coordinator",
    "aiokafka.consumer.subscription_state",
    "aiokafka.producer.sender",
    "stream_kafka.client",
)
_SAY_EVERY = 10.0


class _ClientLogFilter(logging.Filter):
    """Lets one warning of each kind pass every ten seconds, news only when debugging, and no credentials at all.

    Without a broker one consumer and two producers log 79 lines a second.
    """

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[str, tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Say whether the record is logged; may shorten it."""
        if isinstance(record.args, tuple) and any(_is_secret(arg) for arg in record.args):
            record.args = tuple(type(arg).__name__ if _is_secret(arg) else arg for arg in record.args)
        if record.levelno < logging.WARNING:
            return record.levelno < logging.INFO or _wants_news()
        now = time.monotonic()
        said, held = self._said.get(record.msg, (-_SAY_EVERY, 0))
        if now - said < _SAY_EVERY:
            self._said[record.msg] = (said, held + 1)
            return False
        self._said[record.msg] = (now, 0)
        if held:
            record.msg = f"{record.msg} ({held} more like this in the last {now - said:.0f} s)"
        return True


def _wants_news() -> bool:
    """Whether somebody wants what the client says of its daily work: a worker at INFO says what concerns its user by itself."""
    return logging.getLogger("aiokafka").level != logging.NOTSET or logging.getLogger().isEnabledFor(logging.DEBUG)


def _is_secret(arg: object) -> bool:
    return type(arg).__name__.startswith("Sasl")


_FILTER = _ClientLogFilter()


def install() -> None:
    """Put the filter on the loggers of the client; again and again does nothing more."""
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_FILTER)
