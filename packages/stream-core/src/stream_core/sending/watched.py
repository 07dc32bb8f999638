"""What sensors hear of sends: where one overrides a callback for each record, and nowhere else."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable
from typing import Any

from stream_core.errors import ProduceError
from stream_core.primitives import Headers, Outgoing, RecordMetadata
from stream_core.sending.kept import Kept
from stream_core.sensors import Begun, Sensors
from stream_core.streams.effects import HeldSend

__all__ = ["SendWatch"]


class SendWatch:
    """Tells sensors of records that leave, and of what becomes of them.

    It waits for none of them: whoever waits for a record lets its batch leave early. When a batch is answered it looks at the records of
    the topic.

    Args:
        sensors: who is told.
    """

    def __init__(self, sensors: Sensors) -> None:
        self._sensors = sensors
        self._pending: dict[str, deque[tuple[Begun, Awaitable[RecordMetadata]]]] = {}
        self._looking: set[str] = set()

    def headers(self, topic: str, headers: Headers) -> Headers:
        """Let sensors add headers; returns all of them."""
        pairs = list(headers)
        self._sensors.tell("on_send_headers", topic, pairs)
        return pairs

    async def sends(self, record: Outgoing, sending: Awaitable[Awaitable[RecordMetadata]]) -> Awaitable[RecordMetadata]:
        """Tell that a record is about to be sent, and let ``sending`` send it; it is remembered once it is on its way, or held."""
        topic, _, key, value, _, _ = record
        sizes = len(key or b""), len(value or b"")
        begun = self._sensors.begin("on_send_initiated", self, topic, (key, value), *sizes)
        try:
            sent = await sending
        except Exception as error:
            self._failed(begun, error)
            raise
        self._pending.setdefault(topic, deque()).append((begun, sent))
        return sent

    def answered(self, topic: str) -> None:
        """Look, behind this turn of the event loop, at what has become of the records of a topic."""
        if topic not in self._looking:
            self._looking.add(topic)
            asyncio.get_running_loop().call_soon(self._look, topic)

    def _look(self, topic: str) -> None:
        self._looking.discard(topic)
        pending = self._pending.pop(topic, deque())
        waiting: deque[tuple[Begun, Awaitable[RecordMetadata]]] = deque()
        for begun, sent in pending:
            if (outcome := _outcome(sent)) is None:
                waiting.append((begun, sent))
            elif isinstance(outcome, BaseException):
                self._failed(begun, outcome)
            else:
                self._completed(begun, outcome)
        if waiting:
            self._pending[topic] = waiting

    def _failed(self, begun: Begun, error: BaseException) -> None:
        self._sensors.end("on_send_error", begun, lambda state: (self, error, state))

    def _completed(self, begun: Begun, metadata: RecordMetadata) -> None:
        self._sensors.end("on_send_completed", begun, lambda state: (self, state, metadata))


def _outcome(sent: Any) -> RecordMetadata | BaseException | None:
    """Give the place of a record, or why it has none; ``None`` while that is not decided."""
    if isinstance(sent, HeldSend):
        if sent.dropped or (sent.delivery is None and sent.session is not None and sent.session.dead):
            return ProduceError(f"not sent to {sent.record[0]}: the event that sent it failed")
        return None if sent.delivery is None else _outcome(sent.delivery)
    if isinstance(sent, Kept):
        if sent.error is not None:
            return sent.error
        state = sent.delivery.acknowledged()
        return _outcome(sent.delivery) if state else None  # when its producer failed it is sent again
    if sent.acknowledged() is None:
        return None
    waiting = sent.__await__()
    try:
        waiting.send(None)  # what is decided does not suspend
    except StopIteration as stop:
        metadata: RecordMetadata = stop.value
        return metadata
    except Exception as error:
        return error
    waiting.close()
    return None
