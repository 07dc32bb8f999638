"""The clients and stores of ``memory://`` with a plan in front: each call is counted, and one of them fails.

They pass everything on. A call that fails does so as the port says: before or behind its effect, at once or at its deadline. What
a client or a disk would be like afterwards holds as well: a producer that failed is of no more use, a member that is fenced
was taken out of its group, a damaged file stays damaged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING, TypeVar

from stream_core.errors import (
    BatchRefusedError,
    DeadlineError,
    EncodeError,
    OffsetOutOfRangeError,
    ProduceError,
    StoreCorruptError,
    StoreError,
    StoreLockedError,
    TransportError,
)
from stream_core.memory.faults import Faults
from stream_core.memory.store import MemoryStores
from stream_core.ports import (
    NOBODY,
    Admin,
    Consumer,
    Delivery,
    KeyRange,
    Producer,
    Reader,
    RebalanceListener,
    Store,
    StoreSize,
)
from stream_core.primitives import TP, Batch, GroupMetadata, Headers, Host, Offset, Owners, TopicInfo, TopicSpec
from stream_core.streams.effects import current_effects
from sweep import faults
from sweep.faults import DONE, ERRORS, Plan

if TYPE_CHECKING:
    from sweep.world import Party

__all__ = ["SweptAdmin", "SweptConsumer", "SweptDeliveries", "SweptDisk", "SweptProducer", "SweptReader"]

T = TypeVar("T")

LATE = 4.5
"""Seconds after which a late answer comes: longer than a worker may take to give its partitions up, and than clients take to close."""

LATER = 2.0
"""Seconds after which a call takes effect that was given up."""

LOCKED = 15.0
"""Seconds for which another process keeps a store: longer than anybody waits for it."""

_serials = count()


class _Client:
    """What all clients have in common: who uses it, and how a call fails.

    Args:
        party: the worker that the client belongs to.
        port: name of the port.
    """

    def __init__(self, party: Party, port: str) -> None:
        self.party = party
        self._port = port
        self._serial = next(_serials)

    def __hash__(self) -> int:
        return self._serial  # sets of clients have the same order in each run

    def __eq__(self, other: object) -> bool:
        return self is other

    def _strike(self, method: str) -> str:
        self.party.calls(f"{self._port}.{method}")
        return self.party.plan.strike(f"{self._port}.{method}", self.party.name)

    async def _ask(self, method: str, call: Callable[[], Awaitable[T]]) -> T:
        """Make a call that waits for a broker, or let it fail."""
        return await self._answer(self._strike(method), method, call)

    async def _answer(self, way: str, method: str, call: Callable[[], Awaitable[T]]) -> T:
        if not way:
            return await call()
        timeout = self.party.timeout
        if way == "late":
            await asyncio.sleep(LATE)
            return await call()
        kind = way.removesuffix(DONE).removesuffix(faults.LATER)
        if way.endswith(DONE):
            await call()
        elif way.endswith(faults.LATER):
            self.party.later(LATER + (timeout if kind == "silent" else 0.0), call)
        self._failed(kind)
        if kind == "silent":
            await asyncio.sleep(timeout)
            raise DeadlineError(f"no answer within {timeout:g} s to {self._port}.{method} (swept)")
        if kind == "FencedError":
            self.party.expel()
        elif kind == "TransactionExpiredError":
            self.party.expire()
        raise ERRORS[kind](f"{self._port}.{method} failed (swept)")

    def _failed(self, kind: str) -> None:
        """A call is about to fail."""


class SweptAdmin(_Client):
    """An admin client."""

    def __init__(self, party: Party, admin: Admin) -> None:
        super().__init__(party, "admin")
        self._admin = admin

    async def start(self) -> None:
        """See the port."""
        await self._ask("start", self._admin.start)

    async def stop(self) -> None:
        """See the port."""
        await self._ask("stop", self._admin.stop)

    async def describe(self, topics: Collection[str], *, config: bool = True) -> dict[str, TopicInfo]:
        """See the port."""
        return await self._ask("describe", lambda: self._admin.describe(topics, config=config))

    async def cluster_id(self) -> str:
        """See the port."""
        return await self._ask("cluster_id", self._admin.cluster_id)

    async def topics(self) -> set[str]:
        """See the port."""
        return await self._ask("topics", self._admin.topics)

    async def sizes(self, tps: Collection[TP]) -> dict[TP, int]:
        """See the port."""
        return await self._ask("sizes", lambda: self._admin.sizes(tps))

    async def create(self, specs: Sequence[TopicSpec]) -> None:
        """See the port."""
        way = self._strike("create")
        if way == "TransportError":
            self.party.refused_to(current_effects())
        await self._answer(way, "create", lambda: self._admin.create(specs))

    async def delete(self, topics: Collection[str]) -> None:
        """See the port."""
        await self._ask("delete", lambda: self._admin.delete(topics))

    async def remove_member(self, group: str, member: str) -> None:
        """See the port."""
        await self._ask("remove_member", lambda: self._admin.remove_member(group, member))


class SweptReader(_Client):
    """A reader without a group."""

    def __init__(self, party: Party, reader: Reader) -> None:
        super().__init__(party, "reader")
        self._reader = reader
        self._reads: list[TP] = []

    async def start(self) -> None:
        """See the port."""
        await self._ask("start", self._reader.start)

    async def stop(self) -> None:
        """See the port."""
        await self._ask("stop", self._reader.stop)

    async def assign(self, positions: Mapping[TP, int], ends: Mapping[TP, int] | None = None) -> None:
        """See the port."""
        await self._ask("assign", lambda: self._reader.assign(positions, ends))
        self._reads = sorted(positions)

    async def poll(self, timeout: float) -> Sequence[Batch]:
        """See the port."""
        way = self._strike("poll")
        if way == "OffsetOutOfRangeError":
            if self._reads:
                raise OffsetOutOfRangeError(self._reads[0], 0)
            way = "TransportError"
        return await self._answer(way, "poll", lambda: self._reader.poll(timeout))

    def seek(self, tp: TP, offset: int) -> None:
        """See the port."""
        self._strike("seek")
        self._reader.seek(tp, offset)

    async def start_offsets(self, tps: Collection[TP]) -> dict[TP, int]:
        """See the port."""
        return await self._ask("start_offsets", lambda: self._reader.start_offsets(tps))

    async def end_offsets(self, tps: Collection[TP], *, committed: bool = False) -> dict[TP, int]:
        """See the port."""
        return await self._ask("end_offsets", lambda: self._reader.end_offsets(tps, committed=committed))

    async def offsets_since(self, tps: Collection[TP], timestamp: int) -> dict[TP, int | None]:
        """See the port."""
        return await self._ask("offsets_since", lambda: self._reader.offsets_since(tps, timestamp))


class SweptConsumer(_Client):
    """A member of a consumer group; it knows when its partitions are given up."""

    def __init__(self, party: Party, consumer: Consumer) -> None:
        super().__init__(party, "consumer")
        self._consumer = consumer

    async def start(self) -> None:
        """See the port."""
        await self._ask("start", self._consumer.start)

    async def stop(self) -> None:
        """See the port."""
        await self._ask("stop", self._consumer.stop)

    def subscribe(self, topics: Collection[str], listener: RebalanceListener, host: Host = NOBODY) -> None:
        """See the port."""
        self._strike("subscribe")
        party = self.party

        def assigned(tps: frozenset[TP], group: GroupMetadata) -> None:
            party.assigned(group)
            listener.assigned(tps, group)

        async def revoked(tps: frozenset[TP], lost: bool) -> None:
            await listener.revoked(tps, lost)
            party.given_up()

        self._consumer.subscribe(topics, RebalanceListener(assigned, revoked), host)

    def owners(self) -> Owners:
        """See the port."""
        return self._consumer.owners()

    async def poll(self, timeout: float) -> Sequence[Batch]:
        """See the port."""
        return await self._ask("poll", lambda: self._consumer.poll(timeout))

    @property
    def unreadable(self) -> Mapping[TP, TransportError]:
        """See the port."""
        return self._consumer.unreadable

    def rejoin(self) -> None:
        """See the port."""
        self._strike("rejoin")
        self._consumer.rejoin()

    def seek(self, tp: TP, offset: int) -> None:
        """See the port."""
        self._strike("seek")
        self._consumer.seek(tp, offset)

    def pause(self, tps: Collection[TP]) -> None:
        """See the port."""
        self._strike("pause")
        self._consumer.pause(tps)

    def resume(self, tps: Collection[TP]) -> None:
        """See the port."""
        self._strike("resume")
        self._consumer.resume(tps)

    async def committed(self, tps: Collection[TP]) -> dict[TP, Offset | None]:
        """See the port."""
        return await self._ask("committed", lambda: self._consumer.committed(tps))

    async def commit(self, offsets: Mapping[TP, Offset], group: GroupMetadata) -> None:
        """See the port."""
        self.party.owns("commits offsets")
        await self._ask("commit", lambda: self._consumer.commit(offsets, group))

    async def start_offsets(self, tps: Collection[TP]) -> dict[TP, int]:
        """See the port."""
        return await self._ask("start_offsets", lambda: self._consumer.start_offsets(tps))

    async def end_offsets(self, tps: Collection[TP], *, committed: bool = False) -> dict[TP, int]:
        """See the port."""
        return await self._ask("end_offsets", lambda: self._consumer.end_offsets(tps, committed=committed))

    def lease(self) -> float:
        """See the port."""
        return 0.0 if self._strike("lease") else self._consumer.lease()

    def check(self) -> None:
        """See the port."""
        if self._strike("check"):
            raise TransportError("a background task of the consumer has died (swept)")
        self._consumer.check()


class SweptProducer(_Client):
    """A producer; once a call has failed it takes nothing more."""

    def __init__(self, party: Party, producer: Producer) -> None:
        super().__init__(party, "producer")
        self._producer = producer
        self._broken = False
        self._too_large: tuple[str, bytes | None, bytes | None] | None = None

    @property
    def max_record_size(self) -> int:
        """See the port."""
        return self._producer.max_record_size

    @property
    def backlog(self) -> int:
        """See the port."""
        return self._producer.backlog

    @property
    def crowded(self) -> bool:
        """See the port."""
        return self._producer.crowded

    @property
    def transaction_age(self) -> float:
        """See the port."""
        return self._producer.transaction_age

    async def start(self) -> None:
        """See the port."""
        await self._ask("start", self._producer.start)

    async def stop(self) -> None:
        """See the port."""
        await self._ask("stop", self._producer.stop)

    async def partitions(self, topic: str) -> int:
        """See the port."""
        broken, way = self._broken, self._strike("partitions")
        if way == "UnknownTopicError" and not topic.startswith("sweep"):
            way = "TransportError"  # nobody has to be answered, or sent to, in a topic that is not there: only our own are
        try:
            return await self._answer(way, "partitions", lambda: self._producer.partitions(topic))
        finally:
            self._broken = broken  # a question for metadata breaks nothing

    def count(self, topic: str) -> int:
        """See the port."""
        return self._producer.count(topic)

    def send(
        self,
        topic: str,
        partition: int | None,
        key: bytes | None,
        value: bytes | None,
        timestamp: int | None = None,
        headers: Headers = (),
    ) -> Delivery:
        """See the port."""
        if topic.endswith("-changelog"):
            self.party.owns(f"sends to {topic}")
        left, self._too_large = self._too_large, None
        way = "EncodeError" if left == (topic, key, value) else self._strike("send")
        if way == "EncodeError":
            self.party.refused(topic, key, value)
            raise EncodeError(f"a record for topic {topic} is too large (swept)", topic)
        if way:
            self._broken = True
        self._require()
        return self._producer.send(topic, partition, key, value, timestamp=timestamp, headers=headers)

    def send_many(
        self, topic: str, partition: int, records: Sequence[tuple[bytes | None, bytes | None]], headers: Headers = ()
    ) -> tuple[Delivery | None, int]:
        """See the port: each of the records can be the one that fails, as ``producer.send``; one that is too large is left to that."""
        last, taken = None, 0
        for key, value in records:
            try:
                last = self.send(topic, partition, key, value, None, headers)
            except EncodeError:
                self._too_large = topic, key, value
                break
            taken += 1
            if self._producer.crowded:
                break
        return last, taken

    async def room(self) -> None:
        """See the port."""
        await self._ask("room", self._producer.room)

    async def flush(self) -> None:
        """See the port."""
        self._require()
        await self._ask("flush", self._producer.flush)

    async def begin(self) -> None:
        """See the port."""
        self._require()
        await self._ask("begin", self._producer.begin)

    async def commit(self, offsets: Mapping[TP, Offset], group: GroupMetadata | None) -> None:
        """See the port."""
        self._require()
        if offsets:
            self.party.owns("commits offsets")
        await self._ask("commit", lambda: self._producer.commit(offsets, group))

    async def abort(self) -> None:
        """See the port."""
        await self._ask("abort", self._producer.abort)

    def check(self) -> None:
        """See the port."""
        if self._strike("check"):
            raise TransportError("a background task of the producer has died (swept)")
        self._producer.check()

    def _failed(self, kind: str) -> None:
        self._broken = True

    def _require(self) -> None:
        if self._broken:
            raise ProduceError("the producer is broken, make a new one (swept)")


class SweptDeliveries(Faults):
    """The requests that carry batches, behind all producers of a cluster: they fail when nobody is looking.

    Args:
        plan: counts them as ``producer.deliver``.
        timeout: seconds after which a batch that was not acknowledged is.
    """

    def __init__(self, plan: Plan, timeout: float) -> None:
        super().__init__()
        self._plan = plan
        self._timeout = timeout
        self._silent = False

    @contextmanager
    def at(self, operation: str) -> Iterator[None]:
        """Wrap a request."""
        way = self._plan.strike("producer.deliver") if operation == "produce" else ""
        self._silent = way == "silent"
        kind = {"BatchRefusedError": BatchRefusedError}.get(way, ProduceError)
        if way and not self._silent and not way.endswith(DONE):
            raise kind("the broker did not take the batch (swept)")
        with super().at(operation):
            yield
        if way.endswith(DONE):
            raise kind("nobody knows whether the broker took the batch (swept)")

    def acknowledge(self, tp: TP, acknowledge: Callable[[], None]) -> None:
        """Acknowledge a batch: now, or after everybody's patience is over."""
        if self._silent:
            self._silent = False
            asyncio.get_running_loop().call_later(self._timeout + 1, acknowledge)
        else:
            super().acknowledge(tp, acknowledge)


class _Damage:
    """What is damaged in one store, until it is wiped or removed.

    Attributes:
        keys: whose values cannot be read.
        calls: what cannot be done.
        locked: loop time until which another process holds it.
    """

    def __init__(self) -> None:
        self.keys: set[bytes] = set()
        self.calls: set[str] = set()
        self.locked = 0.0

    def mend(self) -> None:
        """It is wiped or removed."""
        self.keys.clear()
        self.calls.clear()


class _SweptStore:
    """An open store."""

    def __init__(self, party: Party, name: str, store: Store, damage: _Damage) -> None:
        self._party = party
        self._name = name
        self._store = store
        self._damage = damage

    def _strike(self, method: str) -> str:
        self._party.calls(f"store.{method}")
        way = self._party.plan.strike(f"store.{method}", self._party.name)
        if way in ("StoreError", "full"):
            raise StoreError(f"{self._name}: no space left on device (swept)")
        return way

    def get(self, key: bytes) -> bytes | None:
        """See the port."""
        if self._strike("get"):
            self._damage.keys.add(key)
        self._require(key)
        return self._store.get(key)

    def range(self, begin: bytes = b"", end: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        """See the port."""
        way, pairs = self._strike("range"), list(self._store.range(begin, end))
        if way and pairs:
            self._damage.keys.add(pairs[len(pairs) // 2][0])
        return self._readable(pairs)

    def _readable(self, pairs: Sequence[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, bytes]]:
        for key, value in pairs:
            self._require(key)
            yield key, value

    def write(
        self,
        changes: Mapping[bytes, bytes | None],
        facts: Mapping[str, bytes] | None = None,
        *,
        deleted: Collection[KeyRange] = (),
    ) -> None:
        """See the port."""
        way = self._strike("write")
        if way == "damaged":
            self._damage.calls.add("write")
        self._able("write")
        self._store.write(changes, facts, deleted=deleted)
        self._damage.keys -= changes.keys()
        if way.endswith(DONE):
            raise StoreError(f"{self._name}: the disk failed after the write (swept)")

    def size(self) -> StoreSize:
        """See the port."""
        self._strike("size")
        return self._store.size()

    def fact(self, name: str) -> bytes | None:
        """See the port."""
        if self._strike("fact"):
            self._damage.calls.add("fact")
        self._able("fact")
        return self._store.fact(name)

    def wipe(self) -> None:
        """See the port."""
        self._strike("wipe")
        self._store.wipe()
        self._damage.mend()

    def close(self) -> None:
        """See the port."""
        self._strike("close")
        self._store.close()

    def _able(self, call: str) -> None:
        if call in self._damage.calls:
            raise StoreCorruptError(f"{self._name}: its files are damaged (swept)")

    def _require(self, key: bytes) -> None:
        if key in self._damage.keys:
            raise StoreCorruptError(f"{self._name}: the block of key {key!r} is damaged (swept)")


class SweptDisk:
    """The stores in one directory: they outlive the workers.

    Args:
        name: of the directory, for messages.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._stores = MemoryStores()
        self._damage: dict[tuple[str, int], _Damage] = {}

    def leave(self, table: str, partition: int, values: Mapping[bytes, bytes], facts: Mapping[str, bytes]) -> None:
        """Leave a store behind, as a worker does that has died."""
        store = self._stores.open(table, partition)
        store.write(values, facts)
        store.close()

    def of(self, party: Party) -> _SweptStores:
        """What a worker opens."""
        return _SweptStores(party, self._name, self._stores, self._damage)


class _SweptStores:
    """The store driver of one worker."""

    def __init__(self, party: Party, name: str, stores: MemoryStores, damage: dict[tuple[str, int], _Damage]) -> None:
        self._party = party
        self._name = name
        self._stores = stores
        self._damage = damage

    def _strike(self, method: str) -> str:
        self._party.calls(f"stores.{method}")
        return self._party.plan.strike(f"stores.{method}", self._party.name)

    def open(self, table: str, partition: int) -> _SweptStore:
        """See the port."""
        way, now = self._strike("open"), asyncio.get_running_loop().time()
        name = f"{self._name}/{table}-{partition}"
        damage = self._damage.setdefault((table, partition), _Damage())
        if way == "StoreError":
            raise StoreError(f"{name}: input/output error (swept)")
        if way.startswith("locked"):
            damage.locked = now + LOCKED if way == "locked/long" else damage.locked
            raise StoreLockedError(f"{name} is held by another process (swept)")
        if damage.locked > now:
            raise StoreLockedError(f"{name} is still held by another process (swept)")
        if way == "damaged":
            damage.calls.add("open")
        if "open" in damage.calls:
            raise StoreCorruptError(f"{name}: its files are damaged (swept)")
        return _SweptStore(self._party, name, self._stores.open(table, partition), damage)

    def destroy(self, table: str, partition: int) -> None:
        """See the port."""
        if self._strike("destroy"):
            raise StoreError(f"{self._name}/{table}-{partition}: cannot be removed (swept)")
        self._stores.destroy(table, partition)
        self._damage.pop((table, partition), None)

    def close(self) -> None:
        """See the port."""
        self._strike("close")
        self._stores.close()
