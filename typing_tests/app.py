"""User code of an app as a type checker sees it; never run."""

from datetime import timedelta
from typing import Any, assert_type

import stream_app as faust
from stream_app.cli import AppCommand, argument, option
from stream_tables.windows.table import WindowedTable, WindowSet


class Deposit(faust.Record):
    account: str
    amount: int


app = faust.App("bank", broker="kafka://localhost:9092", store="rocksdb://")
deposits = app.topic("deposits", key_type=str, value_type=Deposit, partitions=4)
echo = app.topic("echo", key_type=str)
totals: faust.Table[str, int] = app.Table("totals", default=int, key_type=str, value_type=int)

assert_type(deposits, faust.Topic[str, Deposit])
assert_type(echo, faust.Topic[str, Any])
assert_type(app.channel(), faust.Channel[Any, Any])
assert_type(app.channel(value_type=Deposit), faust.Channel[Any, Deposit])
assert_type(app.channel(key_type=bytes, value_type=Deposit), faust.Channel[bytes, Deposit])
assert_type(totals["a"], int)
assert_type(totals.get("a"), int | None)
assert_type(totals.get("a", 0), int)

views = app.Table("views", default=int, key_type=str, value_type=int).tumbling(60.0, expires=timedelta(hours=1))
hops = app.Table("hops", default=int, key_type=str, value_type=int).hopping(60, 10, late="dead_letter")
assert_type(views, WindowedTable[str, int])
assert_type(hops.relative_to_field(Deposit.amount), WindowedTable[str, int])
assert_type(hops.relative_to_now(), WindowedTable[str, int])
assert_type(views["a"], WindowSet[str, int])
assert_type(views["a"].value(), int)
assert_type(views["a"].delta(timedelta(minutes=5)), int)
assert_type(views["a"][0.0, 59.9], int)
assert_type(dict(views.items().now()), dict[str, int])
views["a"] += 1
views["a"] += "1"  # type: ignore[arg-type]
views["a"] = 1
views["a"] = "1"  # type: ignore[assignment]
views[1] += 1  # type: ignore[index]
app.Table("wrong").tumbling("60")  # type: ignore[arg-type]
app.Table("wrong").tumbling(60, late="never")  # type: ignore[arg-type]
app.topic("wrong", partition=3)  # type: ignore[call-overload]
app.agent("wrong", concurency=2)  # type: ignore[call-overload]
app.agent("wrong", partitions="2")  # type: ignore[call-overload]
app.Table("wrong", defualt=int)  # type: ignore[call-overload]
app.channel(max_size=3)  # type: ignore[call-overload]
assert_type(deposits.derive_topic(suffix="-old"), faust.Topic[Any, Any])
deposits.derive_topic(sufix="-old")  # type: ignore[call-arg]
deposits.derive_topic(partitions="2")  # type: ignore[arg-type]
deposits.send_soon(callback=lambda sent: print(sent.result().offset), value_serializer="json")
deposits.send_soon(callback=1)  # type: ignore[arg-type]
app.timer("1s")  # type: ignore[arg-type]
app.timer(1.0, on_leeder=True)  # type: ignore[call-arg]
faust.App("wrong", brokr="kafka://a")  # type: ignore[call-arg]
faust.App("wrong", web_port="6066")  # type: ignore[arg-type]
faust.App("wrong", processing_guarantee="twice")  # type: ignore[arg-type]
faust.Worker(app, loglevl="info")  # type: ignore[call-arg]


class Settings(faust.Settings):
    """Settings of one's own."""


class OwnApp(faust.App):
    """An app with more settings names them in its constructor."""

    Settings = Settings

    def __init__(self, name: str, **options: Any) -> None:
        super().__init__(name, **options)


OwnApp("own", token="t")
assert_type(app.conf.broker_commit_interval, float)
assert_type(app.conf.broker, list[str])


@app.agent(deposits)
async def count(stream: faust.Stream[Deposit]) -> None:
    async for event in stream.events():
        assert_type(event, faust.Event[Deposit])
        assert_type(event.value.amount, int)
        totals[event.value.account] += event.value.amount
        metadata = await (await echo.send(key=event.value.account, value=1))
        assert_type(metadata, faust.RecordMetadata)


assert_type(count, faust.Agent)


@app.agent
async def bare(stream: faust.Stream[Any]) -> None:
    async for _ in stream:
        pass


assert_type(bare, faust.Agent)
assert_type(app.topic("a", "b", value_type=int), faust.Topic[Any, int])


@app.task
async def once() -> None: ...


@app.task(on_leader=True)
async def leading(app: faust.App) -> None: ...


@app.timer(10.0)
async def tick() -> None: ...


@app.command(argument("account"), option("--amount", type=int, default=1))
async def deposit(self: AppCommand, account: str, amount: int) -> None:
    self.say(account)
    await echo.send(key=account, value=amount)


@app.command
async def plain() -> int:
    return 1


@app.command()
class Show(AppCommand):
    options = (argument("account"),)

    async def run(self, account: str) -> None:
        self.say(self.tabulate([(account, 1)], headers=["account", "amount"]))


async def call() -> None:
    assert_type(await plain(), int)
