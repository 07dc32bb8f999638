"""Random faults of the workers under load."""

from __future__ import annotations

from chaos.faults import Kind, inject, plan
from chaos.rows.registry import Row
from chaos.scene import BANK, Scene, Setup
from chaos.workers import PROGRAMS, Output, Program

__all__ = ["ROWS"]

TWO_SPEEDS = Program(PROGRAMS / "two_speeds.py", (Output("echo-fast", "fast"), Output("echo-slow", "slow")))


async def _faults(setup: Setup, program: Program, kinds: tuple[Kind, ...]) -> None:
    async with Scene(setup, program) as scene:
        await scene.fleet.start()
        async with scene.load():
            await scene.progress()
            faults = plan(scene.rng, seconds=setup.seconds, workers=setup.workers, session=setup.session, kinds=kinds)
            scene.tally.faults = len(faults)
            await inject(faults, scene.fleet, setup.say)
        await scene.conclude()


async def mixed(setup: Setup) -> None:
    """Killed, stopped beyond their session and terminated workers on one data directory lose and repeat nothing."""
    await _faults(setup, BANK, tuple(Kind))


async def two_speeds(setup: Setup) -> None:
    """Two agents of different speed on one topic each see every deposit, through kills and terminations."""
    await _faults(setup, TWO_SPEEDS, (Kind.KILL, Kind.TERM))


ROWS = (
    Row("mixed", mixed, quick=8),
    Row("two-speeds", two_speeds, quick=4),
)
