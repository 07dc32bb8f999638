"""TestDriver: whole apps in plain functions, with a clock and a broker of the test's own."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import pytest

import stream_app as faust
from stream_app.driver import DeadLetter
from stream_core.errors import ConfigurationError, EncodeError, UnknownTopicError
from stream_core.memory import MemoryCluster

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)


class Order(faust.Record):
    """An order."""

    account: str
    amount: int


app = faust.App("driven", broker="kafka://nowhere:1", store="rocksdb://", topic_partitions=4)
orders = app.topic("orders", key_type=str, value_type=Order)
large = app.topic("large", key_type=str, value_type=Order)
totals: faust.Table[str, int] = app.Table("totals", key_type=str, value_type=int, default=int)


@app.agent(orders)
async def count(stream: faust.Stream[Order]) -> Any:
    """Count what each account orders, and send on what is large."""
    async for event in stream.group_by(Order.account).events():
        order = event.value
        if order.amount < 0:
            raise ValueError(f"{order.amount} is not an amount")
        totals[order.account] += order.amount
        if order.amount >= 100:
            await large.send(order, key=order.account, headers={"by": b"count"})
        yield totals[order.account]


def small(name: str = "small", **settings: Any) -> faust.App:
    """An app of one test."""
    return faust.App(name, broker="kafka://nowhere:1", **settings)


@pytest.mark.parametrize("guarantee", ["at_least_once", "exactly_once"])
def test_a_call_returns_when_all_that_follows_is_done(guarantee: Literal["at_least_once", "exactly_once"]) -> None:
    """Behind produce() events have gone through group_by, tables are changed, and outputs are there, committed."""
    with faust.TestDriver(app, now=NOON, processing_guarantee=guarantee) as driver:
        driver.produce(orders, Order("joe", 1), key="o1")
        driver.produce(orders, Order("joe", 100), key="o2")
        assert driver.table(totals) == {"joe": 101}
        (out,) = driver.outputs(large)
        assert (out.key, out.value, out.headers) == ("joe", Order("joe", 100), {"by": b"count"})
        assert out.timestamp == driver.now == NOON.timestamp()


@pytest.mark.parametrize("turn", [1, 2])
def test_each_driver_begins_with_nothing(turn: int) -> None:
    """One test does not see what another has done with the same app, whose settings and clusters are left as they were."""
    clusters = set(MemoryCluster._clusters)
    with faust.TestDriver(app) as driver:
        assert (driver.table(totals), driver.outputs(orders)) == ({}, [])
        driver.produce(orders, Order("joe", turn))
        assert driver.table(totals) == {"joe": turn}
        assert app.conf.broker_scheme == "memory"
    assert app.conf.broker_scheme == "kafka"
    assert not app.running
    assert set(MemoryCluster._clusters) == clusters


def test_records_are_read_once_or_again() -> None:
    """outputs() has all records, new_outputs() those since its last call; both decode by name, too."""
    with faust.TestDriver(app, now=NOON) as driver:
        driver.produce("orders", Order("joe", 200), key="o1")
        assert [one.value.amount for one in driver.new_outputs(large)] == [200]
        driver.produce(orders, Order("ann", 300), key="o2", timestamp=NOON)
        assert [one.value.amount for one in driver.new_outputs(large)] == [300]
        assert driver.new_outputs("large") == []
        assert {one.value.amount for one in driver.outputs("large")} == {200, 300}
        assert driver.outputs(orders)[0].key in {"o1", "o2"}


def test_records_may_come_one_right_after_the_other() -> None:
    """With wait=False what follows from a record happens in a later call."""
    with faust.TestDriver(app) as driver:
        for _ in range(3):
            driver.produce(orders, Order("joe", 1), wait=False)
        assert driver.table(totals) == {}
        driver.settle()
        assert driver.table(totals) == {"joe": 3}


# -- failures


def failing(policy: Any) -> tuple[faust.App, Any, list[int]]:
    """An app whose agent fails at a negative number; with the numbers that it has tried."""
    one, tried = small(), list[int]()
    numbers = one.topic("numbers", key_type=str, value_type=int)

    @one.agent(numbers, on_failure=policy)
    async def check(stream: faust.Stream[int]) -> None:
        async for number in stream:
            tried.append(number)
            if number < 0:
                raise ValueError(f"{number} is negative")

    return one, numbers, tried


def test_an_error_of_a_body_is_raised_by_the_call() -> None:
    """It is the error itself, with a note that names agent, partition and offset; restart() goes on, with the same event."""
    one, numbers, tried = failing("crash")
    with faust.TestDriver(one) as driver:
        driver.produce(numbers, 1, partition=0)
        with pytest.raises(ValueError, match="-1 is negative") as caught:
            driver.produce(numbers, -1, partition=0)
        assert "check[0] failed at numbers-0 offset 1" in caught.value.__notes__[0]
        with pytest.raises(ValueError, match="-1 is negative"):  # the worker has ended
            driver.produce(numbers, 2, partition=0)
        with pytest.raises(ValueError, match="-1 is negative"):
            driver.restart()
    assert tried == [1, -1, -1]


def test_an_error_that_no_call_has_raised_is_raised_at_the_end() -> None:
    """What fails in the last moment does not go unnoticed."""
    one, numbers, _ = failing("crash")

    def unnoticed() -> None:
        with faust.TestDriver(one) as driver:
            driver.produce(numbers, -1, wait=False)
            driver.outputs(numbers)  # the body fails meanwhile

    with pytest.raises(ValueError, match="-1 is negative"):
        unnoticed()


def test_events_that_are_skipped_are_no_errors() -> None:
    """Under the policy skip the next event is worked on."""
    one, numbers, tried = failing("skip")
    with faust.TestDriver(one) as driver:
        driver.produce(numbers, -1)
        driver.produce(numbers, 2)
        assert (tried, driver.dead_letters) == ([-1, 2], [])


def test_dead_letters_say_what_has_failed() -> None:
    """They are decoded, in order, with the place of the event and the error."""
    one, numbers, tried = failing("dead_letter")
    with faust.TestDriver(one) as driver:
        driver.produce(numbers, -1, key="k", partition=3, headers={"h": b"1"})
        driver.produce(numbers, 2)
        (letter,) = driver.dead_letters
        assert letter == DeadLetter(
            key="k",
            value=-1,
            headers={"h": b"1"},
            topic="numbers",
            partition=3,
            offset=0,
            agent=letter.agent,
            error_type="ValueError",
            error_message="-1 is negative",
        )
        assert tried == [-1, 2]


def test_a_policy_with_attempts_takes_no_time() -> None:
    """The pauses between attempts pass at once; the clock of the driver shows them."""
    one, numbers, tried = failing(faust.FailurePolicy.retry(attempts=3, delay=30.0))
    with faust.TestDriver(one) as driver:
        before = driver.now
        with pytest.raises(ValueError, match="-1 is negative"):
            driver.produce(numbers, -1)
        assert tried == [-1] * 4
        assert driver.now - before >= 60


def test_a_value_that_cannot_be_decoded_follows_its_policy() -> None:
    """The letter has the bytes."""
    one = small()
    numbers = one.topic("numbers", value_type=int, on_decode_error="dead_letter")
    one.agent(numbers)(_ignore)
    with faust.TestDriver(one) as driver:
        driver.produce("numbers", "no number")
        (letter,) = driver.dead_letters
        assert (letter.value, letter.error_type) == (b'"no number"', "stream_core.errors.DecodeError")


async def _ignore(stream: faust.Stream[Any]) -> None:
    async for _ in stream:
        pass


def test_an_agent_that_never_finishes_is_named() -> None:
    """The message says which agent, which event, and in which line it waits."""
    one = small()
    numbers = one.topic("numbers", value_type=int)

    @one.agent(numbers)
    async def hang(stream: faust.Stream[int]) -> None:
        async for _ in stream:
            await asyncio.Event().wait()

    expected = r"agent .*hang\[0\] has not finished the event at numbers-0 offset 0 \(it waits in: .*test_driver.py.*\) within 60 s"
    with faust.TestDriver(one, timeout=60) as driver, pytest.raises(TimeoutError, match=expected):
        driver.produce(numbers, 1, partition=0)


# -- time


def test_time_passes_when_it_is_told_to() -> None:
    """Timers, calendars and lists of take() go by the clock of the driver."""
    one = small()
    numbers = one.topic("numbers", value_type=int)
    done: list[Any] = []

    @one.agent(numbers)
    async def batch(stream: faust.Stream[int]) -> None:
        async for values in stream.take(10, within=5):
            done.append(values)

    @one.timer(20)
    async def tick() -> None:
        done.append("tick")

    @one.crontab("1 12 * * *")
    async def at_noon() -> None:
        done.append("noon")

    with faust.TestDriver(one, now=NOON) as driver:
        driver.produce(numbers, 1, partition=0)
        driver.produce(numbers, 2, partition=0)
        assert done == []
        driver.advance(5)
        assert done == [[1, 2]]
        driver.advance(timedelta(seconds=54))
        assert done == [[1, 2], "tick", "tick"]
        driver.advance(1)
        assert sorted(done[3:]) == ["noon", "tick"]
        assert driver.now == NOON.timestamp() + 60
        with pytest.raises(ValueError, match="time cannot be moved by -1 seconds"):
            driver.advance(-1)


def test_what_a_body_waits_for_does_not_wait() -> None:
    """A sleep in an event takes no real time, and the work of threads is waited for, which takes none of the driver's until it is done."""
    one = small()
    numbers = one.topic("numbers", value_type=int)
    done: list[int] = []
    go_on = threading.Event()

    @one.agent(numbers)
    async def slow(stream: faust.Stream[int]) -> None:
        async for number in stream:
            await asyncio.sleep(200)
            threading.Timer(0.1, go_on.set).start()
            assert await asyncio.to_thread(go_on.wait, 20)
            done.append(number)

    with faust.TestDriver(one) as driver:
        before = driver.now
        driver.produce(numbers, 1)
        assert done == [1]
        assert 200 <= driver.now - before < 230


def test_windows_end_by_the_clock() -> None:
    """What a window holds is read in the app, which has the time of the driver."""
    one = small()
    hits = one.topic("hits", key_type=str, value_type=str)
    pages = one.Table("pages", key_type=str, value_type=int, default=int).tumbling(60.0, expires=600.0)

    @one.agent(hits)
    async def hit(stream: faust.Stream[str]) -> None:
        async for page in stream:
            pages[page] += 1

    with faust.TestDriver(one, now=NOON) as driver:
        driver.produce(hits, "/home", key="/home")
        driver.produce(hits, "/home", key="/home")
        assert driver.run(lambda: pages["/home"].now()) == 2
        driver.advance(60)
        driver.produce(hits, "/home", key="/home")
        assert driver.run(lambda: pages["/home"].now()) == 1
        wrong: Any = pages
        with pytest.raises(
            ConfigurationError, match=r'read them at a time, as in driver.run\(lambda: pages\["key"\].now\(\)\)'
        ):
            driver.table(wrong)
        with pytest.raises(ConfigurationError, match="let events fill them"):
            driver.fill(wrong, {"/home": 1})


def test_a_start_on_an_empty_broker_warns_of_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is missing from the changelogs of an app whose windows and timers have not worked yet."""
    one = small()
    hits = one.topic("hits", key_type=str, value_type=str)
    pages = one.Table("pages", key_type=str, value_type=int, default=int).tumbling(60.0, expires=600.0)

    @one.agent(hits)
    async def hit(stream: faust.Stream[str]) -> None:
        async for page in stream:
            pages[page] += 1

    @one.timer(30.0)
    async def tick() -> None:
        """Do nothing."""

    with faust.TestDriver(one) as driver:
        driver.produce(hits, "/home", key="/home")
    assert not caplog.records


# -- workers


def test_a_crash_does_again_what_was_not_committed() -> None:
    """Without commits a crash forgets tables and offsets, and the next worker does the events again; with them it does nothing again."""
    for commit, sent in ((False, 2), (True, 1)):
        with faust.TestDriver(app, commit=commit) as driver:
            driver.produce(orders, Order("joe", 100), key="o1")
            driver.crash()
            assert not driver.workers[0].running
            driver.produce(orders, Order("ann", 5), key="o2")  # it waits on the broker
            driver.restart()
            assert driver.table(totals)["joe"] >= 100
            assert driver.table(totals)["ann"] == 5
            assert len(driver.outputs(large)) >= sent


def test_exactly_once_a_crash_doubles_nothing() -> None:
    """What an aborted transaction has sent is in no output, and nothing is counted twice."""
    with faust.TestDriver(app, commit=False, processing_guarantee="exactly_once") as driver:
        driver.produce(orders, Order("joe", 100), key="o1")
        assert driver.outputs(large) == []
        driver.crash()
        driver.restart()
        driver.commit()
        assert driver.table(totals) == {"joe": 100}
        assert len(driver.outputs(large)) == 1


def test_workers_share_the_partitions() -> None:
    """Another worker takes some over, with their tables; when it crashes or stops the first one has all again."""
    with faust.TestDriver(app) as driver:
        for name in "abcdefgh":
            driver.produce(orders, Order(name, 1), key=name)
        first, second = driver.workers[0], driver.add_worker()
        assert first.partitions
        assert second.partitions
        assert not first.partitions & second.partitions
        for name in "abcdefgh":
            driver.produce(orders, Order(name, 1), key=name)
        assert driver.table(totals) == dict.fromkeys("abcdefgh", 2)
        second.crash()
        driver.add_worker().stop()
        driver.rebalance()
        assert driver.table(totals) == dict.fromkeys("abcdefgh", 2)
        driver.restart()
        assert len(driver.workers[2].partitions | driver.workers[1].partitions | first.partitions) == 8
        assert len([worker for worker in driver.workers if worker.running]) == 3


def test_two_apps_share_a_broker() -> None:
    """What one sends the other reads, before produce() returns."""
    one, other = small("one"), small("other")
    numbers, squares = one.topic("numbers", value_type=int), one.topic("squares", value_type=int)
    seen: list[int] = []

    @one.agent(numbers, sink=[squares])
    async def square(stream: faust.Stream[int]) -> Any:
        async for number in stream:
            yield number * number

    @other.agent(other.topic("squares", value_type=int))
    async def see(stream: faust.Stream[int]) -> None:
        async for number in stream:
            seen.append(number)

    with faust.TestDriver(one, other) as driver:
        driver.produce(square, 3)
        assert seen == [9]
        assert [worker.app for worker in driver.workers] == [one, other]


def test_hooks_signals_and_services_belong_to_it() -> None:
    """The first worker is the app: what starts and stops with it does."""
    told: list[str] = []

    class Shop(faust.App):
        async def on_start(self) -> None:
            told.append("start")

        async def on_stop(self) -> None:
            told.append("stop")

    one = Shop("hooks", broker="kafka://nowhere:1")

    @one.service
    class Greeter(faust.Service):
        async def on_start(self) -> None:
            told.append("service")

    @one.on_before_shutdown.connect
    async def leaving(app: faust.App, **_: Any) -> None:
        told.append(f"before {app.id} leaves")

    with faust.TestDriver(one):
        assert told == ["start", "service"]
    assert told == ["start", "service", "before hooks leaves", "stop"]


# -- contents, questions, channels


def test_tables_can_be_given_contents() -> None:
    """fill() sets values as events do, in the partition in which events of the same key look."""
    one = small()
    customers = one.Table("customers", key_type=str, value_type=str)
    visits = one.topic("visits", key_type=str, value_type=int)
    greeted: list[str] = []

    @one.agent(visits)
    async def greet(stream: faust.Stream[int]) -> None:
        async for event in stream.events():
            greeted.append(customers[event.key])

    with faust.TestDriver(one) as driver:
        driver.fill(customers, {"c1": "Joe", "c2": "Ann"})
        driver.produce(visits, 1, key="c1")
        driver.produce(visits, 1, key="c2")
        assert greeted == ["Joe", "Ann"]
        driver.crash()
        driver.restart()
        assert driver.table(customers) == {"c1": "Joe", "c2": "Ann"}


def test_agents_are_asked() -> None:
    """ask() gives the answer; run() takes any coroutine or function, in the app."""
    with faust.TestDriver(app) as driver:
        assert driver.run(lambda: 5) == 5
        assert driver.run(orders.send(Order("joe", 7), key="o")) is not None
        assert driver.table(totals) == {"joe": 7}


@pytest.mark.parametrize("read", ["by an agent", "by nobody else"])
def test_channels_are_left_empty(read: str) -> None:
    """What one test has sent to a channel is not read by the next one, nor is a sender held up by a stream that the test has left."""
    one = small()
    channel = one.channel(value_type=int, maxsize=2)

    @one.agent(channel if read == "by an agent" else None)
    async def see(stream: faust.Stream[int]) -> None:
        async for _ in stream:
            pass

    async def first_of(value: int) -> int:
        waiting = asyncio.ensure_future(channel.get(timeout=5.0))
        await asyncio.sleep(0)
        await channel.put(value)
        await channel.put(100 + value)
        return (await waiting).value

    left = []
    for turn in range(3):
        with faust.TestDriver(one) as driver:
            assert driver.run(channel.empty)
            assert driver.run(first_of(turn)) == turn
            assert not driver.run(channel.empty)
            left.append(driver.run(channel.stream))


def test_channels_are_produced_to() -> None:
    """An agent of a channel has worked when produce() returns."""
    one = small()
    seen: list[int] = []
    channel = one.channel(value_type=int)

    @one.agent(channel)
    async def see(stream: faust.Stream[int]) -> Any:
        async for number in stream:
            seen.append(number)
            yield number + 1

    with faust.TestDriver(one) as driver:
        driver.produce(channel, 1)
        driver.produce(see, 2)
        assert seen == [1, 2]
        assert driver.ask(see, 3) == 4


def test_patterns_find_topics_that_are_created() -> None:
    """A topic that appears is read after the next look for new ones."""
    one = small()
    seen: list[str] = []

    @one.agent(one.topic(pattern="logs-.*", value_type=str))
    async def read(stream: faust.Stream[str]) -> None:
        async for event in stream.events():
            seen.append(event.message.topic)

    with faust.TestDriver(one) as driver:
        driver.create_topic("logs-a")
        driver.produce("logs-a", "hello")
        driver.advance(one.conf.topic_discovery_interval)
        assert seen == ["logs-a"]


# -- a broker that fails


def test_a_broker_that_fails_is_asked_again(caplog: pytest.LogCaptureFixture) -> None:
    """What the app sends and commits fails; what the driver writes arrives, and everything is done in the end."""
    with faust.TestDriver(app) as driver, caplog.at_level(logging.CRITICAL):
        driver.broker.fail("produce", times=2)
        driver.produce(orders, Order("joe", 100), key="o1")
        driver.broker.fail("txn_offset_commit")
        driver.broker.fail("offset_fetch")
        driver.broker.fail("fetch", times=3)
        driver.produce(orders, Order("ann", 100), key="o2")
        assert driver.table(totals) == {"joe": 100, "ann": 100}
        with pytest.raises(ConfigurationError, match="no operation 'praise' can fail"):
            driver.broker.fail("praise")


# -- sentences


def test_wrong_use_is_explained() -> None:
    """Each mistake has a sentence that says what to do."""
    with pytest.raises(ConfigurationError, match=r"a TestDriver needs an app"):
        faust.TestDriver()
    with pytest.raises(ConfigurationError, match=r"leave broker= out"):
        faust.TestDriver(app, broker="kafka://x")
    driver = faust.TestDriver(app)
    with pytest.raises(ConfigurationError, match=r"the driver is not open"):
        driver.settle()
    with driver:
        with pytest.raises(ConfigurationError, match="this TestDriver is open"):
            driver.__enter__()
        with pytest.raises(ConfigurationError, match="app driven runs already"):
            faust.TestDriver(app).__enter__()
        with pytest.raises(UnknownTopicError, match="topic nowhere does not exist"):
            driver.produce("nowhere", 1)
        with pytest.raises(EncodeError, match="topic orders"):
            driver.produce(orders, object())
        with pytest.raises(EncodeError, match="no partition 9"):
            driver.produce(orders, Order("a", 1), partition=9)
        with pytest.raises(ConfigurationError, match="no worker has the partition of 'x'"):
            driver.fill(totals, {"x": 1}, partition=77)
        nothing: Any = "totals"
        with pytest.raises(ConfigurationError, match="'totals' is not a table"):
            driver.table(nothing)
        with pytest.raises(ConfigurationError, match="'totals' is not a table"):
            driver.fill(nothing, {"x": 1})
        wrong: Any = totals
        with pytest.raises(ConfigurationError, match="is not a topic: give one, or its name"):
            driver.outputs(wrong)
        with pytest.raises(ConfigurationError, match="is not a topic, agent or channel"):
            driver.produce(wrong, 1)
        with pytest.raises(UnknownTopicError, match="topic nowhere does not exist"):
            driver.broker.damage("nowhere", 0)
        with pytest.raises(ConfigurationError, match="and no partition 9"):
            driver.broker.damage("orders", 9)
        with pytest.raises(ConfigurationError, match="app small is none of this TestDriver"):
            driver.add_worker(small())
        assert len(driver.workers) == 1
    with pytest.raises(ConfigurationError, match="an app is given twice"):
        faust.TestDriver(app, app)
    with pytest.raises(ConfigurationError, match="a TestDriver runs apps"):
        faust.TestDriver(wrong)


async def test_it_is_for_plain_functions() -> None:
    """Inside of an event loop it says how to write the test."""
    with pytest.raises(ConfigurationError, match="write the test as a plain function"):
        faust.TestDriver(app).__enter__()


def test_it_belongs_to_one_thread() -> None:
    """Another thread is refused with a sentence."""
    refused: list[str] = []

    def elsewhere() -> None:
        for call in (
            driver.settle,
            lambda: driver.produce(orders, Order("a", 1)),
            lambda: driver.run(asyncio.sleep(0)),
            driver.crash,
        ):
            try:
                call()
            except ConfigurationError as error:
                refused.append(str(error))

    with faust.TestDriver(app) as driver:
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join(20)
        gc.collect()  # a coroutine that is left over warns here
    assert refused == ["a TestDriver belongs to the thread that has opened it: use it there only"] * 4


def test_a_start_that_fails_gives_the_app_back() -> None:
    """The error is raised as it is, and the app can be driven again."""
    one = small()
    broken = [True]

    @one.on_partitions_assigned.connect
    async def look(app: faust.App, assigned: Any, **_: Any) -> None:
        del app, assigned

    @one.service
    class Fragile(faust.Service):
        async def on_start(self) -> None:
            if broken:
                raise RuntimeError("not today")

    one.agent(one.topic("t", value_type=int))(_ignore)
    with pytest.raises(RuntimeError, match="not today"):
        faust.TestDriver(one).__enter__()
    assert one.conf.broker_scheme == "kafka"
    broken.clear()
    with faust.TestDriver(one) as driver:
        driver.produce("t", 1)


async def test_the_context_of_one_agent_waits_behind_group_by() -> None:
    """put() returns when both halves are done: the table is changed, and the result is there, as the guide on testing shows."""
    async with count.test_context() as agent:
        order = Order("joe", 5)
        event = await agent.put(order, key="o1")
        assert totals["joe"] == 5
        assert agent.results[event.message.offset] == 5
        await agent.put(order, key="o2")
        assert totals["joe"] == 10
        with pytest.raises(ValueError, match="-1 is not an amount"):
            await agent.put(Order("joe", -1), key="o3")


def test_an_app_that_never_comes_to_rest_is_named() -> None:
    """An agent that goes on for ever is told from one that waits."""
    one = small()
    numbers = one.topic("numbers", value_type=int)

    @one.agent(numbers)
    async def spin(stream: faust.Stream[int]) -> None:
        async for _ in stream:
            while True:  # noqa: ASYNC110 - it waits for nothing
                await asyncio.sleep(0)

    expected = r"tasks go on without ever waiting for anything: agent .*spin\[0\] has not finished the event at numbers-0 offset 0"
    with pytest.raises(TimeoutError, match=expected), faust.TestDriver(one, timeout=0.5) as driver:
        driver.produce(numbers, 1, partition=0)
