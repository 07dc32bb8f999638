"""Workers that come and go."""

from __future__ import annotations

from dataclasses import replace

from chaos.audit import AT_LEAST_ONCE, EXACTLY_ONCE
from chaos.faults import Kind, inject, plan
from chaos.rows.registry import Row
from chaos.scene import WAITING, Scene, Setup

__all__ = ["ROWS"]


async def joining(setup: Setup) -> None:
    """Workers that join and leave every few seconds, down to one and up to all, repeat nothing, under at-least-once neither."""
    async with Scene(setup, WAITING, repeats=False) as scene:
        workers = scene.fleet.workers
        await workers[0].start()
        async with scene.load():
            await scene.progress(50)
            for number in range(max(3, round(setup.seconds / 3))):
                running = [worker for worker in workers if worker.running]
                idle = [worker for worker in workers if not worker.running]
                if idle and (len(running) == 1 or scene.rng.random() < 0.5):
                    worker = scene.rng.choice(idle)
                    setup.say(f"change {number + 1}: worker {worker.number} joins {len(running)}")
                    await worker.start()
                    await scene.shared_by(len(running) + 1)
                else:
                    worker = scene.rng.choice(running)
                    setup.say(f"change {number + 1}: worker {worker.number} leaves {len(running) - 1}")
                    await worker.terminate()
                scene.tally.faults += 1
                await scene.progress(scene.rng.randrange(200))
        await scene.conclude(replay=False)


async def idle(setup: Setup) -> None:
    """With more workers than partitions some have nothing to do, and take over when others die."""
    async with Scene(replace(setup, partitions=setup.workers - 1)) as scene:
        await scene.fleet.start()
        async with scene.load():
            await scene.shared_by(setup.workers)
            await scene.progress()
            kinds = (Kind.KILL, Kind.TERM)
            faults = plan(scene.rng, seconds=setup.seconds, workers=setup.workers, session=setup.session, kinds=kinds)
            scene.tally.faults = len(faults)
            await inject(faults, scene.fleet, setup.say)
        await scene.conclude(replay=False)


ROWS = (
    Row("joining-leaving", joining, (AT_LEAST_ONCE, EXACTLY_ONCE), workers=(3,), quick=9),
    Row("more-workers", idle, quick=4),
)
