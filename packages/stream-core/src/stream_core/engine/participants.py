"""The port through which tables take part in assignment and checkpoints."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

from stream_core.engine.snapshot import TablePartitionSnapshot
from stream_core.engine.work import Work
from stream_core.errors import RecordRefusedError
from stream_core.primitives import TP, Headers, TopicSpec
from stream_core.streams.effects import Effects

__all__ = ["Change", "Interval", "OnLost", "Participant", "Reading", "SendNow", "Shard", "ShardChanges"]


class Shard(NamedTuple):
    """One partition number over all topics with the same partition count: what is assigned, and recovered, together."""

    partitions: int
    partition: int


class Reading(NamedTuple):
    """One subscription's reading of one source partition: what offsets belong to."""

    tp: TP
    subscription: str


class Interval(NamedTuple):
    """The offsets ``[start, end)`` that a reading finished between two checkpoints."""

    start: int
    end: int


class Change(NamedTuple):
    """A changelog record to send."""

    topic: str
    partition: int
    key: bytes
    value: bytes | None
    headers: Headers


class ShardChanges(NamedTuple):
    """The changelog records of one shard in a checkpoint. There may be millions, so what they have in common is said once.

    Attributes:
        tp: the changelog partition.
        headers: of each of them.
        records: key and value of each of them; they are made as they are asked for.
    """

    tp: TP
    headers: Headers
    records: Iterable[tuple[bytes, bytes | None]]

    def change(self, key: bytes, value: bytes | None) -> Change:
        """Make one of them by itself."""
        return Change(*self.tp, key, value, self.headers)


SendNow = Callable[[Change], Awaitable[int]]
"""Sends one record ahead of the checkpoints, waits until it is acknowledged, and returns its offset; -1 when the broker does not say it."""

OnLost = Callable[[str, BaseException], None]
"""Told, with a reason and an error, that the state of a shard is lost here: the interval must be dropped and the shards opened again."""


class Participant(Protocol):
    """Something with durable state per shard that is changed by events: the tables of an app.

    In each checkpoint the engine calls ``cut``, ``changes``, then, when all changes are acknowledged and the offsets
    committed, ``committed``. In place of any of them, and at any time between, it may call ``aborted``.
    """

    @property
    def topics(self) -> Collection[str]:
        """The names of the topics that keep its changes: those of ``specs``."""

    def attend(self, on_lost: OnLost) -> None:
        """Call ``on_lost`` from now on, from the event loop, whenever state turns out to be lost: when it is read, or stored."""

    def specs(self, sources: Mapping[str, int]) -> Sequence[TopicSpec]:
        """Describe the topics to declare, given the partition counts of the source topics. Raises ConfigurationError."""

    async def start(self, max_record_size: int) -> None:
        """Connect what recovery needs.

        Args:
            max_record_size: bytes of the largest record that the producers take, with key and headers. A change that would be larger
                has to fail in its event, where a policy can decide on it.
        """

    async def stop(self) -> None:
        """Close all stores; never raises."""

    async def open(
        self,
        shard: Shard,
        committed: Mapping[Reading, int],
        generation: int = 0,
        *,
        ids: Mapping[str, str] | None = None,
        send: SendNow | None = None,
        exactly_once: bool = False,
        unread: bool = False,
    ) -> None:
        """Recover the state of a shard up to the end of its changelogs. State that is lost or behind is made anew.

        Args:
            shard: what to recover.
            committed: the committed position of every reading of its sources; under the name ``""`` that of all others.
            generation: of the consumer group; it rises with every change of owners.
            ids: topic id by name, of sources and of ``topics``, read after ``committed``. A topic that is missing has an unknown id.
            send: writes to the changelogs at once. ``None`` under exactly-once, where nobody but the owner can commit records.
            exactly_once: nobody sees the changes of an interval that is not committed, so they need not say which one they are of.
            unread: nothing was committed of any of its sources before: they are read for the first time, or their offsets have expired.
        """

    @property
    def has_work(self) -> bool:
        """Whether it begins units of work that no record brings. Partitions count these from their opening on, then."""

    def running(self, shard: Shard, work: Work) -> None:
        """Take note that a shard which was opened takes events from now on; called again each time it was opened.

        Args:
            shard: the shard.
            work: begins what is done there beside events; only where :attr:`has_work` is true.
        """

    async def keep(self, shards: Collection[Shard]) -> None:
        """Close the state of all other shards: they belong to others now. May be called before anything is opened; never raises."""

    @property
    def pending(self) -> int:
        """Bytes of changes since the last cut, estimated; 0 when there are none. This is what makes a checkpoint come early, so what
        a checkpoint that is under way has cut does not count."""

    @property
    def under_way(self) -> int:
        """Bytes of the changes that a checkpoint under way has cut, estimated; 0 when there is none."""

    def cut(self, unfinished: Sequence[Effects]) -> None:
        """Freeze the changes so far, without those of the open work of ``unfinished``. Synchronous: a moment in time."""

    def changes(self, intervals: Mapping[Reading, Interval]) -> Iterable[ShardChanges]:
        """Make the changelog records of what was cut: one per key, with its final value; a shard without any may be left out."""

    async def committed(self, ends: Mapping[TP, int]) -> None:
        """Make the changes of the checkpoint durable: it is committed.

        Args:
            ends: the offset behind the last change of each changelog. One that was changed may be missing: the broker has its records,
                and did not say where.
        """

    def aborted(self) -> None:
        """Drop everything since the last committed checkpoint: it will be replayed."""

    @property
    def recovered_records(self) -> int:
        """Records of ``topics`` that recoveries have read since the start."""

    def snapshot(self) -> Sequence[TablePartitionSnapshot]:
        """Tell how the state of each shard is, in the order of tables and partitions, from what is in memory.

        It may be called at any time, and from any thread.
        """

    def refuse(self, change: Change, error: RecordRefusedError) -> bool:
        """Let an event fail that makes a change again whose record the broker refused for good.

        It is remembered over :meth:`aborted`, because the interval is replayed then, until the events of the interval are committed or
        the state is closed.

        Args:
            change: the record, as :meth:`changes` gave it.
            error: why.

        Returns:
            whether refusing helps: this is the first one, or an event has failed by those before it since the last. A change that is
            another one each time that its event runs is never met again.
        """
