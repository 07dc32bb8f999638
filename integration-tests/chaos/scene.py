"""Where a row plays: clean topics, a feeder, workers on one data directory, and the verification at the end."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from chaos.audit import AT_LEAST_ONCE, Audit, Tally
from chaos.feeder import Feeder
from chaos.kafka import Kafka
from chaos.ledger import Deposit, Ledger
from chaos.waiting import until
from chaos.workers import APP, EXAMPLES, INPUT, PROGRAMS, Fleet, Program, Worker
from stream_kafka.broker.server import Broker

__all__ = ["BANK", "WAITING", "Scene", "Setup"]

BANK = Program(EXAMPLES / "bank.py")
WAITING = Program(PROGRAMS / "waiting.py")


@dataclass(frozen=True, slots=True)
class Setup:
    """What a row is told.

    Attributes:
        broker: the broker of the run.
        directory: a directory of its own for logs and data.
        guarantee: the processing guarantee under test.
        seed: of everything random.
        workers: number of workers.
        seconds: how long faults go on.
        partitions: of the input topic.
        rate: deposits a second.
        session: session timeout of the group in seconds.
        transaction: transaction timeout in seconds.
        only: the faults of the only run of a sweep; all of them when it is empty.
        pairs: how many pairs of faults a sweep draws; 0 for single ones.
        say: shows what is going on.
        tally: gets what was found.
    """

    broker: Broker
    directory: Path
    guarantee: str
    seed: int
    workers: int = 2
    seconds: float = 60.0
    partitions: int = 4
    rate: float = 150.0
    session: float = 6.0
    transaction: float = 8.0
    only: str = ""
    pairs: int = 0
    say: Callable[[str], None] = lambda _: None
    tally: Tally = field(default_factory=Tally)

    @property
    def patience(self) -> float:
        """Seconds within which everything fed must be done after the last fault: timeouts, recovery, and room for a slow machine."""
        return self.session + self.transaction + 45.0


class Scene:
    """The stage of one row; an asynchronous context manager that ends every process it started.

    Args:
        setup: what the row was told.
        program: what the workers run.
        refused: share of negative amounts in the load.
        environment: what the workers get besides their settings.
        repeats: whether an echo may repeat; by default under at-least-once only.
        accounts: number of accounts: keys of the table.
        damaged: whether stores may be damaged where nobody has read them.
    """

    def __init__(
        self,
        setup: Setup,
        program: Program = BANK,
        *,
        refused: float = 0.0,
        repeats: bool | None = None,
        accounts: int = 24,
        damaged: bool = False,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.setup = setup
        self.program = program
        self._environment = dict(environment or {})
        self.rng = random.Random(setup.seed)
        self.ledger = Ledger(refuses=program.refuses)
        self.kafka = Kafka(setup.broker.address)
        self.feeder = Feeder(
            setup.broker.address,
            INPUT,
            self.ledger,
            random.Random(self.rng.random()),
            accounts=accounts,
            refused=refused,
        )
        self.tally = setup.tally
        repeated = setup.guarantee == AT_LEAST_ONCE if repeats is None else repeats
        self.audit = Audit(self.kafka, self.ledger, setup.guarantee, repeated, setup.patience, self.tally, damaged)
        self.data = setup.directory / "data"
        self.fleet = self._fleet(self.data, setup.workers, "worker")
        self._everyone = [self.fleet]

    async def __aenter__(self) -> Scene:
        """Make the topics new."""
        echoes = [output.echo for output in self.program.outputs]
        await self.kafka.recreate(INPUT, self.setup.partitions, group=APP, stale=echoes)
        await self.feeder.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End every process."""
        for fleet in self._everyone:
            await fleet.end()
        await self.feeder.stop()

    @asynccontextmanager
    async def load(self) -> AsyncIterator[None]:
        """Feed at the rate of the setup while the block runs, then wait for the acknowledgements."""
        feeding = asyncio.create_task(self.feeder.run(self.setup.rate))
        try:
            yield
        finally:
            feeding.cancel()
            with suppress(asyncio.CancelledError):
                await feeding
        await self.feeder.drain()

    async def settle(self) -> None:
        """Start the workers that are down and wait until all that was fed is committed; raises RowError after ``patience``."""
        self.setup.say("settling")
        await self.fleet.start()
        await self.feeder.drain()
        await self.caught_up()

    async def caught_up(self) -> None:
        """Wait until the committed offsets have reached the end of the input, and of the topics between."""
        for topic in (INPUT, *self.program.between):
            await self._caught_up(topic)

    async def _caught_up(self, topic: str) -> None:
        lags: dict[int, int] = {}

        async def done() -> bool:
            await self.fleet.revive()
            ends, committed = await self.kafka.ends(topic), await self.kafka.committed(APP, topic)
            lags.clear()
            lags.update({number: end - committed.get(number, 0) for number, end in ends.items()})
            return bool(lags) and not any(lags.values())

        await until(
            done, seconds=self.setup.patience, what=lambda: f"lag of {topic} is 0, it is {lags}", check=self.fleet.check
        )

    async def progress(self, count: int = 1) -> None:
        """Wait until ``count`` further deposits are committed."""
        start = now = sum((await self.kafka.committed(APP, INPUT)).values())

        async def done() -> bool:
            nonlocal now
            await self.fleet.revive()
            now = sum((await self.kafka.committed(APP, INPUT)).values())
            return now >= start + count

        def what() -> str:
            return f"{count} further deposits are committed, there are {now - start}"

        await until(done, seconds=self.setup.patience, what=what, check=self.fleet.check)

    async def progress_everywhere(self) -> None:
        """Wait until further deposits of every partition are committed: whoever had them, somebody has them now."""
        start = await self.kafka.committed(APP, INPUT)
        still: list[int] = []

        async def done() -> bool:
            await self.fleet.revive()
            now = await self.kafka.committed(APP, INPUT)
            still[:] = [at for at in range(self.setup.partitions) if now.get(at, 0) <= start.get(at, 0)]
            return not still

        def what() -> str:
            return f"further deposits of every partition are committed, there are none of {still}"

        await until(done, seconds=2 * self.setup.patience, what=what, check=self.fleet.check)

    async def shared_by(self, workers: int) -> None:
        """Wait until the group is stable and has this many members."""
        found: int | None = None

        async def done() -> bool:
            nonlocal found
            await self.fleet.revive()
            found = await self.kafka.members(APP)
            return found == workers

        what = f"the group is shared by {workers}"
        await until(done, seconds=self.setup.patience, what=lambda: f"{what}, it is by {found}", check=self.fleet.check)

    async def conclude(self, *, replay: bool = True) -> None:
        """Settle, end the workers with SIGTERM, and compare everything; what differs becomes a problem of the tally.

        Args:
            replay: compare also what a new worker on an empty data directory recovers from the changelog.
        """
        await self.settle()
        await self.fleet.terminate()
        self.setup.say("comparing")
        await self.audit.reconcile()
        if any(self.audit.differs(output, self.data) for output in self.program.outputs):
            # A worker may end between a commit and the write to its store: then the next one must make up for it.
            self.tally.note = f"{self.tally.note} store behind, reopened".strip()
            await self._another(self.data, "reopened")
        await self._compare(self.data)
        if replay and not self.tally.problems:
            self.tally.duplicates = 0  # they are counted anew; everything else was 0
            await self._another(self.setup.directory / "replayed", "replay")
            await self._compare(self.setup.directory / "replayed")

    async def _another(self, data: Path, name: str) -> None:
        """Let one new worker recover all partitions; it has done so when it has processed one more deposit of each account.

        So each value that it has found on its disk is in the changelog afterwards, where the next one on an empty disk finds it.
        """
        self.setup.say(f"{name}: one worker on {data.name}")
        lives, self.fleet = self.fleet.lives, self._fleet(data, 1, name)
        self.fleet.lives = lives
        self._everyone.append(self.fleet)
        for account in sorted({deposit.account for deposit in self.ledger.deposits.values()}):
            await self.feeder.send(Deposit(account, 1))
        await self.settle()
        await self.fleet.terminate()
        await self.audit.reconcile()

    async def _compare(self, data: Path) -> None:
        for output in self.program.outputs:
            await self.audit.echo(output)
            await self.audit.changelog(output)
            self.audit.stores(output, data)

    def _fleet(self, data: Path, workers: int, name: str) -> Fleet:
        setup = self.setup
        environment = {
            "BROKER_URL": f"kafka://{setup.broker.address}",
            "APP_DATADIR": str(data),
            "PROCESSING_GUARANTEE": setup.guarantee,
            "BROKER_SESSION_TIMEOUT": str(setup.session),
            "BROKER_HEARTBEAT_INTERVAL": str(setup.session / 5),
            "BROKER_TRANSACTION_TIMEOUT": str(setup.transaction),
            "TOPIC_PARTITIONS": str(setup.partitions),
            "APP_WEB_ENABLED": "false",
            "PYTHONPATH": str(EXAMPLES),
            "CHAOS_DIRECTORY": str(setup.directory),
            **self._environment,
        }
        if setup.guarantee == AT_LEAST_ONCE:
            environment["BROKER_COMMIT_INTERVAL"] = "0.5"
        logs = setup.directory
        return Fleet([Worker(n, self.program, environment, logs / f"{name}-{n}.log") for n in range(workers)])
