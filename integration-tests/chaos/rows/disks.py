"""What a worker finds on its disk after a restart."""

from __future__ import annotations

import shutil

from chaos.rows.registry import Row
from chaos.scene import Scene, Setup

__all__ = ["ROWS"]


async def _restarts(setup: Setup, *, wipe: bool) -> None:
    async with Scene(setup) as scene:
        await scene.fleet.start()
        async with scene.load():
            for _ in range(max(1, round(setup.seconds / 15))):
                await scene.progress(100)
                setup.say("all workers killed" + (", their disk wiped" if wipe else ""))
                await scene.fleet.kill()
                if wipe:
                    shutil.rmtree(scene.data)
                scene.tally.faults += setup.workers
                await scene.fleet.start()
            await scene.progress(100)
        await scene.conclude()


async def wiped(setup: Setup) -> None:
    """Workers killed and restarted on an empty disk replay their tables from the changelog."""
    await _restarts(setup, wipe=True)


async def left(setup: Setup) -> None:
    """Workers killed and restarted on the disk they left reopen their tables."""
    await _restarts(setup, wipe=False)


ROWS = (Row("disk-wiped", wiped, quick=1), Row("disk-left", left, quick=1))
