"""A bank on an in-process cluster: deposits are added up per account and echoed, while a test lets things go wrong.

Now and then, and with no deposit to cause it, the pot of each partition is paid out: a unit of work that empties it in one table, adds it
up in another one, and sends it.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from random import Random
from typing import Any, Self
from uuid import uuid4

from stream_core.agents.agent import Agent
from stream_core.engine.engine import Engine
from stream_core.engine.participants import Shard
from stream_core.engine.work import Work
from stream_core.errors import TransportError
from stream_core.memory import MemoryCluster, MemoryStores, MemoryTransport
from stream_core.memory.log import Entry, PartitionLog
from stream_core.primitives import TP, StoredRecord, TopicSpec
from stream_core.sending.topic import Topic
from stream_core.settings import EngineSettings
from stream_core.values.schemas import Schema
from stream_tables.table import Table
from stream_tables.tables import Tables

GROUP = "bank"
DEPOSITS, ECHO, MIRROR, PAYMENTS = "deposits", "echo", "mirror", "payments"
CHANGELOG, POTS, PAID = "bank-totals-changelog", "bank-pots-changelog", "bank-paid-changelog"
EVERYTHING = "everything"
"""An account per partition that each deposit is added to, by both agents: the key on which they meet."""

Trouble = Callable[[str, TP, int], Awaitable[None]]
"""Called in the middle of an event with the agent's name, the partition and the offset; may raise."""


async def no_trouble(agent: str, tp: TP, offset: int) -> None:
    """All goes well."""


class AtOnce(ThreadPoolExecutor):
    """Runs what is submitted at once, in the thread of the caller: nothing depends on the speed of this machine."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run ``fn``; its result is there when this returns."""
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:
            future.set_exception(error)
        return future


class WithPayments(Tables):
    """Tables with work that no record brings.

    Args:
        pay: does it in one partition, for ever.
    """

    def __init__(self, pay: Callable[[Work, int], Coroutine[Any, Any, None]], *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._pay = pay

    @property
    def has_work(self) -> bool:
        """It pays."""
        return True

    def running(self, shard: Shard, work: Work) -> None:
        """Begin to pay."""
        work.spawn(self._pay(work, shard.partition), "payments")


class Worker:
    """One engine with a table, two agents that change it, and one with several actors that only sends.

    Args:
        bank: where it works.
        stores: its disk.
        name: its transactional id.
    """

    def __init__(self, bank: Bank, stores: MemoryStores, name: str) -> None:
        self.bank = bank
        self.stores = stores
        self.name = name
        self.member = ""
        self.table = Table[str, int](
            "totals", schema=Schema.for_table(str, int), changelog=CHANGELOG, default=int, help="money by account"
        )
        self.pots = Table[int, int]("pots", schema=Schema.for_table(int, int), changelog=POTS, default=int)
        self.paid = Table[int, int]("paid", schema=Schema.for_table(int, int), changelog=PAID, default=int)
        tables = WithPayments(self._pay, stores, lambda: bank.transport.reader(read_committed=bank.exactly_once))
        for table in (self.table, self.pots, self.paid):
            tables.add(table)
        self._payments = Topic[Any, Any](PAYMENTS, schema=Schema(key_type=str))
        deposits = Topic[Any, Any](DEPOSITS, schema=Schema(key_type=str))
        self._echo = Topic[Any, Any](ECHO, schema=Schema(key_type=str))
        self._mirror = Topic[Any, Any](MIRROR, schema=Schema(key_type=str))
        self.engine = Engine(
            bank.transport,
            EngineSettings(
                GROUP,
                transactional_id=name if bank.exactly_once else None,
                commit_interval=0.1,
                buffer_maxsize=64,
                max_restarts=8,
            ),
            topics=[deposits, self._echo, self._mirror, self._payments],
            agents=[
                Agent(self._add, name="add", topic=deposits),
                Agent(self._count, name="count", topic=deposits),
                Agent(self._reflect, name="reflect", topic=deposits, concurrency=3),
            ],
            participants=[tables],
            on_member=self._joined,
        )

    def _joined(self, member: str) -> None:
        self.member = member

    async def _add(self, stream: Any) -> None:
        """Add each deposit to its account, and echo where it was."""
        table, trouble = self.table, self.bank.trouble
        async for event in stream.events():
            account, amount = event.value
            message = event.message
            table[account] += amount
            sent = await self._echo.send(key=account, value=[message.partition, message.offset])
            self.pots[message.partition] += amount
            await trouble("add", message.tp, message.offset)
            table[f"{EVERYTHING}-{message.partition}"] += amount
            if amount % 5 == 0:
                await sent
                await trouble("add, acknowledged", message.tp, message.offset)

    async def _count(self, stream: Any) -> None:
        """Count the deposits of each account."""
        table, trouble = self.table, self.bank.trouble
        async for event in stream.events():
            account, amount = event.value
            message = event.message
            table[f"{account}-count"] += 1
            await trouble("count", message.tp, message.offset)
            if amount % 3 == 0:
                table[f"{EVERYTHING}-{message.partition}"] += 1

    async def _reflect(self, stream: Any) -> None:
        """Echo where each deposit was, with several actors that overtake each other."""
        trouble = self.bank.trouble
        async for event in stream.events():
            message = event.message
            sent = await self._mirror.send(value=[message.partition, message.offset])
            await trouble("reflect", message.tp, message.offset)
            if message.offset % 7 == 0:
                await sent
                await trouble("reflect, acknowledged", message.tp, message.offset)

    async def _pay(self, work: Work, partition: int) -> None:
        """Pay out what is in a pot, now and then."""
        while True:
            await asyncio.sleep(0.15)
            async with work.unit("payments", partition):
                amount = self.pots[partition]
                if not amount:
                    continue
                self.pots[partition] = 0
                sent = await self._payments.send(value=amount, partition=partition)
                if amount % 2:
                    await asyncio.sleep(0.05)
                if amount % 5 == 0:
                    await sent
                self.paid[partition] += amount

    def money(self) -> Counter[int]:
        """What is in the pots here, and was paid out, by partition."""
        return Counter(dict(self.pots.items())) + Counter(dict(self.paid.items()))

    def paid_for_good(self) -> Counter[int]:
        """What was paid out here as of the last checkpoint, by partition."""
        known = ((partition, self.paid.get(partition, committed=True)) for partition, _ in list(self.paid.items()))
        return Counter({partition: amount for partition, amount in known if amount is not None})

    def contents(self) -> dict[str, int]:
        """What the table holds here."""
        return dict(self.table.items())


class Bank:
    """A cluster with the topics of the bank, and the workers on it.

    Args:
        exactly_once: the guarantee.
        partitions: of the deposits.
    """

    def __init__(self, *, exactly_once: bool, partitions: int = 3) -> None:
        self.exactly_once = exactly_once
        self.trouble: Trouble = no_trouble
        self.partitions = partitions
        self.transport = MemoryTransport(uuid4().hex)
        self.cluster = self.transport.cluster
        for name in (DEPOSITS, ECHO, MIRROR, PAYMENTS):
            self.cluster.create(TopicSpec(name, partitions))
        self.workers: list[Worker] = []
        self.expected: Counter[str] = Counter()
        self.money: Counter[int] = Counter()
        self._names = 0

    async def __aenter__(self) -> Self:
        asyncio.get_running_loop().set_default_executor(AtOnce())
        return self

    async def __aexit__(self, *_: object) -> None:
        for worker in list(self.workers):
            await self.stop(worker)
        MemoryCluster.discard(self.cluster.name)

    def deposit(self, random: Random, count: int) -> None:
        """Produce some random deposits."""
        for _ in range(count):
            tp = TP(DEPOSITS, random.randrange(self.partitions))
            account, amount = f"{random.choice('abcde')}{tp.partition}", random.randrange(1, 100)
            self.cluster.append(tp, [Entry(0, None, json.dumps([account, amount]).encode())])
            self.money[tp.partition] += amount
            self.expected[account] += amount
            self.expected[f"{account}-count"] += 1
            self.expected[f"{EVERYTHING}-{tp.partition}"] += amount + (amount % 3 == 0)

    async def start(self, stores: MemoryStores | None = None, name: str = "") -> Worker:
        """Start a worker, on an empty disk unless it gets one."""
        self._names += 1
        worker = Worker(self, stores or MemoryStores(), name or f"worker-{self._names}")
        self.workers.append(worker)
        async with asyncio.timeout(60):
            try:
                await worker.engine.start()
            except TransportError:
                await self.stop(worker)
                return await self.start(worker.stores, worker.name)
        return worker

    async def stop(self, worker: Worker) -> None:
        """Stop a worker; a transaction that it could not abort times out soon."""
        self.workers.remove(worker)
        await worker.engine.stop()
        if self.exactly_once:
            asyncio.get_running_loop().call_later(5.0, self._time_out, worker.name)

    def _time_out(self, name: str) -> None:
        if all(worker.name != name for worker in self.workers):
            self.cluster.transactions.expire(name)

    async def done(self) -> None:
        """Wait until all deposits are committed, and paid out."""
        tps = [TP(DEPOSITS, partition) for partition in range(self.partitions)]
        offsets = self.cluster.group(GROUP).offsets

        def finished() -> bool:
            for worker in self.workers:
                assert not worker.engine.failure.done(), worker.engine.failure.result()
            topics = ECHO, MIRROR, PAYMENTS, CHANGELOG, POTS, PAID
            decided = all(log.stable == log.end for topic in topics for log in self._logs(topic))
            known = {tp: offset.offset for tp, offset in offsets.fetch(tps).items() if offset is not None}
            paid = sum((worker.paid_for_good() for worker in self.workers), Counter[int]())
            return decided and paid == self.money and known == {tp: self.cluster.log(tp).end for tp in tps}

        for _ in range(1200):  # a minute
            if finished():
                return
            await asyncio.sleep(0.05)
        raise AssertionError(f"not committed in time: {offsets.fetch(tps)}")

    def payments(self) -> Counter[int]:
        """What was sent of payments, added up by partition."""
        sums = Counter[int]()
        for partition, log in enumerate(self._logs(PAYMENTS)):
            for record in log.read(0, 1_000_000, committed=self.exactly_once).records:
                sums[partition] += json.loads(record.value or b"")
        return sums

    def records(self, topic: str) -> list[StoredRecord]:
        """All records of a topic that readers see under this guarantee."""
        return [
            record
            for log in self._logs(topic)
            for record in log.read(0, 1_000_000, committed=self.exactly_once).records
        ]

    def _logs(self, topic: str) -> list[PartitionLog]:
        return [self.cluster.log(TP(topic, partition)) for partition in range(self.partitions)]

    def echoed(self, topic: str = ECHO) -> Counter[tuple[int, int]]:
        """How often each deposit was echoed, by partition and offset."""
        return Counter((value[0], value[1]) for value in (json.loads(r.value or b"") for r in self.records(topic)))

    def deposited(self) -> Counter[tuple[int, int]]:
        """Each deposit once, by partition and offset."""
        ends = [self.cluster.log(TP(DEPOSITS, partition)).end for partition in range(self.partitions)]
        return Counter((partition, offset) for partition, end in enumerate(ends) for offset in range(end))

    def folded(self) -> dict[str, int]:
        """The changelog, folded: the last value of each key."""
        return {json.loads(record.key or b""): json.loads(record.value or b"") for record in self.records(CHANGELOG)}
