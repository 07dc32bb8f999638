"""The broker dies, or is not there."""

from __future__ import annotations

import asyncio
import time

from chaos.errors import RowError
from chaos.rows.registry import Row
from chaos.scene import Scene, Setup
from chaos.waiting import until
from chaos.workers import Worker

__all__ = ["ROWS"]

HINT = "stream broker"
"""The command that a worker without a broker must name."""


async def restarted(setup: Setup) -> None:
    """A broker killed with -9 and restarted under load loses and repeats nothing, and no worker ends."""
    rounds = max(1, round(setup.seconds / 12))
    async with Scene(setup) as scene:
        await scene.fleet.start()
        async with scene.load():
            for number in range(rounds):
                await scene.progress(50)
                away = scene.rng.uniform(0.5, 4.0)
                setup.say(f"broker killed, {number + 1} of {rounds}, back after {away:.1f} s")
                await asyncio.to_thread(setup.broker.kill)
                await asyncio.sleep(away)
                await asyncio.to_thread(setup.broker.start)
                scene.tally.faults += 1
            await scene.progress(50)
        await scene.conclude()


async def paused(setup: Setup) -> None:
    """A broker that stops answering, also for longer than sessions and transactions last, loses and repeats nothing when it goes on."""
    rounds = max(1, round(setup.seconds / 12))
    async with Scene(setup) as scene:
        await scene.fleet.start()
        async with scene.load():
            for number in range(rounds):
                await scene.progress(50)
                away = scene.rng.uniform(1.0, 1.5 * setup.transaction)
                setup.say(f"broker stopped, {number + 1} of {rounds}, for {away:.1f} s")
                setup.broker.pause()
                try:
                    await asyncio.sleep(away)
                finally:
                    setup.broker.resume()
                scene.tally.faults += 1
            await scene.progress(50)
        await scene.conclude()


async def absent(setup: Setup) -> None:
    """A worker that finds no broker waits, says so once in 10 s and names the command; it works when the broker comes."""
    async with Scene(setup) as scene:
        await scene.feeder.burst(200)
        await asyncio.to_thread(setup.broker.kill)
        try:
            began = time.monotonic()
            await scene.fleet.start()
            await asyncio.gather(*(_hinted(worker, setup.patience) for worker in scene.fleet.workers))
            scene.fleet.check()
            await asyncio.sleep(min(setup.seconds, 15.0))  # the fault itself: the broker stays away
        finally:
            await asyncio.to_thread(setup.broker.start)
        hints = max(worker.output().count(HINT) for worker in scene.fleet.workers)
        allowed = 2 + int((time.monotonic() - began) / 10)
        if hints > allowed:
            raise RowError(f"a worker named {HINT!r} {hints} times in {time.monotonic() - began:.0f} s")
        scene.tally.faults = 1
        await scene.conclude()


async def _hinted(worker: Worker, seconds: float) -> None:
    async def said() -> bool:
        return HINT in worker.output()

    await until(said, seconds=seconds, what=lambda: f"worker {worker.number} names {HINT!r}", check=worker.check)


async def fail_fast(setup: Setup) -> None:
    """With --fail-fast a worker that finds no broker names the command and exits with code 1."""
    async with Scene(setup) as scene:
        await scene.feeder.burst(200)
        worker = scene.fleet.workers[0]
        await asyncio.to_thread(setup.broker.kill)
        try:
            await worker.start(arguments=["--fail-fast"])
            code = await worker.exited(setup.patience)
        finally:
            await asyncio.to_thread(setup.broker.start)
        if code != 1 or HINT not in worker.output():
            raise RowError(f"exit code {code}, {HINT!r} named {worker.output().count(HINT)} times")
        scene.tally.faults = 1
        await scene.conclude(replay=False)


ROWS = (
    Row("broker-restarted", restarted, quick=1),
    Row("broker-paused", paused),
    Row("broker-absent", absent, quick=1),
    Row("fail-fast", fail_fast, workers=(1,), quick=1),
)
