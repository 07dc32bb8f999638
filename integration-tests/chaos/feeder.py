"""Writes deposits and remembers where the broker put each of them."""

from __future__ import annotations

import asyncio
import random
import time
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from chaos.errors import RowError
from chaos.ledger import Deposit, Ledger, Position

__all__ = ["Feeder"]

TICK = 0.02
"""Seconds between two small bursts of a steady load."""

ACKNOWLEDGED = 60.0
"""Seconds within which the broker must have acknowledged what was sent, or the producer given it up."""


class Feeder:
    """A producer of deposits whose ledger is the truth of a row.

    What was sent but never acknowledged (a broker died) is left out of the ledger: :meth:`Ledger.reconcile` adds it later
    when it is in the topic all the same.

    Args:
        address: ``host:port`` of a broker.
        topic: the input topic; it must exist.
        ledger: gets every acknowledged deposit.
        rng: chooses accounts and amounts.
        accounts: number of accounts.
        refused: share of negative amounts, from 0 to 1.
    """

    def __init__(
        self, address: str, topic: str, ledger: Ledger, rng: random.Random, *, accounts: int = 24, refused: float = 0.0
    ) -> None:
        self.ledger = ledger
        self.refused = refused
        self._address = address
        self._topic = topic
        self._rng = rng
        self._accounts = accounts
        self._pending: set[asyncio.Future[Any]] = set()
        self._broken = False
        self._producer: Any = None
        self._connecting = (
            asyncio.Lock()
        )  # two that send must not make two producers: one of them would never be closed

    async def start(self) -> None:
        """Connect."""
        producer = AIOKafkaProducer(bootstrap_servers=self._address, enable_idempotence=True, acks="all", linger_ms=2)
        try:
            await asyncio.wait_for(producer.start(), 30)
        except BaseException:
            await producer.stop()
            raise
        self._broken, self._producer = False, producer

    async def stop(self) -> None:
        """Close the connection; never waits long for a broker that is gone."""
        if self._producer is not None:
            producer, self._producer = self._producer, None
            await asyncio.wait({asyncio.ensure_future(producer.stop())}, timeout=10)

    async def send(self, deposit: Deposit) -> asyncio.Future[Any]:
        """Send one deposit; it is in the ledger when the broker has acknowledged it, which the future waits for."""
        async with self._connecting:
            if self._broken:
                await self.stop()
            if self._producer is None:
                await self.start()
            producer = self._producer
        future: asyncio.Future[Any] = await producer.send(self._topic, deposit.encode(), key=deposit.account.encode())
        self._pending.add(future)
        future.add_done_callback(lambda done: self._acknowledged(done, deposit))
        return future

    async def deliver(self, deposit: Deposit) -> Position:
        """Send one deposit, also beside a load; returns where it is in the topic."""
        metadata = await asyncio.wait_for(await self.send(deposit), ACKNOWLEDGED)
        return Position(metadata.partition, metadata.offset)

    async def burst(self, count: int) -> None:
        """Send ``count`` random deposits and wait until all are acknowledged."""
        for _ in range(count):
            await self.send(self._random())
        await self.drain()

    async def run(self, rate: float) -> None:
        """Send ``rate`` random deposits a second until cancelled, through any fault of the broker."""
        began, sent = time.monotonic(), 0
        while True:
            due = int((time.monotonic() - began) * rate) - sent
            sent += due
            for _ in range(min(due, int(rate))):  # what a broker's absence held up is not caught up with
                try:
                    await self.send(self._random())
                except (KafkaError, TimeoutError):
                    self._broken = True
            await asyncio.sleep(TICK)

    async def drain(self, seconds: float = ACKNOWLEDGED) -> None:
        """Wait until everything sent so far is acknowledged or has failed; raises RowError after ``seconds``.

        What is sent meanwhile is not waited for: under load there may be no moment in which nothing is on its way.
        """
        if self._pending:
            _, missing = await asyncio.wait(set(self._pending), timeout=seconds)
            if missing:
                raise RowError(f"not within {seconds:.0f} s: {len(missing)} deposits are acknowledged")

    def _random(self) -> Deposit:
        account = f"a{self._rng.randrange(self._accounts)}"
        amount = self._rng.randint(1, 100)
        return Deposit(account, -amount if self._rng.random() < self.refused else amount)

    def _acknowledged(self, done: asyncio.Future[Any], deposit: Deposit) -> None:
        self._pending.discard(done)
        if done.cancelled() or done.exception() is not None:
            self._broken = True
            return
        metadata = done.result()
        self.ledger.record(Position(metadata.partition, metadata.offset), deposit)
