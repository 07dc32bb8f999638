"""Finds the record that a broker refuses: it refuses whole batches, and does not say for which of their records.

The interval of the batch is dropped and replayed. Until its events are committed every send is acknowledged by itself before the next one
leaves, so that the refused record fails in the event that sent it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from stream_core.errors import BatchRefusedError, RecordRefusedError
from stream_core.ports import Delivery
from stream_core.primitives import TP, RecordMetadata

__all__ = ["OneByOne"]


class OneByOne:
    """Whether records are sent one by one, which is what its truth value says, and the turn to send one.

    Attributes:
        until: by partition the position up to which events have to be committed first.
    """

    def __init__(self) -> None:
        self.until: dict[TP, int] = {}
        self._turn = asyncio.Lock()

    def __bool__(self) -> bool:
        return bool(self.until)

    @property
    def busy(self) -> bool:
        """Whether a record is on its way, so that the next one has to wait."""
        return self._turn.locked()

    def begin(self, until: Mapping[TP, int]) -> None:
        """Send one by one until these positions are committed; those of an earlier call count on."""
        self.until = {**until, **{tp: max(end, until.get(tp, end)) for tp, end in self.until.items()}}

    def end(self, committed: Mapping[TP, int]) -> None:
        """Take note of committed positions: partitions whose position is reached are done with, and so are those that are not in it,
        which were revoked."""
        if self.until:
            self.until = {tp: end for tp, end in self.until.items() if committed.get(tp, end) < end}

    async def send(self, topic: str, append: Callable[[], Delivery]) -> Delivery:
        """Append a record when it is its turn, and wait for its acknowledgement. Raises RecordRefusedError."""
        async with self._turn:
            delivery = append()
            await _alone(topic, delivery)
        return delivery

    async def acknowledged(self, topic: str, delivery: Delivery) -> RecordMetadata:
        """Wait for the acknowledgement of a record that was appended when :attr:`busy` was false. Raises RecordRefusedError."""
        async with self._turn:  # free, if the record was appended just now: nothing was awaited since
            return await _alone(topic, delivery)


async def _alone(topic: str, delivery: Awaitable[RecordMetadata]) -> RecordMetadata:
    try:
        return await delivery
    except BatchRefusedError as error:
        raise RecordRefusedError(f"topic {topic}: the broker refused the record: {error}", topic) from error
