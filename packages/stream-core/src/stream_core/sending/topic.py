"""A typed topic: a name, a schema, how to declare it, and ``send``."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import cached_property
from typing import Any, Generic, TypedDict, TypeVar, Unpack

from stream_core.errors import ConfigurationError, EncodeError, SchemaRefusedError
from stream_core.policies import FailurePolicy
from stream_core.primitives import TP, Headers, HeadersArg, RawRecord, RecordMetadata, header_pairs
from stream_core.runs import PerRun, Run
from stream_core.sending.arguments import checked_headers, millis_of
from stream_core.sending.callbacks import call_when_sent
from stream_core.sending.outbox import Outbox
from stream_core.sending.threads import Sent
from stream_core.streams.decoded import Decoded
from stream_core.streams.targets import SendCallback
from stream_core.values.codecs import CodecArg
from stream_core.values.encoding import Encode, Verbatim
from stream_core.values.registered import Schemas
from stream_core.values.schemas import Schema

__all__ = ["AnyTopic", "DerivedOptions", "Topic", "is_topic_name"]

K = TypeVar("K")
V = TypeVar("V")

_NAME = re.compile(r"[A-Za-z0-9._-]{1,249}")


def is_topic_name(name: str) -> bool:
    """Tell whether a broker takes this as the name of a topic."""
    return _NAME.fullmatch(name) is not None and name not in {".", ".."}


TYPES = ("key_type", "value_type", "key_serializer", "value_serializer")

KEPT = ("partitions", "replicas", "internal", "maxsize", "on_decode_error", "on_produce_error", "acks")
"""What a topic that is derived from another one has of it, beside its schema and configuration."""

SCHEMAS = 64
"""Ways of encoding single records that a topic remembers."""


class DerivedOptions(TypedDict, total=False):
    """In what a topic differs from the one that it is derived from; ``None`` is no difference.

    Attributes:
        schema: types and serializers as one object.
        key_type: type of the keys.
        value_type: type of the values.
        key_serializer: codec of the keys, by name.
        value_serializer: codec of the values, by name.
        partitions: partitions to create it with.
        replicas: replication factor to create it with.
        retention: how long records are kept, in seconds or as a timedelta.
        compacting: keep only the latest record of each key.
        deleting: delete what is older than ``retention``.
        config: more topic configuration, in Kafka's names; what the other one has of it stays.
        internal: whether it belongs to the app alone.
        maxsize: records of one partition that may wait for an agent.
        on_decode_error: the failure policy for records that cannot be decoded.
        on_produce_error: the failure policy for events that sent it what does not fit.
        acks: whether streams finish its events by themselves.
    """

    schema: Schema | None
    key_type: Any
    value_type: Any
    key_serializer: CodecArg
    value_serializer: CodecArg
    partitions: int | None
    replicas: int | None
    retention: float | timedelta | None
    compacting: bool | None
    deleting: bool | None
    config: Mapping[str, str] | None
    internal: bool | None
    maxsize: int | None
    on_decode_error: str | FailurePolicy | None
    on_produce_error: str | FailurePolicy | None
    acks: bool | None


class Topic(Generic[K, V]):
    """A topic description, and the handle that sends through the engine that runs; see :mod:`stream_core.runs`.

    Args:
        name: topic name: letters, digits, ``.``, ``_`` and ``-``, at most 249 characters.
        schema: how keys and values are encoded and decoded.
        partitions: partitions to create it with; ``None`` takes the setting ``topic_partitions``, else 8 where the app reads it, and as
            many as the largest topic that it reads for others.
        replicas: replication factor to create it with; ``None`` takes the setting ``topic_replication_factor``.
        retention: how long records are kept, in seconds or as a timedelta; ``None`` leaves the broker's default.
        compacting: keep only the latest record of each key.
        deleting: delete what is older than ``retention``, which is what brokers do unless the topic is compacting.
        config: more topic configuration, in Kafka's names.
        internal: whether it belongs to the app alone; the app creates any topic that does not exist, so this only tells readers.
        maxsize: records of one partition that may wait for an agent before the partition is paused; ``None`` for the setting
            ``stream_buffer_maxsize``.
        on_decode_error: the failure policy for records of it whose key or value cannot be decoded.
        on_produce_error: the failure policy for events that sent it a record which does not fit: not encodable, too large, refused by the
            broker; ``None`` for that of their agent.
        acks: whether streams finish its events by themselves; else each is finished by its ``ack()``.

    Attributes:
        describe: describes a topic of the same app; the app sets it.
        registry: gives what codecs ask that need a schema registry; the app sets it.
        by_name: nobody has described it but by a send to its name: it is made when the first record is sent to it, and not at the start.

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
        compacting: bool | None = None,
        deleting: bool | None = None,
        config: Mapping[str, str] | None = None,
        internal: bool = False,
        maxsize: int | None = None,
        on_decode_error: str | FailurePolicy = FailurePolicy.CRASH,
        on_produce_error: str | FailurePolicy | None = None,
        acks: bool = True,
    ) -> None:
        if not is_topic_name(name):
            raise ConfigurationError(
                f"{name!r} is no topic name: use at most 249 letters, digits, dots, underscores and dashes"
            )
        for option, number in (("partitions", partitions), ("replicas", replicas), ("maxsize", maxsize)):
            if number is not None and number < 1:
                raise ConfigurationError(
                    f"topic {name}: {option}={number} is not at least 1; leave it out for the default"
                )
        self.name = name
        self.schema = schema
        self.partitions = partitions
        self.replicas = replicas
        self.acks = acks
        self.internal = internal
        self.maxsize = maxsize
        where = f"topic {name}"
        self.on_decode_error = FailurePolicy.of(on_decode_error, where)
        self.on_produce_error = None if on_produce_error is None else FailurePolicy.of(on_produce_error, where)
        self.config = dict(config or {})
        if compacting or deleting:
            policies = [word for word, wanted in (("compact", compacting), ("delete", deleting)) if wanted]
            self.config.setdefault("cleanup.policy", ",".join(policies))
        if retention is not None:
            seconds = retention.total_seconds() if isinstance(retention, timedelta) else retention
            self.config.setdefault("retention.ms", str(int(seconds * 1000)))
        self.describe: Callable[..., Topic[Any, Any]] | None = None
        self.registry: Callable[[], Schemas | None] = _no_registry
        self.by_name = False
        self.unwrap: Callable[[Sequence[RawRecord]], Sequence[RawRecord]] | None = None
        self._outboxes = PerRun[Outbox]()
        self._schemas: dict[tuple[Schema | None, CodecArg, CodecArg], Schema] = {}
        self._key_encoders: Mapping[type, Encode] = {}
        self._value_encoders: Mapping[type, Encode] = {}

    @property
    def parts(self) -> Sequence[Topic[K, V]]:
        """The topics that are read when this one is.

        :meta private:
        """
        return (self,)

    def bind(self, run: Run, outbox: Outbox) -> None:
        """Send through this outbox in the engine of ``run``, until that ends.

        :meta private:
        """
        self._outboxes.bind(run, outbox)
        self._key_encoders, self._value_encoders = self.wire.encoders

    @cached_property
    def wire(self) -> Schema:
        """The schema as records of this topic are encoded and decoded: where that needs a schema registry, it is found now.

        Raises:
            ConfigurationError: there is no schema registry, or no schema can be made of a type.

        :meta private:
        """
        return self.schema.on_topic(self.name, self.registry)

    async def send(
        self,
        value: V | Any = None,
        *,
        key: K | Any = None,
        partition: int | None = None,
        timestamp: float | None = None,
        headers: HeadersArg | None = None,
        schema: Schema | None = None,
        key_serializer: CodecArg = None,
        value_serializer: CodecArg = None,
        callback: SendCallback | None = None,
        force: bool = False,
        aside: bool = False,
    ) -> Awaitable[RecordMetadata]:
        """Send a record.

        Args:
            value: the value; ``None`` is a tombstone on a compacted topic.
            key: the key; it chooses the partition unless ``partition`` is given.
            partition: the partition to send to.
            timestamp: seconds since the epoch; ``None`` for now.
            headers: names and bytes, as a mapping or a list of pairs.
            schema: encodes this record, in place of the schema of the topic.
            key_serializer: codec of this key, by name, in place of that of the topic.
            value_serializer: codec of this value likewise.
            callback: called once it is decided what becomes of the record, with a future that is done: its ``result()`` is the
                RecordMetadata, or raises why the record was not sent, also where its event failed. Sync or async; it runs outside of
                events, in the event loop of the caller, and what it raises is logged. It costs a task for each record.
            force: the same as ``aside``, by Faust's name.
            aside: not as an effect of the event that is open: it goes at once, and stays when the event fails.

        Returns:
            what can be awaited for the RecordMetadata. Awaiting is not needed for safety: no checkpoint passes an event whose
            sends are not acknowledged.

        Raises:
            EncodeError: key or value do not fit the schema, the record is too large, there is no such partition, or headers, partition
                or timestamp are of a type that no record takes.
            UnknownTopicError: there is no such topic.
            ConfigurationError: the app is not started, or several engines run it and this task belongs to none of them; or there is no
                such codec.
            ProduceError: in an event, the producer is broken: the event comes again. Outside of events it waits for another one.
        """
        outbox = self._outboxes.only or await self._outboxes.reach(f"cannot send to topic {self.name}")
        pairs: Headers = () if headers is None else header_pairs(headers)
        millis = None if timestamp is None else millis_of(timestamp, self.name)
        if partition is not None and type(partition) is not int:
            raise EncodeError(f"topic {self.name}: partition={partition!r} is no number of a partition", self.name)
        if schema is None and key_serializer is None and value_serializer is None:
            try:
                raw_key, raw_value = self._key_encoders[type(key)](key), self._value_encoders[type(value)](value)
            except Exception:  # a hook of the schema encodes; or it does not fit, and the error is to say what
                await self.ready_to_write(self.wire, key, value)
                raw_key, raw_value, pairs = self._encode(self.wire, key, value, pairs)
        else:
            own = self.schema_for(schema, key_serializer, value_serializer)
            await self.ready_to_write(own, key, value)
            raw_key, raw_value, pairs = self._encode(own, key, value, pairs)
        if outbox.on_produce is not None:
            pairs = list(pairs)
            outbox.on_produce(raw_key, raw_value, partition, timestamp, pairs)
        if (watch := outbox.watch) is not None:
            pairs = watch.headers(self.name, pairs)
        if pairs:
            pairs = checked_headers(pairs, self.name)
        sent: Awaitable[RecordMetadata] | None = None
        if watch is None and not (aside or force):
            sent = outbox.put(self.name, partition, raw_key, raw_value, millis, pairs)
        if sent is None:
            record = (self.name, partition, raw_key, raw_value, millis, pairs)
            sending = outbox.send(record, aside=aside or force)
            sent = await (sending if watch is None else watch.sends(record, sending))
        if callback is not None:
            call_when_sent(outbox.settled(sent), callback, self.name)
        return sent

    def send_soon(
        self,
        value: V | Any = None,
        *,
        key: K | Any = None,
        partition: int | None = None,
        timestamp: float | None = None,
        headers: HeadersArg | None = None,
        schema: Schema | None = None,
        key_serializer: CodecArg = None,
        value_serializer: CodecArg = None,
        callback: SendCallback | None = None,
        force: bool = True,
    ) -> Sent:
        """Send a record without waiting, from any thread; the arguments are those of :meth:`send`.

        It is no effect of the event that is open, whatever ``force`` says, and nothing holds back whoever sends more than the broker
        takes. A ``callback`` is called in the event loop of the app, with every error. One that nobody asks for is logged, once for each
        topic.

        Returns:
            what can be awaited for the RecordMetadata, or, in a thread without an event loop, asked for its ``result(timeout)``.

        Raises:
            ConfigurationError: as :meth:`send`.
        """
        outbox = self._outboxes.only or self._outboxes.find(f"cannot send to topic {self.name}")
        return outbox.send_soon(
            lambda: self.send(
                value,
                key=key,
                partition=partition,
                timestamp=timestamp,
                headers=headers,
                schema=schema,
                key_serializer=key_serializer,
                value_serializer=value_serializer,
                aside=True,
            ),
            self.name,
            callback,
        )

    def _encode(
        self, schema: Schema, key: Any, value: Any, headers: Headers
    ) -> tuple[bytes | None, bytes | None, Headers]:
        try:
            return schema.encode(key, value, headers)
        except EncodeError as error:
            raise EncodeError(f"topic {self.name}: {error}", self.name) from error

    async def ready_to_write(self, schema: Schema, key: Any, value: Any) -> None:
        """Wait until key and value can be encoded by a schema: where they need a schema registry, it is asked once for each class.

        Raises:
            EncodeError: no schema can be made of them, or the registry does not take it.
            RegistryUnavailableError: it does not answer.

        :meta private:
        """
        for codec, one in zip(schema.registered, (key, value), strict=True):
            if codec is not None and type(one) is not Verbatim:
                try:
                    await codec.ready_to_write(one)
                except (EncodeError, SchemaRefusedError) as error:
                    raise EncodeError(f"topic {self.name}: {error}", self.name) from error

    async def ready_to_read(self, records: Sequence[RawRecord], wanted: Callable[[], bool]) -> None:
        """Wait until records can be decoded: where they need a schema registry, it is asked once for each id of a schema.

        Args:
            records: the records.
            wanted: tells whether they are wanted still, while the registry cannot be reached.

        :meta private:
        """
        if self.unwrap is not None:
            records = self.unwrap(records)
        await self.wire.ready_to_read(records, wanted)

    def schema_for(self, schema: Schema | None, key: CodecArg, value: CodecArg) -> Schema:
        """Give the schema of one record that says how it is encoded; ``key`` and ``value`` are codecs.

        :meta private:
        """
        said = schema, key, value
        try:
            found = self._schemas.get(said)
        except TypeError:  # a type in it has no hash
            return self._make_schema(*said)
        if found is None:
            found = self._make_schema(*said)
            if len(self._schemas) >= SCHEMAS:
                self._schemas.clear()
            self._schemas[said] = found
        return found

    def _make_schema(self, schema: Schema | None, key: CodecArg, value: CodecArg) -> Schema:
        own = self.schema
        given = own if schema is None else replace(schema, key_default=own.key_default, value_default=own.value_default)
        made = given  # what a codec encodes is said by the codec: the type is that of the topic, and of its own codec
        if key is not None:
            made = replace(made, key_serializer=key, key_type=None)
        if value is not None:
            made = replace(made, value_serializer=value, value_type=None)
        try:
            made.check()
            made = made.on_topic(self.name, self.registry)
        except ConfigurationError as error:
            raise ConfigurationError(f"topic {self.name}: {error}") from error
        return made

    # -- describing others

    def derive_topic(
        self,
        *,
        topics: Sequence[str] = (),
        prefix: str = "",
        suffix: str = "",
        **options: Unpack[DerivedOptions],
    ) -> Topic[Any, Any]:
        """Describe another topic of the app that is as this one, but for what is said here.

        Args:
            topics: its name, or names; that of this topic when left out.
            prefix: goes in front of each name.
            suffix: goes behind it.
            options: what differs; see :class:`DerivedOptions`.

        Raises:
            ConfigurationError: it has the name of this topic and differs from it, no app has described this topic, or as ``app.topic()``.
        """
        if self.describe is None:
            raise ConfigurationError(
                f"topic {self.name} belongs to no app that could describe another one: use app.topic()"
            )
        names = [topics] if isinstance(topics, str) else [*topics] or [part.name for part in self.parts]
        given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
        schema: Schema | None = given.pop("schema", None)
        types = {name: given.pop(name) for name in TYPES if name in given}
        if schema is None:
            schema = replace(self.schema, **types)
        elif types:
            raise ConfigurationError(
                f"a topic that is derived from {self.name} has either schema=, or {', '.join(types)}"
            )
        config = dict(self.config)
        for replaced, key in (
            ("retention", "retention.ms"),
            ("compacting", "cleanup.policy"),
            ("deleting", "cleanup.policy"),
        ):
            if replaced in given:
                config.pop(key, None)
        said: dict[str, Any] = {name: getattr(self, name) for name in KEPT} | given
        said["config"] = config | dict(given.get("config") or {})
        return self.describe(*(f"{prefix}{name}{suffix}" for name in names), schema=schema, **said)

    def derive(self, **options: Any) -> Topic[Any, Any]:
        """Do as :meth:`derive_topic`."""
        return self.derive_topic(**options)

    def decode(self, tp: TP, records: Sequence[RawRecord]) -> Decoded:
        """Decode the values of some records by the schema.

        :meta private:
        """
        if self.unwrap is not None:
            records = self.unwrap(records)
        return Decoded.of(self.wire, tp, records)

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"<Topic {self.name}>"


AnyTopic = Topic[Any, Any]
"""A topic for code to which the types of its keys and values do not matter."""


def _no_registry() -> None:
    """Give no schema registry: there is none without an app that names one."""
