"""How the checks see what a client does: records received, events of a group member, errors."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, TypeVar

from stream_core.ports import NOBODY, Consumer, RebalanceListener
from stream_core.primitives import TP, Batch, GroupMetadata, Host, RawRecord

__all__ = ["Assigned", "GroupMember", "Received", "Revoked", "do_nothing", "raises"]

E = TypeVar("E", bound=BaseException)


async def raises(kind: type[E], action: Callable[[], Awaitable[object]], what: str) -> E:
    """Call and await what must raise ``kind``, and return the error."""
    try:
        result = await action()
    except kind as error:
        return error
    raise AssertionError(f"{what}: expected {kind.__name__}, but it returned {result!r}")


class Received:
    """What polls have returned; asserts of each batch what the port promises of all batches."""

    def __init__(self) -> None:
        self.records: dict[TP, list[RawRecord]] = defaultdict(list)
        self.next_offset: dict[TP, int] = {}
        self.end_offset: dict[TP, int] = {}

    def add(self, batches: Iterable[Batch]) -> None:
        """Take in the result of one poll."""
        seen: set[TP] = set()
        for batch in batches:
            tp, offsets = batch.tp, [record.offset for record in batch.records]
            assert tp not in seen, f"one poll returned two batches of {tp}"
            seen.add(tp)
            assert offsets == sorted(set(offsets)), f"offsets of a batch of {tp} are not in order: {offsets}"
            assert not offsets or batch.next_offset > offsets[-1], (
                f"next_offset of {tp} is not behind {offsets[-1]}: {batch}"
            )
            self.records[tp].extend(batch.records)
            self.next_offset[tp] = batch.next_offset
            self.end_offset[tp] = batch.end_offset

    def values(self, tp: TP) -> list[bytes | None]:
        """Return the values of a partition as they came."""
        return [record.value for record in self.records[tp]]

    def count(self) -> int:
        """Return the number of all records."""
        return sum(len(records) for records in self.records.values())

    def __repr__(self) -> str:
        return f"records {dict(self.records)}, next offsets {self.next_offset}"


class Assigned(NamedTuple):
    """``assigned`` was called."""

    partitions: frozenset[TP]
    group: GroupMetadata


class Revoked(NamedTuple):
    """``revoked`` was called."""

    partitions: frozenset[TP]
    lost: bool


async def do_nothing(revoked: Revoked) -> None:
    """Do nothing: a member has no work at a revocation."""


class GroupMember:
    """A consumer, and all that its listener was told.

    Args:
        consumer: it, started.
        on_revoked: awaited within ``revoked``.
        host: what the other members are told of it.
    """

    def __init__(
        self,
        consumer: Consumer,
        on_revoked: Callable[[Revoked], Awaitable[None]] = do_nothing,
        host: Host = NOBODY,
    ) -> None:
        self.consumer = consumer
        self.host = host
        self.events: list[Assigned | Revoked] = []
        self.received = Received()
        self._on_revoked = on_revoked

    def subscribe(self, *topics: str) -> None:
        """Join the group for these topics."""
        self.consumer.subscribe(topics, RebalanceListener(self._assigned, self._revoked), self.host)

    @property
    def assignment(self) -> Assigned | None:
        """The assignment that is in force now."""
        last = self.events[-1] if self.events else None
        return last if isinstance(last, Assigned) else None

    @property
    def partitions(self) -> frozenset[TP]:
        """What the member owns now."""
        return self.assignment.partitions if self.assignment else frozenset()

    @property
    def group(self) -> GroupMetadata:
        """The group metadata of the assignment in force."""
        assert self.assignment is not None, f"the member has no assignment: {self.events}"
        return self.assignment.group

    def read(self, positions: Mapping[TP, int]) -> None:
        """Seek and resume partitions."""
        for tp, offset in positions.items():
            self.consumer.seek(tp, offset)
        self.consumer.resume(positions)

    async def poll(self, timeout: float) -> Sequence[Batch]:
        """Poll once, and keep what came."""
        batches = await self.consumer.poll(timeout)
        owned = self.partitions
        for batch in batches:
            assert batch.tp in owned, f"{batch.tp} was delivered, the member owns {sorted(owned)}"
        self.received.add(batches)
        await asyncio.sleep(0)
        return batches

    def _assigned(self, partitions: frozenset[TP], group: GroupMetadata) -> None:
        self.events.append(Assigned(partitions, group))

    async def _revoked(self, partitions: frozenset[TP], lost: bool) -> None:
        revoked = Revoked(partitions, lost)
        await self._on_revoked(revoked)
        self.events.append(revoked)
