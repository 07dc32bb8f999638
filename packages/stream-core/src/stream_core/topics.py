"""A typed topic: a name, a schema, how to declare it, and ``send``."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Generic, TypeVar

from stream_core.errors import ConfigurationError, DecodeError
from stream_core.outbox import Outbox
from stream_core.policies import FailurePolicy
from stream_core.records import TP, Headers, RawRecord, RecordMetadata
from stream_core.schemas import Failure, Schema
from stream_core.sessions import Decoded

__all__ = ["Topic"]

K = TypeVar("K")
V = TypeVar("V")

logger = logging.getLogger(__name__)

HeadersArg = Mapping[str, bytes] | Headers


class Topic(Generic[K, V]):
    """A topic description; a thin handle that the running engine binds to its producers.

    Args:
        name: topic name: letters, digits, ``.``, ``_`` and ``-``, at most 249 characters.
        schema: how keys and values are encoded and decoded.
        partitions: partitions to create it with; ``None`` takes the setting ``topic_partitions``, else the count of the source.
        replicas: replication factor to create it with; ``None`` takes the setting ``topic_replication_factor``.
        retention: how long records are kept, in seconds or as a timedelta; ``None`` leaves the broker's default.
        compacting: keep only the latest record of each key.
        config: more topic configuration, in Kafka's names.
        on_decode_error: what a record does that cannot be decoded, ``"crash"`` or ``"skip"``.

    Raises:
        ConfigurationError: the name is not a topic name, or the policy is unknown.
    """

    def __init__(
        self,
        name: str,
        *,
        schema: Schema,
        partitions: int | None = None,
        replicas: int | None = None,
        retention: float | timedelta | None = None,
        compacting: bool = False,
        config: Mapping[str, str] | None = None,
        on_decode_error: str | FailurePolicy = FailurePolicy.CRASH,
    ) -> None:
        allowed = name.replace(".", "").replace("_", "").replace("-", "")
        if (
            not name
            or len(name) > 249
            or not (allowed.isascii() and (allowed.isalnum() or not allowed))
            or name in {".", ".."}
        ):
            raise ConfigurationError(
                f"{name!r} is no topic name: use at most 249 letters, digits, dots, underscores and dashes"
            )
        if partitions is not None and partitions < 1:
            raise ConfigurationError(
                f"topic {name}: partitions={partitions} is not at least 1; leave it out for the default"
            )
        self.name = name
        self.schema = schema
        self.partitions = partitions
        self.replicas = replicas
        self.on_decode_error = FailurePolicy.of(on_decode_error, f"topic {name}")
        self.config = dict(config or {})
        if compacting:
            self.config.setdefault("cleanup.policy", "compact")
        if retention is not None:
            seconds = retention.total_seconds() if isinstance(retention, timedelta) else retention
            self.config.setdefault("retention.ms", str(int(seconds * 1000)))
        self._outbox: Outbox | None = None

    def bind(self, outbox: Outbox | None) -> None:
        """Send through this outbox; the engine calls it at start, and with ``None`` at stop."""
        self._outbox = outbox

    async def send(
        self,
        value: V | Any = None,
        *,
        key: K | Any = None,
        partition: int | None = None,
        timestamp: float | None = None,
        headers: HeadersArg | None = None,
    ) -> Awaitable[RecordMetadata]:
        """Send a record.

        Args:
            value: the value; ``None`` is a tombstone on a compacted topic.
            key: the key; it chooses the partition unless ``partition`` is given.
            partition: the partition to send to.
            timestamp: seconds since the epoch; ``None`` for now.
            headers: names and bytes, as a mapping or a list of pairs.

        Returns:
            what can be awaited for the RecordMetadata. Awaiting is not needed for safety: no checkpoint passes an event whose
            sends are not acknowledged.

        Raises:
            EncodeError: key or value do not fit the schema, or the record is too large.
            ProduceError: the app is not started, or the producer is broken.
        """
        if self._outbox is None:
            raise ConfigurationError(
                f"cannot send to topic {self.name}: the app is not started; run a worker, or await app.start() first"
            )
        schema = self.schema
        pairs: Headers = () if headers is None else list(headers.items()) if isinstance(headers, Mapping) else headers
        millis = None if timestamp is None else int(timestamp * 1000)
        return await self._outbox.send(
            self.name, partition, schema.encode_key(key), schema.encode_value(value), millis, pairs
        )

    def decode(self, tp: TP, records: Sequence[RawRecord]) -> Decoded:
        """Decode the values of some records by the schema and the decode policy."""
        values, failed = self.schema.decode_values(records)
        if not failed:
            return Decoded(records, values)
        if self.on_decode_error is FailurePolicy.SKIP:
            return self._skip(tp, records, values)
        at = next(index for index, value in enumerate(values) if type(value) is Failure)
        cause = values[at].error
        error = DecodeError(f"cannot decode the value: {cause}", tp, records[at].offset)
        error.__cause__ = cause
        return Decoded(records[:at], values[:at], error)

    def _skip(self, tp: TP, records: Sequence[RawRecord], values: list[Any]) -> Decoded:
        good = [(record, value) for record, value in zip(records, values, strict=True) if type(value) is not Failure]
        for record, value in zip(records, values, strict=True):
            if type(value) is Failure:
                logger.error("skipped %s offset %d: cannot decode the value: %s", tp, record.offset, value.error)
        return Decoded([record for record, _ in good], [value for _, value in good])

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"<Topic {self.name}>"
