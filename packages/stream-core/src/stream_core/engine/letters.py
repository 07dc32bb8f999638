"""Finds the dead letter of an event that failed a moment ago, for whoever looks at a worker."""

from __future__ import annotations

import asyncio

from stream_core.counters import Failure
from stream_core.errors import DeadlineError, OffsetOutOfRangeError
from stream_core.ports import Admin, Reader, Transport
from stream_core.primitives import TP, RawRecord
from stream_core.sending.dead_letters import PREFIX

__all__ = ["LetterFinder"]

DEADLINE = 5.0
"""Seconds for one look, those included for which another one is waited for."""

BACK = 2000
"""How many of the last records of a topic are looked through, over all its partitions."""


class LetterFinder:
    """Looks for letters, one at a time, each time with a client of its own: nobody looks most of the time.

    Args:
        transport: the driver of the cluster.
        admin: tells how many partitions a topic has.
    """

    def __init__(self, transport: Transport, admin: Admin) -> None:
        self._transport = transport
        self._admin = admin
        self._turn = asyncio.Lock()

    async def find(self, failure: Failure) -> tuple[TP, RawRecord] | None:
        """Return where the letter of an event is, and the letter; ``None`` when it is not among the last ones, or not committed yet.

        Args:
            failure: what became of the event.

        Raises:
            TransportError: the broker cannot be asked; DeadlineError when it does not answer within five seconds.
        """
        letters = failure.letters
        try:
            async with asyncio.timeout(DEADLINE), self._turn:
                described = await self._admin.describe([letters], config=False)
                if letters not in described:
                    return None
                reader = self._transport.reader(read_committed=True)
                try:
                    await reader.start()
                    tps = [TP(letters, number) for number in range(described[letters].partitions)]
                    return await _last(reader, tps, _names(failure))
                finally:
                    await reader.stop()
        except TimeoutError:
            raise DeadlineError(
                f"the letters of topic {letters} could not be read within {DEADLINE:g} s; look again"
            ) from None


def _names(failure: Failure) -> set[tuple[str, bytes | None]]:
    """List the headers that the letter of an event has."""
    told = {
        "agent": failure.reader,
        "topic": failure.topic,
        "partition": failure.partition,
        "offset": failure.offset,
    }
    return {(PREFIX + name, str(value).encode(errors="replace")) for name, value in told.items()}


async def _last(reader: Reader, tps: list[TP], names: set[tuple[str, bytes | None]]) -> tuple[TP, RawRecord] | None:
    """Return the last of the records that have these headers."""
    starts, ends = await reader.start_offsets(tps), await reader.end_offsets(tps, committed=True)
    back = max(BACK // len(tps), 1)
    positions = {tp: max(starts[tp], ends[tp] - back) for tp in tps}
    left = {tp for tp in tps if positions[tp] < ends[tp]}
    await reader.assign({tp: positions[tp] for tp in left})
    found: tuple[TP, RawRecord] | None = None
    while left:
        try:
            batches = await reader.poll(1.0)
        except OffsetOutOfRangeError as error:  # its retention was over meanwhile
            reader.seek(error.tp, (await reader.start_offsets([error.tp]))[error.tp])
            continue
        for batch in batches:
            for record in batch.records:
                if names <= set(record.headers) and (found is None or record.timestamp >= found[1].timestamp):
                    found = batch.tp, record
            if batch.next_offset >= ends[batch.tp]:
                left.discard(batch.tp)
    return found
