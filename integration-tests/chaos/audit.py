"""What a row has found: the outputs of the workers against the ledger."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from chaos.kafka import Kafka
from chaos.ledger import Deposit, Ledger, Position
from chaos.stores import read_tables
from chaos.verify import Echoed, compare_echo, compare_totals, fold
from chaos.workers import APP, INPUT, Output
from stream_core.errors import StoreCorruptError

__all__ = ["AT_LEAST_ONCE", "EXACTLY_ONCE", "Audit", "Tally"]

AT_LEAST_ONCE = "at_least_once"
EXACTLY_ONCE = "exactly_once"


@dataclass(slots=True)
class Tally:
    """What was done and found; the row has passed when there are no problems.

    Attributes:
        faults: number of faults.
        fed: number of deposits.
        missing: deposits without an echo.
        duplicates: echoes too many.
        wrong: keys with a wrong total, counted once for each copy of the table.
        note: what else is worth showing.
        problems: what is wrong, one text each.
    """

    faults: int = 0
    fed: int = 0
    missing: int = 0
    duplicates: int = 0
    wrong: int = 0
    note: str = ""
    problems: list[str] = field(default_factory=list)

    def add(self, what: str, found: Sequence[object]) -> None:
        """Add a problem when something was found."""
        if found:
            self.problems.append(f"{what}: {len(found)}, such as {', '.join(map(str, found[:3]))}")


@dataclass(frozen=True, slots=True)
class Audit:
    """Compares everything one by one, after the workers have ended.

    Attributes:
        kafka: where the outputs are.
        ledger: the truth.
        guarantee: the processing guarantee under test.
        repeats: whether an echo may repeat.
        patience: seconds to wait for transactions that are still open.
        tally: gets what differs.
        tolerant: whether stores may be damaged where nobody has read them.
    """

    kafka: Kafka
    ledger: Ledger
    guarantee: str
    repeats: bool
    patience: float
    tally: Tally
    tolerant: bool = False

    async def reconcile(self) -> None:
        """Bring the ledger in line with the input topic."""
        entries = await self.kafka.read(INPUT)
        self.ledger.reconcile({Position(e.partition, e.offset): Deposit.decode(e.value or b"") for e in entries})
        self.tally.fed = len(self.ledger.deposits)
        if not self.ledger.deposits:
            self.tally.problems.append("nothing was fed")

    async def echo(self, output: Output) -> None:
        """Compare an echo topic: each accepted deposit is in it, exactly once unless it may repeat, and in order."""
        # A failed event's sends are held back under exactly-once only.
        tolerated = self.ledger.refused() if self.guarantee == AT_LEAST_ONCE else frozenset[Position]()
        echoes = [Echoed.decode(entry) for entry in await self.kafka.read(output.echo, seconds=self.patience)]
        report = compare_echo(self.ledger.accepted(), echoes, tolerated)
        self.tally.missing += len(report.missing)
        self.tally.duplicates += report.duplicates
        self.tally.add(f"{output.echo}: missing", report.missing)
        self.tally.add(f"{output.echo}: foreign", report.foreign)
        if output.ordered:
            self.tally.add(f"{output.echo}: out of order", report.disordered)
        if not self.repeats:
            self.tally.add(f"{output.echo}: repeated", list(report.repeated))

    async def changelog(self, output: Output) -> None:
        """Compare the fold of a changelog, under exactly-once.

        Under at-least-once it may hold records of an interval that a crashed worker never committed: recovery leaves them out.
        """
        if output.table and self.guarantee == EXACTLY_ONCE:
            topic = f"{APP}-{output.table}-changelog"
            self._totals(topic, fold(await self.kafka.read(topic, seconds=self.patience)))

    def differs(self, output: Output, data: Path) -> bool:
        """Whether the stores in a data directory differ from the ledger; nothing is tallied."""
        try:
            return bool(output.table) and bool(compare_totals(self.ledger.totals(), read_tables(data, output.table)))
        except StoreCorruptError:
            return True

    def stores(self, output: Output, data: Path) -> None:
        """Compare the stores in a data directory.

        One with a damaged part that no worker has had to read cannot be compared here. What a worker has read from it and sent on is
        compared with the changelog, and on the disk that is replayed from that.
        """
        if not output.table:
            return
        try:
            self._totals(f"{output.table} in {data.name}", read_tables(data, output.table))
        except StoreCorruptError:
            if not self.tolerant:
                raise

    def _totals(self, name: str, copy: dict[int, dict[bytes, bytes]]) -> None:
        wrong = compare_totals(self.ledger.totals(), copy)
        self.tally.wrong += len(wrong)
        self.tally.add(name, wrong)
