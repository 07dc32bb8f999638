"""What a worker finds on its disk after a restart, and what happens to the disk while it works."""

from __future__ import annotations

import asyncio
import random
import shutil
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from chaos.errors import RowError
from chaos.rows.registry import Row
from chaos.scene import BANK, Scene, Setup
from chaos.workers import PROGRAMS, Program

__all__ = ["ROWS"]

FILLING = Program(PROGRAMS / "filling.py")
SIZE = 96
"""MiB of the small disk: RocksDB reserves room for its logs."""

BLOCK = 64 * 1024
"""Bytes that are written at a time to fill it."""

ACCOUNTS = 4000
"""So many that a table file has more values than anything else, and a damage hits some that are needed."""

LIVES = 5
"""How often each worker may end by itself for one damage: once for each store, and not for ever."""


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


# -- a disk that is full


class _Disk:
    """The disk of a row, which can be full: a small one where this machine allows to mount it, else one that only says so.

    Args:
        setup: what the row was told.
    """

    def __init__(self, setup: Setup) -> None:
        self._data = setup.directory / "data"
        self._mark = setup.directory / "full"
        self.mounted = False

    def __enter__(self) -> _Disk:
        """Mount it."""
        self._data.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}m,mode=700", "stream-chaos", str(self._data)]
        if shutil.which("mount") is not None:
            self.mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
        return self

    def __exit__(self, *_: object) -> None:
        """Copy what is on it, for whoever looks into a failure, and give it back."""
        if self.mounted:
            kept = self._data.with_name("data-kept")
            shutil.copytree(self._data, kept)
            subprocess.run(["umount", str(self._data)], check=True)
            self._data.rmdir()
            kept.rename(self._data)

    def fill(self) -> None:
        """Write until nothing fits any more."""
        if not self.mounted:
            self._mark.touch()
            return
        with (self._data / "filler").open("ab", buffering=0) as file, suppress(OSError):
            while file.write(bytes(BLOCK)) == BLOCK:
                pass

    def free(self) -> None:
        """Remove what fills it."""
        (self._data / "filler" if self.mounted else self._mark).unlink()


async def full(setup: Setup) -> None:
    """Workers whose disk is full end with an error, and lose nothing when they are started again with space."""
    with _Disk(setup) as disk:
        async with Scene(setup, BANK if disk.mounted else FILLING) as scene:
            scene.tally.note = "" if disk.mounted else "nothing can be mounted here: stores that fail"
            await scene.fleet.start()
            async with scene.load():
                for _ in range(max(1, round(setup.seconds / 20))):
                    await scene.progress(100)
                    setup.say("the disk is full")
                    codes = await _starved(scene, disk)
                    if min(codes) <= 0:
                        raise RowError(f"exit codes {codes} on a full disk")
                    disk.free()
                    scene.tally.faults += setup.workers
                    await scene.fleet.start()
                await scene.progress(100)
            await scene.conclude()


async def _starved(scene: Scene, disk: _Disk) -> Sequence[int]:
    """Keep the disk full, whatever the workers remove, until they have ended; returns their exit codes."""
    ending = asyncio.gather(*(worker.exited(2 * scene.setup.patience) for worker in scene.fleet.workers))
    while not ending.done():
        await asyncio.to_thread(disk.fill)
        await asyncio.wait([ending], timeout=0.2)
    return await ending


# -- files that are damaged


async def _damaged(setup: Setup, damage: Callable[[random.Random, Path], bool], *, clean: bool, alive: bool) -> None:
    """Damage files of the stores every now and then, under load.

    Args:
        setup: what the row was told.
        damage: damages one store; returns whether there was anything to damage.
        clean: the workers end with SIGTERM before, and have written their table files; else with ``kill -9``.
        alive: every other time the workers are not ended at all.
    """
    async with Scene(setup, accounts=ACCOUNTS, damaged=True) as scene:
        await scene.fleet.start()
        await scene.feeder.burst(3 * ACCOUNTS)
        await scene.caught_up()
        async with scene.load():
            await scene.progress(100)
            for number in range(max(2, round(setup.seconds / 10))):
                running = alive and number % 2
                if not running:
                    await (scene.fleet.terminate() if clean else scene.fleet.kill())
                stores = sorted(scene.data.glob("v1/**/*.db"))
                chosen = scene.rng.sample(stores, scene.rng.randint(1, len(stores)))
                done = sum(damage(scene.rng, store) for store in chosen)
                setup.say(f"{done} stores damaged" + (" while workers run" if running else ""))
                scene.tally.faults += done
                scene.fleet.lives = LIVES * setup.workers
                await scene.fleet.start()
                await scene.progress_everywhere()
                await scene.progress(100)
        if not scene.tally.faults:
            raise RowError("there was nothing to damage")
        scene.tally.note = f"workers ended {scene.fleet.ends} times" if scene.fleet.ends else ""
        await scene.conclude()


def _flip(rng: random.Random, store: Path) -> bool:
    """Write something else over a part of a table file."""
    files = [path for path in sorted(store.glob("*.sst")) if path.stat().st_size]
    if files:
        path = rng.choice(files)
        with path.open("r+b") as file:
            file.seek(rng.randrange(path.stat().st_size))
            file.write(rng.randbytes(32))
    return bool(files)


def _lose(rng: random.Random, store: Path) -> bool:
    """Remove a table file."""
    files = sorted(store.glob("*.sst"))
    if files:
        rng.choice(files).unlink()
    return bool(files)


def _tear(rng: random.Random, store: Path) -> bool:
    """Cut a log off, or write something else over a part of it."""
    files = [path for path in sorted(store.glob("*.log")) if path.stat().st_size]
    if files:
        path = rng.choice(files)
        place = rng.randrange(path.stat().st_size)
        with path.open("r+b") as file:
            if rng.random() < 0.5:
                file.truncate(place)
            else:
                file.seek(place)
                file.write(rng.randbytes(32))
    return bool(files)


async def flipped(setup: Setup) -> None:
    """Table files that are damaged, while workers run or are down, cost nothing: what was in them comes from the changelog."""
    await _damaged(setup, _flip, clean=True, alive=True)


async def missing(setup: Setup) -> None:
    """Table files that are missing cost nothing: what was in them comes from the changelog."""
    await _damaged(setup, _lose, clean=True, alive=False)


async def torn(setup: Setup) -> None:
    """Logs that are cut off or damaged behind kill -9 cost nothing: what was in them comes from the changelog."""
    await _damaged(setup, _tear, clean=False, alive=False)


ROWS = (
    Row("disk-wiped", wiped, quick=1),
    Row("disk-left", left, quick=1),
    Row("disk-full", full, quick=1),
    Row("disk-damaged", flipped, quick=1),
    Row("disk-missing", missing),
    Row("disk-torn", torn),
)
