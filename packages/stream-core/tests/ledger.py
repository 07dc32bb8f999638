"""A participant with one number, for tests of checkpoints."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from stream_core.engine.participants import Change, Interval, OnLost, Reading, SendNow, Shard, ShardChanges
from stream_core.engine.snapshot import TablePartitionSnapshot
from stream_core.engine.work import Work
from stream_core.errors import RecordRefusedError
from stream_core.primitives import TP, TopicSpec
from stream_core.streams.effects import Effects, active_effects

CHANGELOG = TP("ledger", 0)


class Ledger:
    """A participant with one number: how many events finished. It has a changelog and a disk like a table."""

    def __init__(self) -> None:
        self.count = 0
        self.frozen = 0
        self.stored = 0
        self.position = 0
        self.aborts = 0
        self.intervals: list[Mapping[Reading, Interval]] = []
        self.committed_readings: list[Mapping[Reading, int]] = []
        self.unread: list[bool] = []
        self.kept: list[Collection[Shard]] = []
        self.broken: Exception | None = None
        self.refused: list[RecordRefusedError] = []

    def add(self) -> None:
        """Count an event, or another unit of work, when it finishes."""
        effects = active_effects()
        assert effects is not None
        effects.undo.append((self, b"", self.count))
        effects.attention = True
        self.count += 1

    def restore(self, key: bytes, previous: Any) -> None:
        """Take a count back."""
        self.count = previous

    @property
    def topics(self) -> Collection[str]:
        """The changelog."""
        return [CHANGELOG.topic]

    def attend(self, on_lost: OnLost) -> None:
        """Remember whom to tell that the disk is lost."""
        self.on_lost = on_lost

    def specs(self, sources: Mapping[str, int]) -> Sequence[TopicSpec]:
        """One changelog."""
        return [TopicSpec(CHANGELOG.topic, 1, config={"cleanup.policy": "compact"})]

    async def start(self, max_record_size: int) -> None:
        """Connect to nothing."""

    async def stop(self) -> None:
        """Close nothing."""

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
        """Begin where the disk is."""
        self.committed_readings.append(committed)
        self.unread.append(unread)
        self.count = self.stored

    @property
    def has_work(self) -> bool:
        """It does nothing beside events."""
        return False

    def running(self, shard: Shard, work: Work) -> None:
        """Begin nothing."""

    async def keep(self, shards: Collection[Shard]) -> None:
        """Keep all, and note which ones were to be kept."""
        self.kept.append(shards)

    @property
    def pending(self) -> int:
        """What is not on the disk."""
        return self.count - self.stored

    @property
    def under_way(self) -> int:
        """A count is small."""
        return 0

    def cut(self, unfinished: Sequence[Effects]) -> None:
        """Freeze the count, less open events."""
        self.frozen = self.count - sum(len(effects.undo) for effects in unfinished)

    def changes(self, intervals: Mapping[Reading, Interval]) -> Iterable[ShardChanges]:
        """The count, when it has changed."""
        self.intervals.append(intervals)
        if self.frozen != self.stored:
            yield ShardChanges(CHANGELOG, (), [(b"count", b"%d" % self.frozen)])

    @property
    def recovered_records(self) -> int:
        """Nothing is ever read."""
        return 0

    def snapshot(self) -> Sequence[TablePartitionSnapshot]:
        """The count."""
        return [TablePartitionSnapshot("count", 0, CHANGELOG.topic, "running", 1, self.pending, None, 0, 0)]

    def refuse(self, change: Change, error: RecordRefusedError) -> bool:
        """Remember what the broker does not take; nobody can help that."""
        self.refused.append(error)
        return False

    async def committed(self, ends: Mapping[TP, int]) -> None:
        """Write the disk."""
        if self.broken is not None:
            raise self.broken
        self.stored, self.position = self.frozen, ends.get(CHANGELOG, self.position)

    def aborted(self) -> None:
        """Forget what is not on the disk."""
        self.aborts += 1
        self.count = self.stored
