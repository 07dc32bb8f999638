"""Topics of Avro in apps: what happens while the schema registry is away, wrong, or does not know what it is asked for."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

import stream_app as faust
from stream_app.running.registries import in_memory
from stream_core.errors import (
    AuthenticationError,
    ConfigurationError,
    EncodeError,
    RegistryUnavailableError,
    SchemaRefusedError,
    WorkerError,
)
from stream_core.memory import MemoryRegistry
from stream_core.ports import SchemaText
from stream_core.primitives import TP
from stream_core.values.avro import Avro
from stream_core.values.registered import Schemas

from .apps import cluster, make, until


class Order(faust.Record):
    """A message."""

    item: str
    amount: int


class Troubled(MemoryRegistry):
    """A registry that can be away, raise although it has done what it was asked, or never answer."""

    calls: Counter[str]

    def __init__(self) -> None:
        super().__init__()
        self.calls = Counter()
        self.before: list[Callable[[], Exception]] = []
        self.after: list[Callable[[], Exception]] = []
        self.hangs = False

    async def schema(self, id_: int) -> SchemaText:
        """Return the schema of that id, unless there is trouble."""
        self.calls["schema"] += 1
        await self._trouble(self.before)
        return await super().schema(id_)

    async def register(self, subject: str, schema: SchemaText) -> int:
        """Add a schema, unless there is trouble."""
        self.calls["register"] += 1
        await self._trouble(self.before)
        found = await super().register(subject, schema)
        await self._trouble(self.after)
        return found

    async def _trouble(self, errors: list[Callable[[], Exception]]) -> None:
        if self.hangs:
            await asyncio.Event().wait()
        if errors:
            raise errors.pop(0)()


def away() -> Exception:
    """A registry that cannot be reached."""
    return RegistryUnavailableError("the schema registry is away")


class Shop:
    """An app that passes orders on, from one topic of Avro to another one.

    Args:
        take: how many orders the agent takes at a time; 0 for one by one.
        concurrency: actors of the agent.
        options: of the topic that is read.
    """

    def __init__(self, take: int = 0, concurrency: int = 1, **options: Any) -> None:
        self.registry = Troubled()
        self.app = make(schema_registry_url="memory://")
        self.schemas = Schemas(self.registry)
        self.orders = self.app.topic("orders", value_type=Order, value_serializer="avro", partitions=1, **options)
        self.out = self.app.topic("out", value_type=Order, value_serializer="avro", partitions=1)
        for topic in (self.orders, self.out):
            topic.registry = lambda: self.schemas
        self.seen: list[Order] = []

        @self.app.agent(self.orders, concurrency=concurrency)
        async def forward(stream: faust.Stream[Order]) -> None:
            if take:
                async for orders in stream.take(take, within=0.01):
                    self.seen.extend(orders)
                return
            async for order in stream:
                await self.out.send(order)
                self.seen.append(order)

    async def feed(self, *amounts: int) -> None:
        """Send orders that somebody else has written, whose schema this app has not asked for yet."""
        codec = Avro()
        writer = codec.writer(Order)
        self.id = await MemoryRegistry.register(self.registry, "orders-value", writer.schema)
        for amount in amounts:
            data = b"\0" + self.id.to_bytes(4) + writer.write(Order("tea", amount))
            await self.orders.send(data, value_serializer="raw")

    def orders_of(self, *amounts: int) -> list[Order]:
        """The orders that were fed."""
        return [Order("tea", amount) for amount in amounts]


@pytest.mark.looptime
@pytest.mark.parametrize("options", [{}, {"take": 3}, {"concurrency": 3}], ids=["one by one", "lists", "actors"])
async def test_records_wait_while_the_registry_is_away(options: Any, caplog: pytest.LogCaptureFixture) -> None:
    """None is lost, skipped or reordered, no policy is asked, and the log says what is waited for."""
    shop = Shop(**options)
    shop.registry.before = [away] * 4
    async with shop.app:
        await shop.feed(1, 2, 3)
        await until(lambda: len(shop.seen) == 3)
    assert sorted(shop.seen, key=lambda order: order.amount) == shop.orders_of(1, 2, 3)
    assert "records of topic orders wait for the schema registry: the schema registry is away" in caplog.text
    assert shop.registry.calls["schema"] >= 5 if not options.get("concurrency") else True


async def test_a_schema_is_asked_for_once() -> None:
    """Several actors want to know the same: one question is asked."""
    shop = Shop(concurrency=5)
    async with shop.app:
        await shop.feed(*range(20))
        await until(lambda: len(shop.seen) == 20)
    assert shop.registry.calls == {"schema": 1, "register": 1}


@pytest.mark.looptime
async def test_an_app_stops_while_the_registry_hangs() -> None:
    """Records that wait are left, and come again: nothing of them was committed."""
    shop = Shop()
    shop.registry.hangs = True
    async with shop.app:
        await shop.feed(1)
        await until(lambda: shop.registry.calls["schema"])
    offset = cluster(shop.app).group("shop").offsets.all().get(TP("orders", 0))
    assert not shop.seen
    assert offset is None or offset.offset == 0


@pytest.mark.looptime
async def test_a_send_fails_its_event_while_the_registry_is_away() -> None:
    """The event comes again, whatever its policy, until the registry answers; also where it has done what it was asked."""
    shop = Shop()
    async with shop.app:
        shop.registry.after = [away] * 2
        await shop.feed(1, 2)
        await until(lambda: len(shop.seen) == 2)
    assert shop.seen == shop.orders_of(1, 2)
    assert shop.registry.subjects == ["orders-value", "out-value"]
    assert shop.registry.calls["register"] == 3


@pytest.mark.parametrize("policy", ["skip", "dead_letter"])
async def test_an_id_that_nobody_knows_is_an_error_of_its_record(policy: str) -> None:
    """The policy of the topic decides, and the others go on."""
    shop = Shop(on_decode_error=policy)
    async with shop.app:
        await shop.orders.send(b"\0\0\0\0\x63xyz", value_serializer="raw")
        await shop.orders.send(b'{"item": 1}', value_serializer="raw")
        await shop.feed(1)
        await until(lambda: shop.seen)
    assert shop.seen == shop.orders_of(1)


async def test_a_schema_that_is_refused_is_an_error_of_the_send() -> None:
    """Who sends gets the sentence, with topic and subject."""
    shop = Shop()
    shop.registry.before = [lambda: SchemaRefusedError("no")]
    async with shop.app:
        with pytest.raises(EncodeError, match=r"topic orders: .*no"):
            await shop.orders.send(Order("tea", 1))
        await shop.orders.send(Order("tea", 1))
        await until(lambda: shop.seen)


async def test_refused_credentials_end_the_worker() -> None:
    """Waiting does not help: the error names the setting."""
    shop = Shop()
    app = shop.app
    app.conf.agent_max_restarts = 0
    shop.registry.before = [lambda: AuthenticationError("check schema_registry_credentials")] * 9

    async def work() -> None:
        async with app:
            await shop.feed(1)
            await app.wait()

    with pytest.raises(WorkerError, match="schema_registry_credentials"):
        await work()


async def test_keys_may_be_avro_too() -> None:
    """Their subject ends with -key; tables may be keyed by what was read."""
    app = make(schema_registry_url=f"memory://{uuid4().hex}")
    orders = app.topic("orders", key_type=Order, value_type=int, key_serializer="avro", partitions=1)
    seen: list[Any] = []

    @app.agent(orders)
    async def read(stream: faust.Stream[int]) -> None:
        async for key, value in stream.items():
            seen.append((key, value))

    async with app:
        await orders.send(5, key=Order("tea", 1))
        await until(lambda: seen)
    assert seen == [(Order("tea", 1), 5)]
    assert in_memory(app.conf.schema_registry_url).subjects == ["orders-key"]


async def test_streams_that_are_grouped_again_stay_avro() -> None:
    """The topic in between has the registry of the one that is read, and a subject of its own."""
    app = make(schema_registry_url=f"memory://{uuid4().hex}")
    orders = app.topic("orders", value_type=Order, value_serializer="avro", partitions=1)
    seen: list[Any] = []

    @app.agent(orders)
    async def read(stream: faust.Stream[Order]) -> None:
        async for order in stream.group_by(Order.item):
            seen.append(order)

    async with app:
        await orders.send(Order("tea", 1))
        await until(lambda: seen)
    assert seen == [Order("tea", 1)]


async def test_questions_are_asked_in_avro() -> None:
    """An agent whose topic is Avro is asked as any other is."""
    app = make(schema_registry_url=f"memory://{uuid4().hex}")
    orders = app.topic("orders", value_type=Order, value_serializer="avro", partitions=1)

    @app.agent(orders)
    async def double(stream: faust.Stream[Order]) -> Any:
        async for order in stream:
            yield order.amount * 2

    async with app:
        assert await double.ask(Order("tea", 4), key="k") == 8


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "topic orders: Avro needs a schema registry: set schema_registry_url"),
        ({"schema_registry_url": "ftp://x"}, "ftp"),
    ],
)
async def test_an_app_without_a_registry_does_not_start(options: Any, said: str) -> None:
    """What is missing is said with the topic."""
    app = make(**options)
    app.topic("orders", value_type=Order, value_serializer="avro")
    with pytest.raises(ConfigurationError, match=said):
        await app.start()


def test_a_url_has_a_scheme() -> None:
    """What is not a URL is refused where it is given, and a password in one is not shown."""
    with pytest.raises(ConfigurationError, match="schema_registry_url"):
        make(schema_registry_url="localhost")
    shown = {row.name: row.value for row in make(schema_registry_url="http://user:hidden@here").conf.describe()}
    assert "hidden" not in shown["schema_registry_url"]
