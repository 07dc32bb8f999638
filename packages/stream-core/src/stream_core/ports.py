"""The seams in front of I/O: the only places where the engine meets a broker or a disk.

Each port has a real and an in-memory implementation, and one contract suite that both must pass
(:mod:`stream_core.testing.contracts`). All methods are called from the event loop of the engine. Every method that
waits for a broker has a deadline of its own (the request timeout of its settings) and raises
:class:`~stream_core.errors.DeadlineError` when it passes; nothing here waits without bound.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from stream_core.counters import TopicTraffic
from stream_core.errors import TransportError
from stream_core.primitives import (
    TP,
    Batch,
    GroupMetadata,
    Headers,
    Host,
    Offset,
    Owners,
    RecordMetadata,
    TopicInfo,
    TopicSpec,
)

__all__ = [
    "NOBODY",
    "Admin",
    "Consumer",
    "Delivery",
    "Groups",
    "KeyRange",
    "Producer",
    "Reader",
    "RebalanceListener",
    "RegisteredSchema",
    "SchemaReference",
    "SchemaRegistry",
    "SchemaText",
    "Store",
    "StoreSize",
    "Stores",
    "Transport",
]


NOBODY = Host()
"""A member that tells the others nothing of itself."""


@dataclass(frozen=True, slots=True)
class RebalanceListener:
    """What a consumer calls when the group moves partitions.

    Attributes:
        assigned: called once per generation with all partitions now owned, and the group metadata of that generation.
            Synchronous, because no heartbeat is sent while it runs. When it is called every partition is paused and has
            no position: the listener's owner seeks and resumes each one later. ``poll`` never returns a batch of an
            older generation after it.
        revoked: called before partitions are given up, with all of them and ``lost``; awaited, with heartbeats running.
            ``lost`` is true when the membership is gone already, so that nothing can be committed.
    """

    assigned: Callable[[frozenset[TP], GroupMetadata], None]
    revoked: Callable[[frozenset[TP], bool], Awaitable[None]]


class Reader(Protocol):
    """Reads partitions that it is told to read, without a group: changelogs, standbys, inspection."""

    async def start(self) -> None:
        """Connect. Raises BrokerUnavailableError."""

    async def stop(self) -> None:
        """Close connections; within a deadline, never raises."""

    async def assign(self, positions: Mapping[TP, int], ends: Mapping[TP, int] | None = None) -> None:
        """Read exactly these partitions from these offsets; the assignment before is replaced whole.

        Args:
            positions: the partitions, and where to begin.
            ends: offsets before which everything is in the log already: who asks for these partitions wants no more of them. What lies
                behind an end may come along, and is not waited for, so that the next assignment does not wait either.
        """

    async def poll(self, timeout: float) -> Sequence[Batch]:
        """Return everything that has arrived, at most one batch a partition; waits up to ``timeout`` seconds for the first.

        An offset that the log does not hold raises OffsetOutOfRangeError (naming it) on each poll, until that
        partition is sought or no longer assigned; batches of other partitions are delivered first.

        A partition that cannot be read raises TransportError, which names it, when nothing else has come.
        """

    def seek(self, tp: TP, offset: int) -> None:
        """Read ``tp`` from ``offset`` next."""

    async def start_offsets(self, tps: Collection[TP]) -> dict[TP, int]:
        """Return the earliest offset that each partition holds."""

    async def end_offsets(self, tps: Collection[TP], *, committed: bool = False) -> dict[TP, int]:
        """Return the offset behind the last record; with ``committed`` the last stable one: open transactions are past it."""

    async def offsets_since(self, tps: Collection[TP], timestamp: int) -> dict[TP, int | None]:
        """Find where each partition has its first record of a time or later (KIP-79).

        The records before that offset are all older. Those behind it may be older too, where senders set the time. What stands at the
        offset may belong to a transaction that is open or was aborted, or be the mark of its end, which readers pass over.

        Args:
            tps: the partitions.
            timestamp: milliseconds since the epoch; one before the epoch is as 0.

        Returns:
            the offsets, ``None`` for a partition whose records are all older.

        Raises:
            UnknownTopicError: a topic does not exist.
        """


class Consumer(Protocol):
    """A member of a consumer group: batches in, fenced offset commits out."""

    async def start(self) -> None:
        """Connect. Raises BrokerUnavailableError."""

    async def stop(self) -> None:
        """Leave the group and close; within a deadline, never raises. Does not call ``revoked``."""

    def subscribe(self, topics: Collection[str], listener: RebalanceListener, host: Host = NOBODY) -> None:
        """Join the group for these topics, or change the subscription (which costs a rebalance).

        Args:
            topics: what to read.
            listener: called when the group moves partitions.
            host: what the other members are told of this one, from the next generation on: they find it in :meth:`owners`.
        """

    def owners(self) -> Owners:
        """Tell who owns each partition of the group.

        It is what the last assignment said, kept in memory: the answer comes at once and asks no broker. It may be called at any time,
        from any thread, before the start and after the stop, too.
        """

    async def poll(self, timeout: float) -> Sequence[Batch]:
        """Return everything that has arrived for partitions not paused, at most one batch a partition.

        Waits up to ``timeout`` seconds for the first batch, also while a rebalance runs, and returns nothing then.
        Raises OffsetOutOfRangeError as :meth:`Reader.poll` does, and TransportError when the client is broken. A partition that
        cannot be read stands still while the others go on, and is in :attr:`unreadable`.
        """

    @property
    def unreadable(self) -> Mapping[TP, TransportError]:
        """The partitions that stand still because they cannot be read, each with the reason; they are tried again and again."""

    def seek(self, tp: TP, offset: int) -> None:
        """Read ``tp`` from ``offset`` next. Partitions not owned are ignored."""

    def pause(self, tps: Collection[TP]) -> None:
        """Deliver nothing of these partitions until resumed; what is buffered of them is fetched again."""

    def resume(self, tps: Collection[TP]) -> None:
        """Deliver these partitions again from where they were paused or sought. Partitions not owned are ignored."""

    def rejoin(self) -> None:
        """Ask for a new generation of the group: ``revoked`` and ``assigned`` follow, as at any rebalance.

        A commit whose outcome is unknown may still be on its way. Once the next generation is there, the broker refuses it.
        Before :meth:`subscribe` this does nothing.
        """

    async def committed(self, tps: Collection[TP]) -> dict[TP, Offset | None]:
        """Return the group's committed offsets, stable ones only: waits while a transaction that commits one is undecided (KIP-447)."""

    async def commit(self, offsets: Mapping[TP, Offset], group: GroupMetadata) -> None:
        """Commit, fenced by ``group``: raises FencedError when that generation or member is not current any more."""

    async def start_offsets(self, tps: Collection[TP]) -> dict[TP, int]:
        """Return the earliest offset that each partition holds."""

    async def end_offsets(self, tps: Collection[TP], *, committed: bool = False) -> dict[TP, int]:
        """Return the ends of partitions, as :meth:`Reader.end_offsets`."""

    def lease(self) -> float:
        """Return for how many seconds this member may still believe in its partitions; zero or less: it must do nothing more.

        It is the session timeout less the time since the last heartbeat that the broker answered, on a clock that runs on while the
        process is stopped.

        It may be asked from any thread, as :attr:`unreadable` may.
        """

    def check(self) -> None:
        """Raise TransportError when a background task of the client has died; called every second by the supervisor."""


class Delivery(Protocol):
    """A record on its way: await it for its place, as often as one likes."""

    def __await__(self) -> Generator[object, None, RecordMetadata]:
        """Wait for the acknowledgement, without linger; raises ProduceError or FencedError when there will be none."""

    def acknowledged(self) -> bool | None:
        """Tell whether the record is acknowledged; ``None`` while that is not decided. Awaiting a decided one does not suspend."""


class Producer(Protocol):
    """Sends records, in order per partition, one builder per partition and one acknowledgement per batch.

    Made with a transactional id it is a transactional producer: every ``send`` must be between ``begin`` and
    ``commit`` or ``abort``. After any failure the producer is of no more use: ``abort`` it, ``stop`` it, make a new one.
    """

    @property
    def max_record_size(self) -> int:
        """Bytes of the largest record that :meth:`send` takes."""

    async def start(self) -> None:
        """Connect and get a producer id; with a transactional id this ends the open transaction of a predecessor and fences it."""

    async def stop(self) -> None:
        """Close, at once and within a deadline; what is not acknowledged may be lost. Never raises."""

    async def partitions(self, topic: str) -> int:
        """Return the number of partitions of ``topic``; it must be awaited once before ``send`` to it. Raises UnknownTopicError."""

    def count(self, topic: str) -> int:
        """Return the number of partitions that ``send`` chooses from; 0 before :meth:`partitions` was awaited.

        It follows the cluster: partitions that are added are sent to once the client has heard of them, and a topic that was made
        again has those that it has now.
        """

    def send(
        self,
        topic: str,
        partition: int | None,
        key: bytes | None,
        value: bytes | None,
        timestamp: int | None = None,
        headers: Headers = (),
    ) -> Delivery:
        """Append one record to its partition's builder; never waits.

        Args:
            topic: topic name; its partitions must be known (:meth:`partitions`).
            partition: the partition, or ``None``: by the key as the Java client does (murmur2), without key any.
            key: key bytes.
            value: value bytes; ``None`` is a tombstone.
            timestamp: milliseconds since the epoch, or ``None`` for now.
            headers: header names and values.

        Returns:
            what can be awaited for the RecordMetadata: awaiting flushes without linger, and raises ProduceError when the record
            was not acknowledged. It may be dropped without being awaited.

        Raises:
            EncodeError: the record is larger than the largest request.
            ProduceError: the producer is broken.
        """

    def send_many(
        self, topic: str, partition: int, records: Sequence[tuple[bytes | None, bytes | None]], headers: Headers = ()
    ) -> tuple[Delivery | None, int]:
        """Append records to the builder of one partition, as :meth:`send` does one by one; never waits.

        It ends at a record that :meth:`send` refuses with an EncodeError, without one: that says what is wrong with it, and whoever sends
        knows which it is.

        Args:
            topic: topic name; its partitions must be known.
            partition: the partition.
            records: key and value of each of them.
            headers: header names and values, which all of them have.

        Returns:
            the delivery of the last record that was appended, or ``None``; and how many were: less than all when the producer is
            :attr:`crowded`, or when the next one is refused.

        Raises:
            ProduceError: the producer is broken.
        """

    @property
    def backlog(self) -> int:
        """Bytes accepted and not acknowledged yet."""

    @property
    def crowded(self) -> bool:
        """Whether :meth:`room` would wait: asked for each record that is sent."""

    @property
    def transaction_age(self) -> float:
        """Seconds for which the broker may have had the transaction open; 0.0 while nothing of it was sent, and without one.

        The broker aborts it when this passes the transaction timeout. The time begins with the first record or offset that is
        to be sent, and runs on while the process is stopped.
        """

    async def room(self) -> None:
        """Wait until the backlog is below the byte bound of the producer."""

    async def flush(self) -> None:
        """Wait until every record accepted before this call is acknowledged.

        Raises ProduceError when any record since ``start`` was not.
        """

    async def begin(self) -> None:
        """Begin a transaction."""

    async def commit(self, offsets: Mapping[TP, Offset], group: GroupMetadata | None) -> None:
        """Commit the offsets (fenced by ``group``) and the transaction.

        Raises:
            FencedError: a newer member or producer took over: nothing was committed.
            TransactionExpiredError: the transaction was open for longer than its timeout: nothing was committed.
            TransportError: anything else; whether it was committed is undecided.
        """

    async def abort(self) -> None:
        """Abort the transaction; within a deadline. Raises TransportError when that is undecided."""

    def check(self) -> None:
        """Raise TransportError when a background task of the client has died; called every second by the supervisor."""


class Admin(Protocol):
    """Declares and describes topics, and takes a dead member out of a group."""

    async def start(self) -> None:
        """Connect. Raises BrokerUnavailableError."""

    async def stop(self) -> None:
        """Close; within a deadline, never raises."""

    async def describe(self, topics: Collection[str], *, config: bool = True) -> dict[str, TopicInfo]:
        """Describe those of ``topics`` that exist, as the brokers know them now: partition counts, ids, and configuration.

        Without ``config`` it is one request less. It never creates a topic.
        """

    async def cluster_id(self) -> str:
        """Return the id of the cluster, which no other cluster has; empty where it has none."""

    async def topics(self) -> set[str]:
        """Return the names of all topics but those that the brokers keep for themselves."""

    async def sizes(self, tps: Collection[TP]) -> dict[TP, int]:
        """Tell how many bytes each partition takes in the log of its leader, as its records lie there: compressed, and without copies.

        Partitions of which the broker does not tell are left out. Kafka tells nobody who may not describe the cluster (KIP-113).
        Raises UnknownTopicError.
        """

    async def create(self, specs: Sequence[TopicSpec]) -> None:
        """Create topics; those that exist already are left as they are. Returns when all of them have leaders."""

    async def delete(self, topics: Collection[str]) -> None:
        """Delete topics; those that do not exist are ignored."""

    async def remove_member(self, group: str, member: str) -> None:
        """Take a member that is known to be dead out of its group, so that nobody waits for its session; unknown ones are ignored."""


class Groups(Protocol):
    """Looks at consumer groups from outside, and changes the offsets of one that nobody is in: for whoever operates an app."""

    async def start(self) -> None:
        """Connect. Raises BrokerUnavailableError."""

    async def stop(self) -> None:
        """Close; within a deadline, never raises."""

    async def members(self, group: str) -> Collection[str]:
        """Return the ids of the members of ``group``; none for a group that does not exist."""

    async def offsets(self, group: str) -> dict[TP, Offset]:
        """Return all committed offsets of ``group``, stable ones only, as :meth:`Consumer.committed` does; none for an unknown group."""

    async def change(self, group: str, offsets: Mapping[TP, Offset]) -> None:
        """Commit offsets for a group that has no members; a group that does not exist begins with them.

        A request whose answer was lost is made again. So after an error :meth:`offsets` tells what is committed, except after a
        DeadlineError: then it may still happen.

        Raises:
            FencedError: it has members, whose commits would come on top.
            CommitError: the metadata text of an offset is too long; those of other partitions were committed.
            UnknownTopicError: a partition does not exist; the offsets of others were committed.
            DeadlineError: there was no answer in time.
        """


class Transport(Protocol):
    """A driver: makes the clients of one cluster. Named by the scheme of the broker URL."""

    def consumer(self, group: str, *, read_committed: bool) -> Consumer:
        """Make a member of ``group``."""

    def reader(self, *, read_committed: bool) -> Reader:
        """Make a reader without a group."""

    def producer(
        self,
        *,
        transactional_id: str | None = None,
        fence: Callable[[], bool] | None = None,
        sent: TopicTraffic | None = None,
    ) -> Producer:
        """Make a producer.

        Args:
            transactional_id: makes it a transactional one.
            fence: asked before each request, which is refused when it returns true (the lease of the group is over).
            sent: counts each batch of a topic when it is acknowledged, or when it is certain that it will not be.
        """

    def admin(self) -> Admin:
        """Make an admin client."""

    def groups(self) -> Groups:
        """Make a client that looks at groups from outside."""


KeyRange = tuple[bytes, bytes | None]
"""All keys from the first one up to, and without, the second one, in the order of bytes; ``None`` is behind all keys. A range whose
end does not come behind its beginning has no keys."""


class StoreSize(NamedTuple):
    """How large a store is, about.

    Attributes:
        keys: how many keys it has. It is exact while each key is written once; a driver may count a key that was changed or deleted
            lately more than once, or not at all.
        bytes: what its keys and values take, on disk and in memory.
    """

    keys: int
    bytes: int


class Store(Protocol):
    """The durable values of one table partition, with a few named facts beside them (never in the same key space)."""

    def get(self, key: bytes) -> bytes | None:
        """Read the value of ``key``; ``None`` when there is none."""

    def range(self, begin: bytes = b"", end: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        """Iterate over the keys of a range and their values, in the order of bytes, as they were when the call was made.

        Values are read as the iterator comes to them, so that a large range takes no memory. An iterator that is left half way needs
        no closing; one whose store is closed or wiped raises StoreError at its next step.

        Args:
            begin: the first key.
            end: the key before which the range ends; ``None`` for no end.
        """

    def write(
        self,
        changes: Mapping[bytes, bytes | None],
        facts: Mapping[str, bytes] | None = None,
        *,
        deleted: Collection[KeyRange] = (),
    ) -> None:
        """Delete ranges, then apply changes and facts: all as one atomic batch that survives ``kill -9``.

        Args:
            changes: value by key; ``None`` deletes. A key that lies in a deleted range has the value given here.
            facts: named facts, such as the changelog position; no range has them.
            deleted: ranges of keys to delete.
        """

    def fact(self, name: str) -> bytes | None:
        """Read a named fact, such as the changelog position; ``None`` when there is none."""

    def size(self) -> StoreSize:
        """Tell about how large it is, from what is in memory: this is asked whenever somebody looks at a worker."""

    def wipe(self) -> None:
        """Remove all values and facts."""

    def close(self) -> None:
        """Give up the store and its lock; calling it again does nothing."""


class Stores(Protocol):
    """A store driver: opens the stores of a worker. Named by the scheme of the store URL."""

    def open(self, table: str, partition: int) -> Store:
        """Open a table partition; raises StoreLockedError, and StoreCorruptError when it cannot be opened at all."""

    def destroy(self, table: str, partition: int) -> None:
        """Remove the files of a table partition that is not open."""

    def close(self) -> None:
        """Close every store that is open and free the resources shared by them."""


class SchemaReference(NamedTuple):
    """A schema that another one refers to.

    Attributes:
        name: how it is named there: a full name in Avro, a file in Protobuf, a URL in JSON Schema.
        subject: its subject.
        version: its version under that subject.
    """

    name: str
    subject: str
    version: int


class SchemaText(NamedTuple):
    """A schema as a registry keeps it.

    Attributes:
        kind: ``AVRO``, ``JSON`` or ``PROTOBUF``.
        text: the schema itself.
        references: the schemas that it refers to.
    """

    kind: str
    text: str
    references: tuple[SchemaReference, ...] = ()


class RegisteredSchema(NamedTuple):
    """A version of a subject.

    Attributes:
        id: what values carry that are written with the schema; no other schema ever has it.
        version: counts from 1, within the subject.
        schema: the schema.
    """

    id: int
    version: int
    schema: SchemaText


class SchemaRegistry(Protocol):
    """Keeps the schemas that values are written with. Named by the scheme of its URL.

    Each method raises RegistryUnavailableError when no answer comes within its deadline, AuthenticationError when the credentials are
    refused, and RegistryError for an answer that no registry gives. Whatever raises may be called again, also when it has taken effect.
    """

    async def schema(self, id_: int) -> SchemaText:
        """Return the schema of that id. Raises UnknownSchemaError."""

    async def register(self, subject: str, schema: SchemaText) -> int:
        """Add a schema to a subject as its latest version, unless it has it, and return the id of the schema.

        Raises:
            SchemaRefusedError: it is no schema, or does not fit the versions before it, as the compatibility of the subject asks.
        """

    async def find(self, subject: str, schema: SchemaText) -> int:
        """Return the id of a schema that a subject has. Raises UnknownSchemaError."""

    async def version(self, subject: str, version: int | None) -> RegisteredSchema:
        """Return a version of a subject; ``None`` for the latest. Raises UnknownSchemaError."""
