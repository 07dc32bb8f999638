"""Whatever goes wrong: with exactly-once every deposit counts once, with at-least-once none is lost, and no table counts twice."""

from __future__ import annotations

import asyncio
from collections import Counter
from random import Random

import pytest

from stream_core.errors import CommitError, DeadlineError, ProduceError, TransportError
from stream_core.failpoints import arm
from stream_core.memory import MemoryStores
from stream_core.primitives import TP

from .bank import GROUP, MIRROR, Bank, Worker

pytestmark = pytest.mark.looptime

SEEDS = range(12)


class HandlerTrouble:
    """Lets random events wait or fail, some of them more than once; the same ones for the same seed.

    Args:
        seed: of the randomness.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._failures: dict[tuple[str, TP, int], int] = {}

    async def __call__(self, agent: str, tp: TP, offset: int) -> None:
        """Wait for a moment, or raise ValueError."""
        where = agent, tp, offset
        random = Random(f"{self._seed} {where}")
        if random.random() < 0.3:
            await asyncio.sleep(random.choice([0, 0, 0.01, 0.2]))
        if where not in self._failures:
            self._failures[where] = random.choice([0] * 30 + [1, 2])
        if self._failures[where]:
            self._failures[where] -= 1
            raise ValueError(f"provoked in {agent} at {tp} offset {offset}")


class Chaos:
    """Random things that go wrong in a bank.

    Args:
        bank: the bank.
        random: what happens, and when.
    """

    def __init__(self, bank: Bank, random: Random) -> None:
        self.bank = bank
        self.random = random

    async def run(self, steps: int) -> None:
        """Let ``steps`` things happen, with deposits and time in between."""
        actions = [
            *(self.fail_request, self.fail_request, self.fail_request, self.fail_checkpoint, self.expire),
            *(self.join, self.leave, self.restart, self.crash),
        ]
        for _ in range(steps):
            self.bank.deposit(self.random, self.random.randrange(20))
            await self.random.choice(actions)()
            await asyncio.sleep(self.random.choice([0, 0.01, 0.1, 0.5, 2.0]))

    def _worker(self) -> Worker:
        return self.random.choice(self.bank.workers)

    async def fail_request(self) -> None:
        """A request fails, or its answer is lost."""
        operation, error = self.random.choice(self._requests())
        self.bank.cluster.faults.fail_next(operation, error, applied=self.random.random() < 0.5)

    def _requests(self) -> list[tuple[str, TransportError]]:
        requests: list[tuple[str, TransportError]] = [
            ("produce", ProduceError("provoked")),
            ("offset_fetch", DeadlineError("provoked")),
            ("list_offsets", DeadlineError("provoked")),
        ]
        if self.bank.exactly_once:
            return [
                *requests,
                ("txn_offset_commit", CommitError("provoked")),
                ("end_txn", DeadlineError("provoked")),
                ("init_producer_id", DeadlineError("provoked")),
            ]
        return [*requests, ("offset_commit", CommitError("provoked")), ("offset_commit", DeadlineError("provoked"))]

    async def fail_checkpoint(self) -> None:
        """A checkpoint fails at one of its steps."""
        step = self.random.choice(["cut", "changelog", "acked", "committed"])
        arm(f"checkpoint.{step}:raise")

    async def expire(self) -> None:
        """A worker is taken out of the group, and learns of it."""
        self.bank.cluster.expire(GROUP, self._worker().member)

    async def join(self) -> None:
        """One more worker."""
        if len(self.bank.workers) < 2:
            await self.bank.start()

    async def leave(self) -> None:
        """A worker less, unless it is the last."""
        if len(self.bank.workers) > 1:
            await self.bank.stop(self._worker())

    async def restart(self) -> None:
        """A worker stops, and comes again with its disk or without."""
        worker = self._worker()
        await self.bank.stop(worker)
        await self._again(worker)

    async def crash(self) -> None:
        """A worker stops in the middle of its last checkpoint, and comes again."""
        worker = self._worker()
        arm(f"checkpoint.{self.random.choice(['cut', 'changelog', 'acked', 'committed'])}:raise")
        await self.bank.stop(worker)
        await self._again(worker)

    async def _again(self, worker: Worker) -> None:
        stores = self.random.choice([worker.stores, MemoryStores()])
        await self.bank.start(stores, self.random.choice([worker.name, ""]))


async def survive(bank: Bank, seed: int) -> None:
    """Run a bank through chaos, then let it finish."""
    random = Random(seed)
    bank.trouble = HandlerTrouble(seed)
    bank.deposit(random, 30)
    await bank.start()
    try:
        await Chaos(bank, random).run(steps=12)
    finally:
        arm("")
    await bank.done()


async def fresh_recovery(bank: Bank) -> Worker:
    """A worker that recovers everything on an empty disk."""
    for worker in list(bank.workers):
        await bank.stop(worker)
    return await bank.start()


@pytest.mark.parametrize("seed", SEEDS)
async def test_exactly_once_survives(seed: int) -> None:
    """Each deposit is echoed exactly once; table, changelog and a recovery from nothing equal the deposits added up,
    and so do the payments, which no record brought."""
    async with Bank(exactly_once=True) as bank:
        await survive(bank, seed)

        assert bank.echoed() == bank.deposited()
        assert bank.echoed(MIRROR) == bank.deposited()
        assert bank.folded() == bank.expected
        held = {key: value for worker in bank.workers for key, value in worker.contents().items()}
        assert held == bank.expected
        assert sum((worker.money() for worker in bank.workers), Counter[int]()) == bank.money
        assert bank.payments() == bank.money
        worker = await fresh_recovery(bank)
        assert (worker.contents(), worker.paid_for_good()) == (bank.expected, bank.money)


@pytest.mark.parametrize("seed", SEEDS)
async def test_at_least_once_survives(seed: int) -> None:
    """No deposit is missing in the echo; table and a recovery from nothing equal the deposits added up, without repeats; so
    does what was paid out."""
    async with Bank(exactly_once=False) as bank:
        await survive(bank, seed)

        assert bank.deposited() <= bank.echoed()
        assert bank.deposited() <= bank.echoed(MIRROR)
        held = {key: value for worker in bank.workers for key, value in worker.contents().items()}
        assert held == bank.expected
        assert sum((worker.money() for worker in bank.workers), Counter[int]()) == bank.money
        assert bank.payments() >= bank.money
        worker = await fresh_recovery(bank)
        assert (worker.contents(), worker.paid_for_good()) == (bank.expected, bank.money)
