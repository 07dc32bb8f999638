"""Runs one case: the story with its faults, then successors, then the comparison."""

from __future__ import annotations

import asyncio
import gc
import logging
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import looptime

from stream_app import App
from stream_core.engine import checkpoint
from stream_core.memory import MemoryCluster, MemoryTransport
from stream_core.ports import RebalanceListener
from stream_core.primitives import TP
from stream_core.streams import iteration
from stream_tables import overlay, partition, stores
from stream_tables.windows import closing
from sweep import books
from sweep.drivers import world_is
from sweep.faults import Fault, Plan
from sweep.program import make_app
from sweep.world import GROUP, GUESTS, Party, World

__all__ = ["AT_LEAST_ONCE", "EXACTLY_ONCE", "GUARANTEES", "Outcome", "play"]

AT_LEAST_ONCE, EXACTLY_ONCE = "at_least_once", "exactly_once"
GUARANTEES = (AT_LEAST_ONCE, EXACTLY_ONCE)

STOP = 25.0
"""Seconds that a stop may take."""

START = 100.0
"""Seconds that a start may take: two requests of 40 s that are not answered, and a recovery."""

SETTLE = 180.0
"""Seconds within which everything is done after the last fault: it may come late, and cost a session, a transaction and a lock."""

GUEST = 5.5
"""Seconds for which another member of the group holds up a rebalance."""

LIVES = 5
"""How often a worker may end by itself in a row."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a case has shown.

    Attributes:
        faults: what was to fail.
        guarantee: the processing guarantee.
        problems: what is wrong; the case has passed when there is nothing.
        counts: the calls of the story, by name.
        trace: these calls in their order.
        exits: what ended workers.
        seconds: of the clock in the loop.
    """

    faults: tuple[Fault, ...]
    guarantee: str
    problems: Sequence[str]
    counts: dict[str, int] = field(default_factory=dict)
    trace: Sequence[str] = ()
    exits: Sequence[str] = ()
    seconds: float = 0.0

    @property
    def reproducer(self) -> str:
        """The command that runs this case again."""
        only = ",".join(map(str, self.faults))
        return f'just chaos --row sweep --only "{only}" --guarantee {self.guarantee}'


class _AtOnce(ThreadPoolExecutor):
    """Runs what is submitted at once, in the thread of the caller: nothing depends on the speed of this machine."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run ``fn``; its result is there when this returns."""
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:
            future.set_exception(error)
        return future


class _Place:
    """A worker at a place, through all its lives: one that ends by itself is started again on the same disk.

    Args:
        world: where it is.
        name: of the place, and of its data directory.
    """

    def __init__(self, world: World, name: str) -> None:
        self._world = world
        self._name = name
        self._ready = asyncio.Event()
        self._leave = asyncio.Event()
        self._living: asyncio.Task[None] | None = None
        self.app: App | None = None

    async def begin(self) -> None:
        """Start the worker, and wait until it is ready."""
        self._living = asyncio.create_task(self._live(), name=f"worker {self._name}")
        ready = asyncio.ensure_future(self._ready.wait())
        await asyncio.wait([ready, self._living], return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()

    async def end(self) -> None:
        """Stop the worker as SIGTERM does."""
        self._leave.set()
        assert self._living is not None
        await self._living

    async def _live(self) -> None:
        for _ in range(LIVES):
            party = self._world.enter(self._name)
            self.app = app = make_app(self._world, party, self._name)
            failure, asked = await self._run(app)
            await self._stop(app, party, failure)
            if failure is not None and failure.done():
                self._world.exits.append(failure.result())
            if asked:
                return
            await asyncio.sleep(1.0)
        self._world.problem(f"worker {self._name} ended by itself {LIVES} times, last with {self._world.exits[-1]!r}")

    async def _run(self, app: App) -> tuple[asyncio.Future[BaseException] | None, bool]:
        """Run a life; returns where the error is that ends it, and whether it was asked to end."""
        failure: asyncio.Future[BaseException]
        try:
            async with asyncio.timeout(START):
                await app.start()
        except TimeoutError:
            self._world.problem(f"worker {self._name} is not ready after {START:g} s")
            return None, False
        except Exception as error:
            failure = asyncio.get_running_loop().create_future()
            failure.set_result(error)
            return failure, False
        self._ready.set()
        failure = app.engine.failure
        leave = asyncio.ensure_future(self._leave.wait())
        ends: list[asyncio.Future[Any]] = [leave, failure]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        leave.cancel()
        if failure.done():
            await asyncio.sleep(0.3)  # whoever looks after it takes a moment, and events come meanwhile
            self._world.feed()
        return failure, leave.done() and not failure.done()

    async def _stop(self, app: App, party: Party, failure: asyncio.Future[BaseException] | None) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            async with asyncio.timeout(10 * STOP):
                await app.stop()
        except TimeoutError:
            self._world.problem(f"worker {self._name} has not stopped after {10 * STOP:g} s")
        except Exception as error:
            if failure is None or not failure.done() or failure.result() is not error:
                # A stop says why a worker could not go on.
                self._world.problem(f"the stop of worker {self._name} raised {error!r}")
        if (took := loop.time() - began) > STOP:
            self._world.problem(f"the stop of worker {self._name} took {took:.0f} s, and may take {STOP:g} s")
        party.stopped = True


class _Guest:
    """A member of the group that reads a topic of its own, and takes its time before it joins again with the others.

    Meanwhile a worker that has given its partitions up is nobody.

    Args:
        world: where it is.
    """

    def __init__(self, world: World) -> None:
        self._consumer = MemoryTransport(world.name).consumer(GROUP, read_committed=False)
        self.slow = False

    async def begin(self) -> None:
        """Join."""
        await self._consumer.start()
        self._consumer.subscribe([GUESTS], RebalanceListener(lambda tps, group: None, self._revoked))

    async def end(self) -> None:
        """Leave."""
        await self._consumer.stop()

    async def _revoked(self, tps: frozenset[TP], lost: bool) -> None:
        if self.slow:
            await asyncio.sleep(GUEST)


async def _story(world: World) -> None:
    """Play: one worker, a second one that joins and leaves, and orders all the time."""
    one, two, guest = _Place(world, "one"), _Place(world, "two"), _Guest(world)

    async def orders(rounds: int) -> None:
        for _ in range(rounds):
            world.feed()
            await asyncio.sleep(0.5)

    await guest.begin()
    await one.begin()
    await orders(5)
    world.feed()
    guest.slow = True
    world.leave_behind("two")
    await two.begin()
    guest.slow = False
    await orders(4)
    world.feed()
    await two.end()
    await orders(3)
    await world.caught_up(SETTLE)
    await world.closed(SETTLE)
    world.feed()
    await one.end()
    await guest.end()


async def _succeed(world: World, place: str) -> None:
    """Let a successor on the disk of a place, or an empty one, do the rest, and compare its tables."""
    successor = _Place(world, place)
    await successor.begin()
    world.feed()
    await world.caught_up(SETTLE)
    if successor.app is not None:
        await world.closed(SETTLE)
        books.tables(world, successor.app, place)
    await successor.end()


async def _play(world: World) -> None:
    loop = asyncio.get_running_loop()
    loop.set_default_executor(_AtOnce())
    loop.set_exception_handler(lambda _, context: world.problem(f"the event loop says: {context['message']}"))
    await _story(world)
    for call in world.under_way:
        await call
    await _nothing_left(world, "the story")
    world.plan.armed = False
    ended = len(world.exits)
    for place in ("one", "two", "empty"):
        await _succeed(world, place)
    for error in world.exits[ended:]:
        world.problem(f"a successor ended by itself: {error!r}")
    await _nothing_left(world, "the successors")
    await books.outputs(world)
    gc.collect()  # what nobody awaited and failed is told when it goes


async def _nothing_left(world: World, when: str) -> None:
    """Note the tasks that are left when all workers have stopped."""
    for _ in range(20):
        await asyncio.sleep(0)
    mine = asyncio.current_task()
    for task in asyncio.all_tasks():
        if task is not mine:
            world.problem(f"behind {when} a task is left: {task.get_name()}")


SIZES = (
    (iteration, "TURN", 0.0),
    (closing, "CHUNK", 0.0),
    (checkpoint, "SLICE", 2),
    (overlay, "SLICE", 2),
    (partition, "CHUNK", 2),
    (stores, "CHUNK", 2),
)
"""How much is done before the event loop gets a turn, in modules of this program."""


@contextmanager
def _turns() -> Iterator[None]:
    """Let the event loop get a turn behind every few events and changes, and not by a clock that the speed of this machine moves.

    So whatever can come in a turn does come there. For the same reason each window is told of in a unit of work of its own.
    """
    before = [getattr(module, name) for module, name, _ in SIZES]
    for module, name, size in SIZES:
        setattr(module, name, size)
    try:
        yield
    finally:
        for (module, name, _), size in zip(SIZES, before, strict=True):
            setattr(module, name, size)


def play(faults: Sequence[Fault], guarantee: str) -> Outcome:
    """Run one case in an event loop of its own.

    Args:
        faults: the calls that fail; none for a run in which nothing does.
        guarantee: ``at_least_once`` or ``exactly_once``.
    """
    directory = Path(tempfile.mkdtemp(prefix="stream-sweep-"))
    plan = Plan.of(faults)
    world = World(plan, directory, exactly_once=guarantee == EXACTLY_ONCE)
    loop = looptime.new_event_loop(noop_cycles=0)
    asyncio.set_event_loop(loop)
    try:
        with world_is(world), _turns():
            loop.run_until_complete(_play(world))
    except Exception as error:
        world.problem(f"the run itself raised {error!r}")
        logging.getLogger(__name__).exception("the run itself failed")
    finally:
        seconds = loop.time()
        _close(loop)
        MemoryCluster.discard(world.name)
        shutil.rmtree(directory)
    missed = [fault for fault in faults if fault not in plan.struck]
    if missed and len(faults) == 1:
        world.problem(f"{missed[0]} was never reached: the run differs from the one that counted the calls")
    exits = [f"{type(error).__name__}: {error}" for error in world.exits]
    return Outcome(tuple(faults), guarantee, world.problems, dict(plan.counts), plan.trace, exits, seconds)


def _close(loop: asyncio.AbstractEventLoop) -> None:
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    if left:
        loop.run_until_complete(asyncio.wait(left, timeout=10))
    loop.run_until_complete(loop.shutdown_asyncgens())
    asyncio.set_event_loop(None)
    loop.close()
