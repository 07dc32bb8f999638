"""What a worker counts of its work, in plain objects that anybody may read at any time.

Numbers only grow, from the start of the worker on. They are added to once for each batch of records, checkpoint, failure or rebalance,
and never for each event: who wants to watch a worker reads them as often as it likes, and the path of an event does not know of it.
What is done again after an interval was dropped is counted again.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

__all__ = [
    "BOUNDS",
    "FAILURES",
    "LONGEST_ERROR",
    "OTHERS",
    "Changes",
    "Counters",
    "Durations",
    "Failure",
    "Failures",
    "ReaderCounts",
    "TopicTraffic",
    "Traffic",
]

BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds of the buckets of :class:`Durations`, in seconds; above the last one there is one more."""

TOPICS = 500
"""The most topics that are counted by name."""

FAILURES = 50
"""The most failures that are remembered; the oldest one goes first."""

LONGEST_ERROR = 500
"""Characters of an error message that a failure keeps."""

_CREDENTIALS = re.compile(r"://(?:(?!://)\S)*@")
"""What stands before the host of a URL."""

OTHERS = "(others)"
"""Stands for all further topics: a pattern may find any number of them."""


class Traffic:
    """The records of one topic that went one way.

    Attributes:
        records: how many.
        bytes: of keys, values and headers, about.
        batches: the batches that they came in.
        failed: batches that the broker did not acknowledge; nothing else counts these.
    """

    __slots__ = ("batches", "bytes", "failed", "records")

    def __init__(self) -> None:
        self.records = 0
        self.bytes = 0
        self.batches = 0
        self.failed = 0

    def add(self, records: int, size: int) -> None:
        """Count one batch.

        Args:
            records: in the batch.
            size: bytes of these.
        """
        self.records += records
        self.bytes += size
        self.batches += 1


class TopicTraffic(dict[str, Traffic]):
    """The traffic of each topic by its name; a topic that is new is begun when it is asked for.

    Args:
        together: what the names of topics begin with that are counted as one, named ``{together}*``: each program that asks has a topic
            for its answers. None are when it is empty.

    Attributes:
        latency: how long batches took from their first record to the answer of the broker.
        on_batch: called with the topic when a batch of it is acknowledged, or is certain not to be.
    """

    def __init__(self, together: str = "") -> None:
        super().__init__()
        self._together = together
        self.latency = Durations()
        self.on_batch: Callable[[str], None] | None = None

    def answered(self, topic: str, records: int, size: int, seconds: float, *, failed: bool) -> None:
        """Count a batch that is acknowledged, or is certain not to be.

        Args:
            topic: its topic.
            records: in the batch.
            size: bytes of these.
            seconds: since its first record.
            failed: it is not acknowledged.
        """
        traffic = self[topic]
        if failed:
            traffic.failed += 1
        else:
            traffic.add(records, size)
            self.latency.add(seconds)
        if self.on_batch is not None:
            self.on_batch(topic)

    def __missing__(self, topic: str) -> Traffic:
        name = topic
        if self._together and topic.startswith(self._together):
            name = f"{self._together}*"
        elif len(self) >= TOPICS:
            name = OTHERS
        known = self.get(name)
        if known is None:
            known = self[name] = Traffic()
        return known


class Durations:
    """How long something took that happens again and again.

    Attributes:
        count: how often it happened.
        total: seconds of all together.
        last: seconds of the last one.
        longest: seconds of the longest one.
        buckets: how many took up to each of :data:`BOUNDS` and longer than the bound before, and behind these how many took longer.
    """

    __slots__ = ("buckets", "count", "last", "longest", "total")

    def __init__(self) -> None:
        self.count = 0
        self.total = 0.0
        self.last = 0.0
        self.longest = 0.0
        self.buckets = [0] * (len(BOUNDS) + 1)

    def add(self, seconds: float) -> None:
        """Count one more that took so long."""
        self.count += 1
        self.total += seconds
        self.last = seconds
        self.longest = max(self.longest, seconds)
        self.buckets[bisect_left(BOUNDS, seconds)] += 1


class ReaderCounts:
    """What one reader (an agent, or a stream) has done with its events.

    Attributes:
        finished: events that it finished, counted by chunks; those that its operators filter out, or a policy skips, belong to them.
        failures: how often one of its events, or its body, has failed.
        skipped: events that its failure policy has skipped.
        dead_letters: events that its failure policy has sent to the dead letters.
        busy: seconds for which its chunks were open, of each from when it was taken until its last event was finished.
    """

    __slots__ = ("busy", "dead_letters", "failures", "finished", "skipped")

    def __init__(self) -> None:
        self.finished = 0
        self.failures = 0
        self.skipped = 0
        self.dead_letters = 0
        self.busy = 0.0


class Changes:
    """The changes of one table that checkpoints have sent to its changelog: one for each key of an interval.

    Attributes:
        updated: keys that were assigned.
        deleted: keys that were deleted.
    """

    __slots__ = ("deleted", "updated")

    def __init__(self) -> None:
        self.updated = 0
        self.deleted = 0

    def add(self, changes: Sequence[tuple[bytes, bytes | None]]) -> None:
        """Count changes that are sent: keys, each with its value, or ``None`` where it is deleted."""
        deleted = [value for _, value in changes].count(None)
        self.deleted += deleted
        self.updated += len(changes) - deleted


@dataclass(frozen=True, slots=True)
class Failure:
    """The last failure of one event, or of a body outside of events.

    Attributes:
        reader: the agent, or stream.
        topic: of the event; empty outside of events.
        partition: of the event; -1 outside of events, and of a channel.
        offset: of the event; -1 outside of events.
        time: when it failed last, in seconds since the epoch.
        error: type and message of what was raised, without credentials of URLs.
        action: what the failure policy does in the end: ``crash``, ``skip`` or ``dead_letter``.
        letters: the topic of its dead letter; empty unless the action is ``dead_letter``.
        times: how often the event has failed.
    """

    reader: str
    topic: str
    partition: int
    offset: int
    time: float
    error: str
    action: str
    letters: str
    times: int = 1


class Failures(dict[tuple[str, str, int, int], Failure]):
    """The failures that were last seen, the latest one at the end; an event that is tried again stays one failure."""

    def add(self, failure: Failure) -> None:
        """Remember a failure, in place of the one before of the same event."""
        key = (failure.reader, failure.topic, failure.partition, failure.offset)
        times = failure.times
        if (before := self.pop(key, None)) is not None:
            times += before.times
        elif len(self) >= FAILURES:
            del self[next(iter(self))]
        # Masked before it is cut: what is left of a URL may have no end by which its password is known.
        error = _CREDENTIALS.sub("://***@", failure.error[: 8 * LONGEST_ERROR])[:LONGEST_ERROR]
        self[key] = replace(failure, error=error, times=times)


class Counters:
    """What the worker as a whole counts.

    Args:
        answers: what the names of topics for answers begin with.

    Attributes:
        received: records that the consumer delivered, by topic.
        sent: records that brokers have acknowledged, of events and of others, by topic.
        checkpoints: how long those took that committed something.
        drops: how often an interval was dropped, by what made it so: the name of an error; ``replay`` where an event that failed had
            effects that others had seen; ``given_up`` where partitions went away before all of it could be committed.
        rebalances: how often partitions were ``assigned``, ``revoked``, and ``lost`` to others before they could be given up.
        asks: what became of questions: ``answered``, ``failed`` or ``given_up`` (by who asked, or at its deadline).
        failures: those that were last seen.
        changes: of tables, by their names.
        returns: how long rebalances took from the loss of partitions until some were assigned.
        moves: how long they took from there until all partitions were worked on, recovery included.
        paused: how often partitions were paused because enough of their records waited, by topic.
        answers: the answers to HTTP requests, by status.
        requests: how long HTTP requests took.
    """

    __slots__ = (
        "answers",
        "asks",
        "changes",
        "checkpoints",
        "drops",
        "failures",
        "moves",
        "paused",
        "rebalances",
        "received",
        "requests",
        "returns",
        "sent",
    )

    def __init__(self, answers: str = "") -> None:
        self.received = TopicTraffic()
        self.sent = TopicTraffic(answers)
        self.checkpoints = Durations()
        self.drops: Counter[str] = Counter()
        self.rebalances: Counter[str] = Counter(assigned=0, revoked=0, lost=0)
        self.asks: Counter[str] = Counter(answered=0, failed=0, given_up=0)
        self.failures = Failures()
        self.changes: defaultdict[str, Changes] = defaultdict(Changes)
        self.returns = Durations()
        self.moves = Durations()
        self.paused: Counter[str] = Counter()
        self.answers: Counter[int] = Counter()
        self.requests = Durations()
