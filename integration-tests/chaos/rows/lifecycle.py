"""Ordinary ends and quick beginnings."""

from __future__ import annotations

import time
from dataclasses import replace

from chaos.audit import AT_LEAST_ONCE, EXACTLY_ONCE
from chaos.errors import RowError
from chaos.rows.registry import Row
from chaos.scene import WAITING, Scene, Setup

__all__ = ["ROWS"]

FIRST_EVENT = 5.0
"""Seconds from the start of a process to its first event, after a predecessor was killed."""


async def terminated(setup: Setup) -> None:
    """Workers ended with SIGTERM under load repeat nothing, under at-least-once neither."""
    async with Scene(setup, WAITING, repeats=False) as scene:
        await scene.fleet.start()
        async with scene.load():
            for number in range(max(2, round(setup.seconds / 5))):
                await scene.progress(100)
                if number % 2:
                    setup.say("SIGTERM to all")
                    await scene.fleet.terminate()
                    scene.tally.faults += setup.workers
                else:
                    worker = scene.rng.choice(scene.fleet.workers)
                    setup.say(f"SIGTERM to worker {worker.number}")
                    await worker.terminate()
                    scene.tally.faults += 1
                await scene.fleet.start()
            await scene.progress(100)
        await scene.conclude(replay=False)


async def first_event(setup: Setup) -> None:
    """A worker restarted after kill -9 is at its first event in under 5 s, with the default session timeout of 30 s.

    Time for which the worker was ready to run and other processes had the processors is not counted, but shown.
    """
    times: list[float] = []
    waited: list[float] = []
    async with Scene(replace(setup, session=30.0)) as scene:
        worker = scene.fleet.workers[0]
        await worker.start()
        async with scene.load():
            for _ in range(max(1, round(setup.seconds / 10))):
                await scene.progress(100)
                await worker.kill()
                ends = await scene.kafka.ends("echo")
                began = time.monotonic()
                await worker.start()
                await scene.kafka.first_after("echo", ends, seconds=60)
                waited.append(worker.waited())
                times.append(time.monotonic() - began - waited[-1])
                scene.tally.faults += 1
        await scene.conclude(replay=False)
    scene.tally.note = f"first event after {max(times):.1f} s and {max(waited):.1f} s without a processor"
    if max(times) > FIRST_EVENT:
        raise RowError(f"{scene.tally.note}, not {FIRST_EVENT:.0f}")


ROWS = (
    Row("terminated", terminated, (AT_LEAST_ONCE, EXACTLY_ONCE), quick=1),
    Row("first-event", first_event, workers=(1,)),
)
