"""Agents that are hard on their worker: out of order, behind a repartitioning, hanging, blocking."""

from __future__ import annotations

from chaos.audit import EXACTLY_ONCE
from chaos.errors import RowError
from chaos.faults import Kind, inject, plan
from chaos.ledger import Deposit
from chaos.rows.registry import Row
from chaos.scene import Scene, Setup
from chaos.waiting import until
from chaos.workers import APP, INPUT, PROGRAMS, Output, Program

__all__ = ["ROWS"]

CONCURRENT = Program(PROGRAMS / "many_actors.py", (Output(table="", ordered=False),))
REGROUPED = Program(PROGRAMS / "regrouped.py", between=(f"{APP}-regrouped",))
TAKING = Program(PROGRAMS / "taking.py")
HANGING = Program(PROGRAMS / "hanging.py")
BLOCKING = Program(PROGRAMS / "blocking.py")

STUCK = "stream_processing_timeout"
"""The setting that a worker names when an event takes too long."""


async def _killed(setup: Setup, program: Program) -> None:
    async with Scene(setup, program) as scene:
        await scene.fleet.start()
        async with scene.load():
            await scene.progress()
            kinds = (Kind.KILL, Kind.KILL, Kind.TERM)
            faults = plan(scene.rng, seconds=setup.seconds, workers=setup.workers, session=setup.session, kinds=kinds)
            scene.tally.faults = len(faults)
            await inject(faults, scene.fleet, setup.say)
        await scene.conclude(replay=any(output.table for output in program.outputs))


async def concurrent(setup: Setup) -> None:
    """Eight actors that finish in random order lose and repeat nothing, through kills."""
    await _killed(setup, CONCURRENT)


async def regrouped(setup: Setup) -> None:
    """A table behind ``group_by`` counts every deposit once, through kills of the workers on both sides of the topic between."""
    await _killed(setup, REGROUPED)


async def taking(setup: Setup) -> None:
    """Lists of ``take`` are counted and sent on as a whole, through kills in the middle of a list."""
    await _killed(setup, TAKING)


async def hanging(setup: Setup) -> None:
    """An event that hangs is reported with its line; SIGTERM ends the worker in time, and the event is done by its successor."""
    async with Scene(setup, HANGING) as scene:
        (worker,) = scene.fleet.workers
        await worker.start()
        await scene.feeder.burst(200)
        await scene.caught_up()
        stuck = await scene.feeder.deliver(Deposit("a0", -1))
        await scene.feeder.burst(200)
        await until(
            lambda: _says(scene, STUCK, "hanging.py"),
            seconds=setup.patience,
            what=lambda: "the worker reports the event that hangs",
            check=scene.fleet.check,
        )
        await worker.terminate()
        committed = (await scene.kafka.committed(APP, INPUT)).get(stuck.partition, 0)
        if committed > stuck.offset:
            raise RowError(f"offset {committed} is committed, past the event that hung at {stuck}")
        scene.tally.faults = 1
        await worker.start(CHAOS_ACCEPT="1")
        await scene.conclude(replay=False)


async def blocking(setup: Setup) -> None:
    """A worker whose agent blocks the event loop beyond its session is replaced, and what it had open comes to nothing."""
    async with Scene(setup, BLOCKING) as scene:
        await scene.fleet.start()
        async with scene.load():
            await scene.progress(50)
            await scene.shared_by(setup.workers)
            stuck = await scene.feeder.deliver(Deposit("a0", -1))

            async def done() -> bool:
                return (await scene.kafka.committed(APP, INPUT)).get(stuck.partition, 0) > stuck.offset

            what = "the event that blocked is committed"
            await until(done, seconds=setup.patience, what=lambda: what, check=scene.fleet.check)
            if not (setup.directory / "blocked").exists():
                raise RowError(f"{stuck} is committed, and has not blocked")
            scene.tally.faults = 1
            await scene.shared_by(setup.workers)
            await scene.progress(50)
        await scene.conclude(replay=False)


async def _says(scene: Scene, *texts: str) -> bool:
    output = "\n".join(worker.output() for worker in scene.fleet.workers)
    return all(text in output for text in texts)


ROWS = (
    Row("concurrency", concurrent, quick=8),
    Row("regrouped", regrouped, (EXACTLY_ONCE,), quick=8),  # else the topic between may hold a deposit twice
    Row("taking", taking, quick=4),
    Row("hanging-event", hanging, workers=(1,), quick=1),
    Row("blocked-loop", blocking, quick=1),
)
