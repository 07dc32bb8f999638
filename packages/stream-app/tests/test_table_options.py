"""What is said of a table beside its types has an effect, or is refused with a sentence."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from stream_app import App
from stream_core.errors import ConfigurationError, WorkerError
from stream_core.memory import MemoryCluster
from stream_core.memory.log import Entry
from stream_core.primitives import TP, RawRecord
from stream_core.values.schemas import Schema
from stream_tables.table import Table
from stream_tables.tables import CHANGELOG

CLUSTER = "options-of-tables"


class Reversed(Schema):
    """Values whose bytes stand the other way round, as they would be encrypted."""

    def dumps_value(self, value: Any, headers: list[tuple[str, bytes]], dumps: Callable[[Any], bytes | None]) -> bytes:
        """Encode a value."""
        return (dumps(value) or b"")[::-1]

    def loads_value(self, message: RawRecord, loads: Callable[[bytes | None], Any]) -> Any:
        """Decode a value."""
        return loads((message.value or b"")[::-1])


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Callable[..., App]]:
    """Makes workers of one app, on a cluster of the test's own."""
    name = uuid4().hex

    def make_app(**options: Any) -> App:
        made = {"broker": f"memory://{name}", "datadir": tmp_path, "web_enabled": False, "topic_partitions": 2}
        app = App("app", **{**made, "broker_commit_interval": 0.02, **options})
        app.cluster = MemoryCluster.named(name)  # type: ignore[attr-defined]
        return app

    yield make_app
    MemoryCluster.discard(name)


def counting(app: App, *tables: Table[Any, Any]) -> asyncio.Queue[Any]:
    """Let the app count what comes on a topic in each table; gives what says that an event is done."""
    done = asyncio.Queue[Any]()

    @app.agent(app.topic("seen", key_type=str, value_type=str), name="count")
    async def count(stream: Any) -> None:
        async for name in stream:
            for table in tables:
                table[name] += 1
            await done.put(name)

    return done


async def say(app: App, done: asyncio.Queue[Any], *names: str) -> None:
    """Send names, and wait until they are counted."""
    async with asyncio.timeout(30):
        for name in names:
            await app.send("seen", key=name, value=name)
            await done.get()


def changelog(app: App, name: str) -> list[tuple[str, Any]]:
    """The keys and values in a changelog."""
    cluster: MemoryCluster = app.cluster  # type: ignore[attr-defined]
    logs = [cluster.log(TP(name, number)) for number in range(cluster.topic(name).partitions)]
    records = [record for log in logs for record in log.read(0, 1_000_000, committed=True).records]
    return sorted((json.loads(r.key), json.loads(r.value)) for r in records if r.value and r.key is not None)


async def test_each_table_has_a_store_of_its_own(make: Callable[..., App], tmp_path: Path) -> None:
    """Two tables of one app are kept by different drivers; the one that is named by a table is used there only."""
    for round_ in 1, 2:
        app = make(store="memory://")
        on_disk = app.Table("on_disk", default=int, key_type=str, value_type=int, store="rocksdb")
        in_memory = app.Table("in_memory", default=int, key_type=str, value_type=int)
        done = counting(app, on_disk, in_memory)
        async with app:
            await say(app, done, "a", "b")
            assert [sorted(table.items()) for table in (on_disk, in_memory)] == [[("a", round_), ("b", round_)]] * 2
            files = await asyncio.to_thread(lambda: sorted({path.parent.name for path in tmp_path.rglob("CURRENT")}))
            assert files == [] or {name.rpartition("-")[0] for name in files} == {"on_disk"}
        assert (on_disk.store, in_memory.store) == ("rocksdb://", None)


async def test_a_store_that_does_not_exist(make: Callable[..., App]) -> None:
    """Its name is answered with the nearest one, when the app starts."""
    app = make()
    app.Table("t", store="rocksbd://")
    with pytest.raises(ConfigurationError, match="did you mean rocksdb"):
        await app.start()
    await app.stop()


async def test_a_changelog_is_described(make: Callable[..., App]) -> None:
    """Its name, partitions, replicas and configuration are those of the description, beside what a changelog needs."""
    app = make()
    topic = app.topic("my-changes", partitions=2, retention=5.0, config={"segment.ms": "1000"})
    table = app.Table("t", default=int, changelog_topic=topic, extra_topic_configs={"max.message.bytes": "2000000"})
    done = counting(app, table)
    async with app:
        await say(app, done, "a", "a")
    info = app.cluster.topic("my-changes")  # type: ignore[attr-defined]
    own = {"segment.ms": "1000", "retention.ms": "5000", "max.message.bytes": "2000000"}
    assert info.partitions == 2
    assert (CHANGELOG | own).items() <= dict(info.config).items()
    assert changelog(app, "my-changes") == [("a", 1), ("a", 2)] or changelog(app, "my-changes") == [("a", 2)]


async def test_a_changelog_is_read_by_an_agent(make: Callable[..., App]) -> None:
    """It is one topic then, and made as one."""
    app, seen = make(), asyncio.Queue[Any]()
    changes = app.topic(
        "my-changes", key_type=str, key_serializer="json", value_type=int, on_decode_error="skip"
    )  # claims of owners are no values
    table = app.Table("t", default=int, key_type=str, value_type=int, changelog_topic=changes)
    done = counting(app, table)

    @app.agent(changes)
    async def read(stream: Any) -> None:
        async for event in stream.events():
            if event.value is not None:
                await seen.put((event.key, event.value))

    async with app:
        await say(app, done, "a")
        async with asyncio.timeout(30):
            while (await seen.get()) != ("a", 1):
                pass
    assert app.cluster.topic("my-changes").config["cleanup.policy"] == "compact"  # type: ignore[attr-defined]


@pytest.mark.parametrize("size", [1, 3, 1000])
async def test_a_recovery_writes_as_much_at_a_time_as_is_said(make: Callable[..., App], size: int) -> None:
    """``recovery_buffer_size`` is the number of changelog records that are written together."""
    app = make(topic_partitions=1, store="memory://")
    table = app.Table("t", default=int, key_type=str, value_type=int, recovery_buffer_size=size)
    done = counting(app, table)
    async with app:
        for number in range(7):
            await say(app, done, f"k{number}")
    writes: list[int] = []
    app = make(topic_partitions=1, store=f"{__name__}:Noting://")
    Noting.writes = writes
    table = app.Table("t", default=int, key_type=str, value_type=int, recovery_buffer_size=size)
    counting(app, table)
    async with app:
        assert len(table) == 7
    assert sum(writes) == 7
    assert max(writes) == min(size, 7)


class Noting:
    """A driver that notes how many changes each write has."""

    writes: list[int] = []  # noqa: RUF012 - replaced by the test

    def __init__(self, directory: Path) -> None:
        from stream_core.memory import MemoryStores  # noqa: PLC0415

        self._stores = MemoryStores()

    def open(self, table: str, partition: int) -> Any:
        """Open a store whose writes are noted."""
        store = self._stores.open(table, partition)
        write = store.write

        def noting(changes: Any, *args: Any, **options: Any) -> None:
            if changes:
                Noting.writes.append(len(changes))
            write(changes, *args, **options)

        store.write = noting  # type: ignore[method-assign]
        return store

    def destroy(self, table: str, partition: int) -> None:
        """As the stores of the process."""
        self._stores.destroy(table, partition)

    def close(self) -> None:
        """As the stores of the process."""
        self._stores.close()


@pytest.mark.parametrize("kind", ["sync", "async", "method"])
async def test_changelog_events_are_told(make: Callable[..., App], kind: str) -> None:
    """Each record that a recovery applies is told, in its order, deletions too; and whoever waits for the recovery is called behind it."""
    told: list[Any] = []

    def sync(event: Any) -> None:
        told.append((event.key, event.value, event.message.topic))

    async def later(event: Any) -> None:
        await asyncio.sleep(0)
        sync(event)

    class Telling(App):
        class Table(Table[Any, Any]):
            async def on_changelog_event(self, event: Any) -> None:
                sync(event)

    for round_ in 1, 2:
        app = make(topic_partitions=1)
        options: dict[str, Any] = {"on_changelog_event": sync if kind == "sync" else later}
        if kind == "method":
            app = _again(Telling, app)
            options = {}
        table = app.Table(
            "t", key_type=str, value_type=int, default=int, on_recover=lambda: told.append("recovered"), **options
        )

        @table.on_recover
        async def behind() -> None:
            told.append("recovered, too")

        done = counting(app, table)
        async with app:
            assert told[-2:] == ["recovered", "recovered, too"]
            if round_ == 1:
                assert len(told) == 2
                told.clear()
                await say(app, done, "a", "b")
    assert told == [("a", 1, "app-t-changelog"), ("b", 1, "app-t-changelog"), "recovered", "recovered, too"]


def _again(cls: type[App], app: App) -> App:
    made = cls(app.conf.name, **{name: getattr(app.conf, name) for name in ("broker", "datadir", "web_enabled")})
    made.conf.topic_partitions, made.conf.broker_commit_interval = 1, 0.02
    made.cluster = app.cluster  # type: ignore[attr-defined]
    return made


@pytest.mark.parametrize("what", ["on_changelog_event", "on_recover"])
async def test_a_callback_that_raises_ends_the_worker(make: Callable[..., App], what: str) -> None:
    """It is named, with its record; the table is not worked on as if nothing had happened."""
    app = make(topic_partitions=1)
    done = counting(app, app.Table("t", key_type=str, value_type=int, default=int))
    async with app:
        await say(app, done, "a")

    def broken(*_: Any) -> None:
        raise KeyError("mine")

    app = make(topic_partitions=1)
    counting(app, app.Table("t", key_type=str, value_type=int, default=int, **{what: broken}))
    with pytest.raises(WorkerError, match=f"{what} of table t.*KeyError: 'mine'"):
        await app.start()
    await app.stop()


@pytest.mark.looptime
async def test_a_callback_that_hangs_ends_the_worker(make: Callable[..., App]) -> None:
    """Not for ever does a partition wait for it, and it is named with its record."""
    app = make(topic_partitions=1)
    done = counting(app, app.Table("t", key_type=str, value_type=int, default=int))
    async with app:
        await say(app, done, "a")

    async def hanging(_: Any) -> None:
        await asyncio.Event().wait()

    app = make(topic_partitions=1)
    counting(app, app.Table("t", key_type=str, value_type=int, default=int, on_changelog_event=hanging))
    with pytest.raises(
        WorkerError, match=r"on_changelog_event of table t, at app-t-changelog-0 offset \d has not returned within 60 s"
    ):
        await app.start()
    await app.stop()


async def test_a_value_that_is_none_of_the_table_is_not_told(
    make: Callable[..., App], caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged with its place, and the recovery goes on: the table raises when somebody reads that key."""
    told: list[Any] = []
    app = make(topic_partitions=1)
    done = counting(app, app.Table("t", key_type=str, value_type=int, default=int))
    async with app:
        await say(app, done, "a")
    app = make(topic_partitions=1)
    app.cluster.append(TP("app-t-changelog", 0), [Entry(0, b'"b"', b'"text"')])  # type: ignore[attr-defined]
    done = counting(
        app, app.Table("t", key_type=str, value_type=int, default=int, on_changelog_event=lambda e: told.append(e.key))
    )
    async with app:
        await say(app, done, "a")
        assert app.tables["t"]["a"] == 2
    assert told == ["a"]
    assert "on_changelog_event of table t, at app-t-changelog-0 offset 2, is not told of a value" in caplog.text


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"store": "rocksdb", "options": {"cahce": 1}}, "table t: options has no option 'cahce'; did you mean cache"),
        ({"store": "rocksdb", "options": {"ttl": 1}}, "there is no ttl here: .* come back from the changelog"),
        (
            {"store": "rocksdb", "options": {"cache": "much"}},
            "table t: options: cache='much' is no cache: write a number of bytes",
        ),
        ({"store": "rocksdb://?blom=1"}, "has no option 'blom'; did you mean bloom"),
        ({"store": "memory", "options": {"bloom": 1}}, "memory:// has no options: leave options= out"),
        ({"use_partitioner": True}, "stream.group_by"),
        ({"window": 60}, "windows are what the table gives"),
        ({"is_global": True}, "only tables with partitions"),
        ({"partition": 3}, "did you mean 'partitions'"),
        ({"recovery_buffer_size": 0}, "recovery_buffer_size=0 is not at least 1"),
        ({"standby_buffer_size": 0}, "standby_buffer_size=0 is not at least 1"),
        ({"partitions": 0}, "partitions=0 is not at least 1"),
        ({"extra_topic_configs": {"cleanup.policy": "delete"}}, "would lose state"),
        ({"schema": Schema(str, int), "key_type": str}, "either schema=, or types"),
        (
            {"schema": Reversed(str, int)},
            "does not call loads_value, dumps_value of Reversed: do it in a codec, and give that as key_serializer= or value_serializer=",
        ),
        ({"on_recover": 1}, "write a function"),
    ],
)
def test_what_a_table_does_not_take(make: Callable[..., App], options: dict[str, Any], says: str) -> None:
    """It is refused where it is written, with the reason and what to do instead."""
    with pytest.raises(ConfigurationError, match=says):
        make().Table("t", **options)


def test_descriptions_that_contradict_each_other(make: Callable[..., App]) -> None:
    """A table and its changelog are described alike, and no two tables share one."""
    app = make()
    with pytest.raises(ConfigurationError, match="missing a required argument: 'name'"):
        app.Table(key_type=bytes)  # type: ignore[call-overload]
    with pytest.raises(ConfigurationError, match="say it once"):
        app.Table("t", partitions=3, changelog_topic=app.topic("three", partitions=2))
    with pytest.raises(ConfigurationError, match="several topics"):
        app.Table("t", changelog_topic=app.topic("one", "two"))
    with pytest.raises(ConfigurationError, match="would lose state"):
        app.Table("t", changelog_topic=app.topic("deleting", deleting=True))
    app.Table("first", changelog_topic=app.topic("changes"))
    with pytest.raises(ConfigurationError, match="would share the changelog changes"):
        app.Table("second", changelog_topic=app.topic("changes"))
    assert app.Table("none", options=None, window=None, use_partitioner=False).name == "none"  # type: ignore[call-overload]


def test_a_schema_of_a_table(make: Callable[..., App]) -> None:
    """It gives types and serializers as one object."""
    table = make().Table("t", schema=Schema(str, int))
    assert (table.schema.key_type, table.schema.value_type) == (str, int)
    assert table.schema.encode_value(5) == b"5"
