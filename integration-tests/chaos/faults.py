"""What is done to workers, and when: a plan made from a seed before anything runs."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from enum import Enum
from typing import NamedTuple

from chaos.workers import Fleet, Worker

__all__ = ["Fault", "Kind", "inject", "plan"]

RECOVERY = 3.0
"""Seconds for which a worker is left alone after a fault, so that it does something that the next one can break."""


class Kind(Enum):
    """A fault of one worker."""

    KILL = "kill -9 and restart"
    STOP = "SIGSTOP beyond the session timeout, then SIGCONT"
    TERM = "SIGTERM and restart"


class Fault(NamedTuple):
    """One planned fault: ``at`` seconds after the start, ``worker`` is down for ``hold`` seconds."""

    at: float
    kind: Kind
    worker: int
    hold: float


def plan(
    rng: random.Random, *, seconds: float, workers: int, session: float, kinds: Sequence[Kind] = tuple(Kind)
) -> list[Fault]:
    """Plan a fault every 2 to 4 seconds.

    Args:
        rng: the only source of chance.
        seconds: no fault begins later than this.
        workers: number of workers; one that is down already is left alone, so that two may be down at once.
        session: session timeout of the group in seconds; a stopped worker stays so for one and a half times that.
        kinds: the faults to choose from; each comes once in every round, in random order.

    Returns:
        the faults in order of time.
    """
    faults: list[Fault] = []
    free_from = [0.0] * workers
    at, hand = rng.uniform(1.0, 2.0), list[Kind]()
    while True:
        at = max(at, min(free_from))
        if at > seconds:
            return faults
        if not hand:
            hand = rng.sample(list(kinds), len(kinds))
        kind = hand.pop()
        worker = rng.choice([number for number, free in enumerate(free_from) if free <= at])
        hold = session * 1.5 if kind is Kind.STOP else rng.uniform(0.0, 1.5)
        faults.append(Fault(at, kind, worker, hold))
        free_from[worker] = at + hold + RECOVERY
        at += rng.uniform(2.0, 4.0)


async def inject(faults: Sequence[Fault], fleet: Fleet, say: Callable[[str], None]) -> None:
    """Carry out a plan, and return when every worker runs again.

    Raises:
        RowError: a worker ended by itself, or did not end cleanly on SIGTERM.
    """
    began = time.monotonic()
    async with asyncio.TaskGroup() as running:
        for number, fault in enumerate(faults, 1):
            await asyncio.sleep(max(0.0, began + fault.at - time.monotonic()))
            fleet.check()
            say(f"fault {number} of {len(faults)}: worker {fault.worker}, {fault.kind.value}")
            running.create_task(_apply(fault, fleet.workers[fault.worker]))


async def _apply(fault: Fault, worker: Worker) -> None:
    if fault.kind is Kind.STOP:
        worker.stop()
        await asyncio.sleep(fault.hold)
        worker.resume()
        return
    if fault.kind is Kind.KILL:
        await worker.kill()
    else:
        await worker.terminate()
    await asyncio.sleep(fault.hold)
    await worker.start()
