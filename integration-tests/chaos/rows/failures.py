"""Events that an agent cannot handle."""

from __future__ import annotations

import asyncio

from chaos.errors import RowError
from chaos.faults import Kind, inject, plan
from chaos.ledger import Deposit, Position
from chaos.rows.registry import Row
from chaos.scene import Scene, Setup
from chaos.workers import APP, INPUT, PROGRAMS, Program

__all__ = ["ROWS"]

CRASHING = Program(PROGRAMS / "crashing.py")
SKIPPING = Program(PROGRAMS / "skipping.py", refuses=True)
MAX_RESTARTS = 3
"""As in ``programs/crashing.py``."""


async def crashing(setup: Setup) -> None:
    """An event that crashes the agent comes first after each restart, and after the last one the worker exits non-zero, as do its heirs."""
    async with Scene(setup, CRASHING) as scene:
        await scene.fleet.start()
        await scene.shared_by(setup.workers)
        await scene.feeder.burst(200)
        await scene.caught_up()
        refused = await scene.feeder.deliver(Deposit("a0", -1))
        await scene.feeder.burst(200)
        codes = await asyncio.gather(*(worker.exited(2 * setup.patience) for worker in scene.fleet.workers))
        if min(codes) <= 0:
            raise RowError(f"exit codes {codes} after {MAX_RESTARTS} restarts of the agent")
        for worker in scene.fleet.workers:
            _expect_attempts(scene, worker.pid, refused)
        committed = (await scene.kafka.committed(APP, INPUT)).get(refused.partition, 0)
        if committed > refused.offset:
            raise RowError(f"offset {committed} is committed, past the event that crashed at {refused}")
        scene.tally.faults = setup.workers
        for worker in scene.fleet.workers:
            await worker.start(CHAOS_ACCEPT="1")  # the program is corrected: nothing may be lost, nor done twice
        await scene.conclude()


def _expect_attempts(scene: Scene, pid: int, refused: Position) -> None:
    lines = [tuple(map(int, line.split(":"))) for line in (scene.setup.directory / "journal").read_text().split()]
    handled = [Position(partition, offset) for process, partition, offset in lines if process == pid]
    attempts = handled.count(refused)
    if attempts != MAX_RESTARTS + 1:
        raise RowError(f"{refused} was handled {attempts} times, not once and after each of {MAX_RESTARTS} restarts")
    if handled[-attempts:] != [refused] * attempts:
        raise RowError(f"after a crash at {refused} another event came first: {handled[-attempts - 1 :]}")


async def skipping(setup: Setup) -> None:
    """Events that fail in an agent that skips leave no trace in the table, and nothing else is lost, through kills."""
    async with Scene(setup, SKIPPING, refused=0.05) as scene:
        await scene.fleet.start()
        async with scene.load():
            await scene.progress()
            kinds = (Kind.KILL, Kind.TERM)
            faults = plan(scene.rng, seconds=setup.seconds, workers=setup.workers, session=setup.session, kinds=kinds)
            scene.tally.faults = len(faults)
            await inject(faults, scene.fleet, setup.say)
        scene.tally.note = f"{len(scene.ledger.refused())} refused"
        await scene.conclude()


ROWS = (
    Row("crashing-event", crashing, quick=1),
    Row("skipped-event", skipping, quick=4),
)
