"""Windows that close, though no record says so."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from chaos.audit import EXACTLY_ONCE
from chaos.faults import inject, plan
from chaos.rows.registry import Row
from chaos.scene import Scene, Setup
from chaos.stores import read_tables
from chaos.verify import Told, compare_totals, compare_windows, sums_of, windows_of
from chaos.waiting import until
from chaos.workers import INPUT, PROGRAMS, Program

__all__ = ["ROWS"]

WINDOWED = Program(PROGRAMS / "windowed.py")
CLOSED = "bank-closed"
SIZE = 1.0
"""Seconds of a window of the program."""


async def windowed(setup: Setup) -> None:
    """Each window closes with all that was in it, under exactly-once once, through faults of workers and a broker that is killed."""
    async with Scene(setup, WINDOWED) as scene:
        await scene.fleet.start()
        async with scene.load():
            await scene.progress()
            faults = plan(scene.rng, seconds=setup.seconds, workers=setup.workers, session=setup.session)
            scene.tally.faults = len(faults) + 1
            await inject(faults, scene.fleet, setup.say)
            setup.say("broker killed")
            await asyncio.to_thread(setup.broker.kill)
            await asyncio.sleep(scene.rng.uniform(0.5, 4.0))
            await asyncio.to_thread(setup.broker.start)
            await scene.progress(50)
        await _all_closed(scene)
        await scene.fleet.terminate()
        _compare(scene, await _told(scene), scene.data.name)
        await scene.conclude()
        told = await _told(scene)
        for name in (scene.data.name, "replayed"):
            _compare(scene, told, name)
        expected = windows_of(await scene.kafka.read(INPUT), SIZE)
        scene.tally.add(CLOSED, compare_windows(expected, told, repeats=setup.guarantee != EXACTLY_ONCE))


async def _all_closed(scene: Scene) -> None:
    """Wait until all windows were told of: the last ones close because nothing comes any more."""
    await scene.settle()
    left = -1

    async def done() -> bool:
        nonlocal left
        await scene.fleet.revive()
        expected = windows_of(await scene.kafka.read(INPUT), SIZE)
        left = len(expected.keys() - {one.window for one in await _told(scene)})
        return not left

    scene.setup.say("waiting for the last windows")
    await until(
        done,
        seconds=scene.setup.patience,
        what=lambda: f"all windows are closed, open are {left}",
        check=scene.fleet.check,
    )


async def _told(scene: Scene) -> Sequence[Told]:
    return [Told.decode(entry) for entry in await scene.kafka.read(CLOSED, seconds=scene.setup.patience)]


def _compare(scene: Scene, told: Sequence[Told], directory: str) -> None:
    """Compare what was added up where windows closed with what was told of them."""
    stored = read_tables(scene.setup.directory / directory, "told")
    wrong = compare_totals(
        sums_of(told), {0: {key: value for values in stored.values() for key, value in values.items()}}
    )
    scene.tally.wrong += len(wrong)
    scene.tally.add(f"told in {directory}", wrong)


ROWS = (Row("windowed", windowed, quick=4),)
