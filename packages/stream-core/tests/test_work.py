"""Work that no record brings: units of work counted beside the offsets, tasks that live as long as their shard, and idle inputs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from stream_core import failpoints
from stream_core.engine.engine import Engine
from stream_core.engine.participants import Interval, Reading, Shard
from stream_core.engine.work import Work
from stream_core.errors import DeadlineError, IllegalStateError, ProduceError, WorkerError
from stream_core.primitives import TP, Offset
from stream_core.runs import Run
from stream_core.streams.metadata import CommitMetadata, Identity, without_identity
from stream_core.streams.stream import Stream
from stream_core.streams.units import UNITS, UnitCount
from stream_core.testing import ManualClock

from .harness import GROUP, Lab
from .ledger import Ledger
from .test_checkpoint import both, settings_for

pytestmark = pytest.mark.looptime

SOURCE = TP("numbers", 0)
READING = Reading(SOURCE, UNITS)


@pytest.fixture(autouse=True)
def disarmed() -> Iterator[None]:
    """No failpoint outlives its test."""
    yield
    failpoints.arm("")


Task = Callable[[Work], Awaitable[None]]


class Timed(Ledger):
    """A ledger that also counts what no record brings.

    Args:
        task: what it does as long as the shard runs; nothing when left out.
    """

    def __init__(self, task: Task | None = None) -> None:
        super().__init__()
        self.task = task
        self.works: list[Work] = []
        self.go = asyncio.Event()

    @property
    def has_work(self) -> bool:
        """It has."""
        return True

    def running(self, shard: Shard, work: Work) -> None:
        """Begin the task."""
        self.works.append(work)
        if self.task is not None:
            work.spawn(self._run(self.task, work), "timer")

    async def _run(self, task: Task, work: Work) -> None:
        await self.go.wait()
        await task(work)

    @property
    def work(self) -> Work:
        """Of the shard that was opened last."""
        return self.works[-1]

    async def add_one(self) -> None:
        """Count one, in a unit."""
        async with self.work.unit("timer", "tick"):
            self.add()


class Scene:
    """An agent that reads numbers, and a ledger with work.

    Args:
        lab: where.
        task: of the ledger.
    """

    def __init__(self, lab: Lab, task: Task | None = None) -> None:
        self.lab = lab
        self.numbers = lab.topic("numbers")
        self.out = lab.topic("out")
        self.ledger = Timed(task)

    async def start(self, **settings: Any) -> Engine:
        """Start an engine, with a ledger of its own memory on the same disk."""
        self.ledger.works.clear()
        agent = self.lab.agent(self.read, self.numbers)
        engine = await self.lab.start([agent], [self.out], [self.ledger], commit_interval=1000.0, **settings)
        self.ledger.go.set()  # else a task might fail while the engine starts, which is told to whoever starts it
        return engine

    async def read(self, stream: Stream[int]) -> None:
        """Read."""
        async for _ in stream:
            pass

    def offset(self) -> Offset:
        """What is committed."""
        offset = self.lab.committed(self.numbers)
        assert offset is not None
        return offset

    def count(self) -> int:
        """The committed count of units."""
        count = CommitMetadata.decode(self.offset().metadata).units
        assert count is not None
        return count


# -- the count of units


@both
async def test_units_are_committed_where_no_event_is(lab: Lab, guarantee: str) -> None:
    """The offset stays, its metadata counts the interval, and the changes name that interval; without units nothing is committed."""
    scene = Scene(lab)
    engine = await scene.start(**settings_for(guarantee))
    first = scene.count()
    assert scene.offset().offset == 0
    assert not await engine.checkpoint()

    await scene.ledger.add_one()
    await scene.ledger.add_one()
    assert await engine.checkpoint()
    assert (scene.offset().offset, scene.count()) == (0, first + 1)
    assert scene.ledger.intervals == [{READING: Interval(first, first + 1)}]
    assert not await engine.checkpoint()

    lab.put(scene.numbers, [1])
    await lab.until(lambda: engine.ownership.sessions[SOURCE].position == 1, "the event is finished")
    assert await engine.checkpoint()
    assert (scene.offset().offset, scene.count()) == (1, first + 1)
    assert scene.ledger.intervals[-1] == {Reading(SOURCE, "read"): Interval(0, 1)}
    assert scene.ledger.stored == 2


@both
async def test_the_next_owner_is_told_the_count(lab: Lab, guarantee: str) -> None:
    """As the committed position of one more reading: by it, recovery knows which changes count."""
    scene = Scene(lab)
    engine = await scene.start(**settings_for(guarantee))
    first = scene.count()
    assert scene.ledger.committed_readings[-1][READING] == first
    await scene.ledger.add_one()
    await lab.stop(engine)
    await scene.start(**settings_for(guarantee))
    assert scene.ledger.committed_readings[-1][READING] == first + 1
    assert scene.ledger.stored == 1


@both
async def test_a_unit_that_only_sends_is_committed(lab: Lab, guarantee: str) -> None:
    """Its send is there with the count, which is what fences an owner that was replaced."""
    scene = Scene(lab)
    engine = await scene.start(**settings_for(guarantee))
    first = scene.count()
    async with scene.ledger.work.unit("timer", "tick"):
        await scene.out.send(value="tick")
    assert await engine.checkpoint()
    assert lab.values(scene.out) == ["tick"]
    assert scene.count() == first + 1


@both
async def test_a_unit_that_is_open_at_a_cut_belongs_to_the_next_interval(lab: Lab, guarantee: str) -> None:
    """The count of the interval before does not have it."""
    scene = Scene(lab)
    engine = await scene.start(**settings_for(guarantee))
    first = scene.count()
    async with scene.ledger.work.unit("timer", "tick"):
        scene.ledger.add()
        await engine.checkpoint()
        assert (scene.count(), scene.ledger.stored) == (first, 0)
    assert await engine.checkpoint()
    assert scene.count() == first + 1
    assert scene.ledger.stored == 1


@both
async def test_a_unit_that_failed_is_not_counted(lab: Lab, guarantee: str) -> None:
    """What it changed is taken back."""
    scene = Scene(lab)
    engine = await scene.start(**settings_for(guarantee))
    first = scene.count()
    with suppress(ZeroDivisionError):
        async with scene.ledger.work.unit("timer", "tick"):
            scene.ledger.add()
            raise ZeroDivisionError
    assert not await engine.checkpoint()
    assert (scene.count(), scene.ledger.count) == (first, 0)


@both
@pytest.mark.parametrize("step", ["cut", "changelog", "acked", "committed"])
async def test_a_count_is_committed_with_what_it_counts(lab: Lab, guarantee: str, step: str) -> None:
    """A checkpoint that fails at a step has counted the unit when the offsets were committed, and only then."""
    scene = Scene(lab)
    engine = await scene.start(**settings_for(guarantee))
    first, works = scene.count(), len(scene.ledger.works)
    await scene.ledger.add_one()
    failpoints.arm(f"checkpoint.{step}:raise")
    assert not await engine.checkpoint()
    assert scene.count() == first + (step == "committed")
    await lab.until(lambda: len(scene.ledger.works) > works, "the shard is opened again")
    assert scene.ledger.committed_readings[-1][READING] == scene.count()


@both
async def test_an_owner_that_was_replaced_commits_no_unit(lab: Lab, guarantee: str) -> None:
    """Where no event was finished, either: the offset that is committed with the count is what the broker refuses."""
    scene = Scene(lab)
    engine = await scene.start(**settings_for(guarantee))
    first, works, group = scene.count(), len(scene.ledger.works), engine.ownership.group
    async with scene.ledger.work.unit("timer", "tick"):
        scene.ledger.add()
        await scene.out.send(value="tick")
    assert group is not None
    failpoints.action("replace", lambda: lab.cluster.group(GROUP).leave(group.member))  # its last heartbeat is young
    failpoints.arm("checkpoint.acked:replace")
    assert not await engine.checkpoint()
    assert (scene.count(), scene.ledger.stored) == (first, 0)
    assert guarantee == "at_least_once" or lab.values(scene.out) == []
    await lab.until(lambda: len(scene.ledger.works) > works, "it is a member again")
    assert scene.ledger.count == 0


async def test_a_missing_count_is_committed_before_anything_counts(lab: Lab) -> None:
    """As where offsets were set by hand, or by a version without a count: it begins above all that it was, and leads are kept."""
    scene = Scene(lab)
    engine = await scene.start()
    first = scene.count()
    await scene.ledger.add_one()
    await lab.stop(engine)
    lab.put(scene.numbers, range(7))
    lab.cluster.group(GROUP).offsets.commit({SOURCE: Offset(0, CommitMetadata({"other": 7}).encode(SOURCE))})
    run = Run("app", ManualClock(now=first / 1000 + 3600))
    await scene.start(run=run)
    assert scene.count() == first + 3_600_000
    assert CommitMetadata.decode(scene.offset().metadata).leads == {"other": 7}
    assert scene.ledger.committed_readings[-1][READING] == scene.count()


async def test_nobody_counts_where_there_is_no_such_work(lab: Lab) -> None:
    """A count that is there stays; where there is none, none is begun."""
    scene = Scene(lab)
    scene.ledger = Quiet()
    engine = await scene.start()
    assert scene.offset() == Offset(0, "")
    await lab.stop(engine)
    lab.cluster.group(GROUP).offsets.commit({SOURCE: Offset(0, CommitMetadata(units=5).encode(SOURCE))})
    lab.put(scene.numbers, [1])
    engine = await scene.start()
    await lab.until(lambda: engine.ownership.sessions[SOURCE].position == 1, "the event is finished")
    assert await engine.checkpoint()
    assert scene.offset() == Offset(1, CommitMetadata(units=5).encode(SOURCE))


class Quiet(Timed):
    """A ledger without work."""

    @property
    def has_work(self) -> bool:
        """It has none."""
        return False


async def test_a_log_that_goes_on_elsewhere_keeps_the_count(lab: Lab) -> None:
    """Retention takes away what is to be read next: the partition gets a session of its own, and units of both are counted in one row."""
    scene = Scene(lab)
    lab.put(scene.numbers, range(3))
    engine = await scene.start()
    first, before = scene.count(), engine.ownership.sessions[SOURCE]
    await lab.until(lambda: before.position == 3, "all is read")
    await engine.checkpoint()
    async with scene.ledger.work.unit("timer", "tick"):
        scene.ledger.add()
        engine.clients.consumer.seek(SOURCE, 17)
        await lab.until(lambda: engine.ownership.sessions[SOURCE] is not before, "there is another session")
        assert scene.count() >= first
    await scene.ledger.add_one()
    assert await engine.checkpoint()
    assert scene.ledger.stored == 2
    assert scene.count() > first


def test_metadata_says_leads_count_and_topic() -> None:
    """Each is read as it was written; leads that are too many leave room for the rest, and garbage says nothing."""
    assert CommitMetadata().encode(SOURCE) == ""
    whole = CommitMetadata({"a": 3}, 5, Identity("cluster", "topic"))
    text = whole.encode(SOURCE)
    assert CommitMetadata.decode(text) == whole
    assert without_identity(text) == CommitMetadata({"a": 3}, 5).encode(SOURCE)
    many = replace(whole, leads={f"agent-{number:0500}": number for number in range(10)})
    assert CommitMetadata.decode(many.encode(SOURCE)) == replace(whole, leads={})
    for garbage in (
        "",
        "x",
        "[1]",
        json.dumps({UNITS: "5"}),
        '{"~topic":5}',
        '{"~topic":["a"]}',
        '{"~topic":["a",""]}',
    ):
        assert CommitMetadata.decode(garbage) == CommitMetadata()
        assert garbage.startswith("{") or without_identity(garbage) == garbage


def test_older_versions_pass_over_the_topic() -> None:
    """They take every number for a lead and nothing else, so that a worker of another version reads what it knows."""
    values = json.loads(CommitMetadata({"a": 3}, 5, Identity("cluster", "topic")).encode(SOURCE))
    assert {name: value for name, value in values.items() if isinstance(value, int)} == {"a": 3, UNITS: 5}


def test_a_count_moves_once_an_interval() -> None:
    """However many units there were; where nobody counts, it stays."""
    count = UnitCount(7)
    assert not count.cut()
    count.worked = True
    assert count.cut()
    assert (count.committed, count.position) == (7, 8)
    count.commit()
    assert not count.cut()
    nobody = UnitCount()
    nobody.worked = True
    assert not nobody.cut()


# -- tasks


async def test_a_task_begins_anew_after_a_drop(lab: Lab) -> None:
    """The one before is cancelled, its open unit has changed nothing, and the next one has a work of its own."""
    begun: list[Work] = []
    ended: list[Work] = []

    async def wait(work: Work) -> None:
        begun.append(work)
        try:
            async with work.unit("timer", "tick"):
                scene.ledger.add()
                await asyncio.Event().wait()
        finally:
            ended.append(work)

    scene = Scene(lab, wait)
    engine = await scene.start()
    await lab.until(lambda: scene.ledger.count == 1, "a unit is open")
    engine.interval.status.spoil("something else failed", None)
    assert not await engine.checkpoint()
    await lab.until(lambda: len(begun) == 2 and scene.ledger.count == 1, "the task has begun anew")
    assert ended == begun[:1]
    assert scene.ledger.works == begun
    await engine.checkpoint()
    assert scene.ledger.stored == 0


async def test_a_partition_that_is_given_up_waits_for_an_open_unit(lab: Lab) -> None:
    """The unit finishes and is committed; no other one begins, and the task is cancelled."""
    go, steps = asyncio.Event(), list[str]()

    async def twice(work: Work) -> None:
        try:
            async with work.unit("timer", "first"):
                scene.ledger.add()
                steps.append("open")
                await go.wait()
            async with work.unit("timer", "second"):
                steps.append("not reached")
        except asyncio.CancelledError:
            steps.append("cancelled")
            raise

    scene = Scene(lab, twice)
    engine = await scene.start()
    first = scene.count()
    await lab.until(lambda: steps == ["open"], "a unit is open")
    lab.engines.remove(engine)
    stopping = asyncio.create_task(engine.stop())
    await lab.until(lambda: not engine.ownership.sessions[SOURCE].open, "the partition is given up")
    go.set()
    await stopping
    assert steps == ["open", "cancelled"]
    assert (scene.ledger.stored, scene.count()) == (1, first + 1)


async def test_a_task_that_waits_between_units_ends_when_its_partition_is_given_up(lab: Lab) -> None:
    """It is not waited for."""
    scene = Scene(lab, lambda _: asyncio.Event().wait())  # type: ignore[arg-type, return-value]
    engine = await scene.start()
    await lab.stop(engine)
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "timer"]


async def test_a_task_that_fails_ends_the_worker(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    """With the error, and a sentence that names it and its partitions; what its unit changed is not committed."""

    async def fail(work: Work) -> None:
        async with work.unit("timer", "tick"):
            scene.ledger.add()
            raise ZeroDivisionError("no")

    scene = Scene(lab, fail)
    engine = await scene.start()
    assert isinstance(await lab.failed(engine), ZeroDivisionError)
    assert "cannot go on: timer (numbers 0) failed: ZeroDivisionError: no" in caplog.text
    await lab.stop(engine)
    assert scene.ledger.stored == 0


async def test_a_task_whose_group_fails_ends_the_worker(lab: Lab) -> None:
    """Up to Python 3.12 a TaskGroup that fails leaves its task as if it had been cancelled: the failure is told all the same."""

    async def fail() -> None:
        await asyncio.sleep(0)
        raise ZeroDivisionError("no")

    async def group(work: Work) -> None:
        async with work.unit("timer", "tick"), asyncio.TaskGroup() as tasks:
            tasks.create_task(fail())

    engine = await Scene(lab, group).start()
    assert isinstance(await lab.failed(engine), ExceptionGroup)


async def test_a_task_that_cancels_itself_ends_the_worker(lab: Lab) -> None:
    """Its work would never be done, and nobody would notice."""

    async def cancel(work: Work) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)

    engine = await Scene(lab, cancel).start()
    error = await lab.failed(engine)
    assert isinstance(error, WorkerError)
    assert str(error).startswith("timer was cancelled while numbers 0 runs here: code in it cancelled its own task")


async def test_a_task_may_end(lab: Lab) -> None:
    """It is done then."""

    async def once(work: Work) -> None:
        async with work.unit("timer", "tick"):
            scene.ledger.add()

    scene = Scene(lab, once)
    engine = await scene.start()
    await lab.until(lambda: scene.ledger.count == 1, "the unit is done")
    assert await engine.checkpoint()
    assert scene.ledger.stored == 1


@both
@pytest.mark.parametrize("grouped", [False, True], ids=["", "in a group"])
@pytest.mark.parametrize("inside", [True, False])
async def test_trouble_with_a_broker_opens_the_shard_again(
    lab: Lab, guarantee: str, inside: bool, grouped: bool
) -> None:
    """The code of the unit is not to blame: the interval is dropped, and the task begins anew."""
    tries = list[str]()

    def provoked(error: Exception) -> Exception:
        return ExceptionGroup("several", [error]) if grouped else error

    async def send(work: Work) -> None:
        if not inside and not tries:
            tries.append("refused")
            raise provoked(DeadlineError("provoked"))
        try:
            async with work.unit("timer", "tick"):
                scene.ledger.add()
                if inside and not tries:
                    tries.append("refused")
                    raise provoked(ProduceError("provoked"))
        except (ProduceError, ExceptionGroup):
            tries.append("came out")
            raise

    scene = Scene(lab, send)
    engine = await scene.start(**settings_for(guarantee))
    drops = engine.interval.run(lambda: None)
    task = asyncio.create_task(drops)
    await lab.until(lambda: len(scene.ledger.works) == 2 and scene.ledger.count == 1, "it is done at last")
    task.cancel()
    assert await engine.checkpoint()
    assert (tries, scene.ledger.stored) == (["refused"], 1)


@pytest.mark.parametrize("pinned", [False, True])
async def test_a_unit_that_hangs_is_reported_once(lab: Lab, caplog: pytest.LogCaptureFixture, pinned: bool) -> None:
    """With the line at which it waits; sooner when nothing can be committed meanwhile."""
    go = asyncio.Event()

    async def hang(work: Work) -> None:
        async with work.unit("timer", "tick"):
            if pinned:
                await (await scene.out.send(value=1))
            await go.wait()

    scene = Scene(lab, hang)
    clock = ManualClock(1_000_000.0)
    settings = settings_for("exactly_once") if pinned else {}
    engine = await scene.start(run=Run("app", clock), processing_timeout=100.0, deadline=40.0, **settings)
    await lab.until(lambda: len(lab.values(scene.out, committed=False)) == pinned, "the unit is open")
    await clock.pass_by(9.0)
    assert "timer: tick is open" not in caplog.text
    await clock.pass_by(200.0)
    why = "nothing can be committed meanwhile" if pinned else "stream_processing_timeout"
    (told,) = [one for one in caplog.messages if one.startswith("timer: tick is open")]
    assert f"({why})" in told
    assert "hang" in told
    go.set()
    await lab.until(lambda: not engine.ownership.open_units(), "it goes on")


async def test_one_name_has_one_unit_at_a_time(lab: Lab) -> None:
    """Another name may have one beside it."""
    scene = Scene(lab)
    await scene.start()
    work = scene.ledger.work
    async with work.unit("a", 1), work.unit("b", 2):
        with pytest.raises(IllegalStateError, match="a: 1 is open, and 3 cannot begin"):
            async with work.unit("a", 3):
                pass


async def test_a_task_waits_for_what_finishes(lab: Lab) -> None:
    """For events and units, and not for those that have finished since it asked last; and no longer than it says."""
    scene = Scene(lab)
    clock = ManualClock(1_000_000.0)
    await scene.start(run=Run("app", clock))
    work = scene.ledger.work
    seen = await work.progress(0, 0.0)
    waiting = asyncio.create_task(work.progress(seen, 100.0))
    await clock.pass_by(99.0)
    assert not waiting.done()
    lab.put(scene.numbers, [1])
    await lab.until(waiting.done, "an event has finished")
    assert await waiting > seen
    await scene.ledger.add_one()
    seen = await work.progress(await waiting, 100.0)
    waiting = asyncio.create_task(work.progress(seen, 100.0))
    await clock.pass_by(100.0)
    assert await waiting == seen


# -- idle inputs


class Idle(Scene):
    """The scene with a clock that is moved by hand.

    Args:
        lab: where.
    """

    def __init__(self, lab: Lab) -> None:
        super().__init__(lab)
        self.clock = ManualClock(now=1_000_000.0)

    async def start(self, **settings: Any) -> Engine:
        """Start it, with that clock."""
        return await super().start(run=Run("app", self.clock), **settings)

    async def after(self, seconds: float) -> float | None:
        """For how long the inputs are idle, so many seconds later."""
        await self.clock.pass_by(seconds)
        rest = self.ledger.work.idle()
        return None if rest is None else rest.seconds


async def test_inputs_are_idle_from_the_first_look_that_finds_nothing(lab: Lab) -> None:
    """From one look to the next; a record ends it, and it begins anew when that is finished."""
    idle = Idle(lab)
    await idle.start()
    assert await idle.after(0.5) is None
    assert await idle.after(0.5) == 0.0
    assert await idle.after(10.0) == 10.0
    before = idle.ledger.work.idle()
    lab.put(idle.numbers, [1])
    assert await idle.after(1.0) in (None, 0.0)
    await idle.after(1.0)
    assert await idle.after(3.0) in (3.0, 4.0)
    behind = idle.ledger.work.idle()
    assert before is not None
    assert behind is not None
    assert behind.since > before.until


async def test_an_input_is_not_idle_while_an_event_is_open(lab: Lab) -> None:
    """What is read and not finished may still move the time."""
    go = asyncio.Event()
    idle = Idle(lab)

    async def read(stream: Stream[int]) -> None:
        async for _ in stream:
            await go.wait()

    idle.read = read  # type: ignore[method-assign]
    await idle.start()
    assert await idle.after(2.0) == 1.0
    lab.put(idle.numbers, [1])
    await lab.until(lambda: idle.ledger.work.idle() is None, "the record is fetched")
    assert await idle.after(5.0) is None
    go.set()
    await lab.until(lambda: idle.ledger.work.idle() is None, "it goes on")
    await idle.after(2.0)
    assert await idle.after(2.0) is not None


async def test_no_time_passes_while_the_broker_does_not_answer(lab: Lab) -> None:
    """It may have records that nobody has seen, and producers may hold back what is older: it begins anew."""
    idle = Idle(lab)
    await idle.start()
    assert await idle.after(5.0) == 4.0
    for _ in range(10):
        lab.cluster.faults.fail_next("list_offsets", DeadlineError("provoked"))
    assert await idle.after(10.0) == 4.0
    assert await idle.after(1.0) == 0.0
    lab.cluster.faults.fail_next("list_offsets", DeadlineError("provoked"))
    assert await idle.after(3.0) == 3.0


async def test_a_record_that_was_not_fetched_yet_ends_it(lab: Lab) -> None:
    """The end of the log says so."""
    idle = Idle(lab)
    engine = await idle.start()
    assert await idle.after(3.0) == 2.0
    engine.clients.consumer.pause([SOURCE])
    lab.put(idle.numbers, [1])
    assert await idle.after(1.0) is None
