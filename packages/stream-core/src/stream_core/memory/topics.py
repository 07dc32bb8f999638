"""Topics of the in-process broker: the configuration they take, what it refuses, and how it cleans their logs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stream_core.errors import BatchRefusedError, TransportError
from stream_core.memory.log import BATCH_OVERHEAD, Entry, PartitionLog, record_size
from stream_core.primitives import TP, TopicInfo, TopicSpec

__all__ = ["Topic"]

_DEFAULTS = {
    "cleanup.policy": "delete",
    "delete.retention.ms": "86400000",
    "max.message.bytes": "1048588",
    "message.timestamp.after.max.ms": "3600000",
    "message.timestamp.type": "CreateTime",
    "min.cleanable.dirty.ratio": "0.5",
    "min.compaction.lag.ms": "0",
    "retention.bytes": "-1",
    "retention.ms": "604800000",
}
"""What has an effect here, with Kafka's defaults."""

_WITHOUT_EFFECT = re.compile(
    r"compression\.(type|gzip\.level|lz4\.level|zstd\.level)|file\.delete\.delay\.ms|flush\.(messages|ms)"
    r"|(follower|leader)\.replication\.throttled\.replicas|index\.interval\.bytes|local\.retention\.(bytes|ms)"
    r"|max\.compaction\.lag\.ms|message\.timestamp\.before\.max\.ms|min\.insync\.replicas|preallocate"
    r"|remote\.[a-z.]+|segment\.(bytes|index\.bytes|jitter\.ms|ms)|unclean\.leader\.election\.enable"
)
_CHOICES = {
    "cleanup.policy": {"delete", "compact", "compact,delete", "delete,compact"},
    "message.timestamp.type": {"CreateTime", "LogAppendTime"},
}
_NAME = re.compile(r"[a-zA-Z0-9._-]{1,249}")


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic as the broker keeps it.

    Attributes:
        info: what clients are told of it.
        logs: the log of each partition.
    """

    info: TopicInfo
    logs: tuple[PartitionLog, ...]

    @classmethod
    def made(cls, spec: TopicSpec, id: str) -> Topic:  # noqa: A002 - the name is the port's
        """Make a topic. Raises TransportError for a name, count or configuration that Kafka refuses."""
        if not _NAME.fullmatch(spec.name) or spec.name in {".", ".."}:
            raise TransportError(f"topic name {spec.name!r} is refused: up to 249 letters, digits, dots, '_' and '-'")
        if spec.partitions < 1:
            raise TransportError(f"topic {spec.name} cannot have {spec.partitions} partitions; give one or more")
        _check(spec.name, spec.config)
        info = TopicInfo(spec.name, spec.partitions, {**_DEFAULTS, **spec.config}, id)
        return cls(info, tuple(PartitionLog() for _ in range(spec.partitions)))

    def grown(self, partitions: int) -> Topic:
        """Return the same topic with more partitions. Raises TransportError unless they are more."""
        info = self.info
        if partitions <= info.partitions:
            raise TransportError(f"topic {info.name} has {info.partitions} partitions and cannot be given {partitions}")
        more = tuple(PartitionLog() for _ in range(partitions - info.partitions))
        return Topic(TopicInfo(info.name, partitions, info.config, info.id), self.logs + more)

    def accept(self, tp: TP, entries: Sequence[Entry], now: int) -> tuple[Sequence[Entry], int]:
        """Check records as the broker does before it appends them.

        Args:
            tp: where they are to go.
            entries: the records.
            now: milliseconds since the epoch.

        Returns:
            the records as they are appended, and the timestamp that the broker gave to all of them, or -1
            (``message.timestamp.type``).

        Raises:
            BatchRefusedError: a record is too large, has no key although the topic is compacted, or comes from the future.
        """
        config = self.info.config
        limit, compacted = int(config["max.message.bytes"]), "compact" in config["cleanup.policy"]
        for entry in entries:
            if (size := BATCH_OVERHEAD + record_size(entry)) > limit:
                raise BatchRefusedError(
                    f"a record of {size} bytes is larger than max.message.bytes={limit} of topic {tp.topic}"
                )
            if compacted and entry.key is None:
                raise BatchRefusedError(f"a record without key was sent to topic {tp.topic}, which is compacted by key")
        if config["message.timestamp.type"] == "LogAppendTime":
            return [entry._replace(timestamp=now) for entry in entries], now
        latest = now + int(config["message.timestamp.after.max.ms"])
        for entry in entries:
            if entry.timestamp > latest:
                raise BatchRefusedError(
                    f"a record with timestamp {entry.timestamp} is further in the future than "
                    f"message.timestamp.after.max.ms={config['message.timestamp.after.max.ms']} of topic {tp.topic} allows"
                )
        return entries, -1

    def due(self, log: PartitionLog, bound: int) -> bool:
        """Tell whether a log has taken so many records since it was cleaned, at least ``bound``, that it is cleaned by itself."""
        return log.dirty >= bound and log.dirty >= float(self.info.config["min.cleanable.dirty.ratio"]) * len(log)

    def clean(self, log: PartitionLog, now: int) -> None:
        """Do with one log what ``cleanup.policy`` says. ``now`` is in milliseconds since the epoch."""
        config = self.info.config
        log.dirty = 0
        if "delete" in config["cleanup.policy"]:
            if (retention := int(config["retention.ms"])) >= 0:
                log.retain_since(now - retention)
            if (size := int(config["retention.bytes"])) >= 0:
                log.retain_bytes(size)
        if "compact" in config["cleanup.policy"]:
            lag, tombstones = int(config["min.compaction.lag.ms"]), int(config["delete.retention.ms"])
            log.compact(now - lag, now, tombstones)


def _check(topic: str, config: Mapping[str, str]) -> None:
    """Raise TransportError for a configuration that Kafka would not take."""
    for name, value in config.items():
        if name not in _DEFAULTS and not _WITHOUT_EFFECT.fullmatch(name):
            raise TransportError(f"topic {topic} is refused: there is no topic configuration {name!r}")
        if name in _CHOICES:
            if value.replace(" ", "") not in _CHOICES[name]:
                known = ", ".join(sorted(_CHOICES[name]))
                raise TransportError(f"topic {topic} is refused: {name} is one of {known}, not {value!r}")
        elif name in _DEFAULTS and not _is_number(value):
            raise TransportError(f"topic {topic} is refused: {name} must be a number, not {value!r}")


def _is_number(text: str) -> bool:
    """Tell whether Kafka would read a number."""
    return re.fullmatch(r"-?\d+(\.\d+)?", text) is not None
