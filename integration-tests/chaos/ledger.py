"""What was fed: every deposit that the broker acknowledged, by partition and offset."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from typing import NamedTuple

from chaos.errors import RowError

__all__ = ["Deposit", "Ledger", "Position", "Totals"]

Totals = dict[int, dict[str, int]]
"""Sum of the amounts per partition and account."""


class Position(NamedTuple):
    """Where a deposit is in the input topic."""

    partition: int
    offset: int


class Deposit(NamedTuple):
    """One input record. A negative amount is one that the programs of some rows refuse."""

    account: str
    amount: int

    def encode(self) -> bytes:
        """The value as the record type of the programs reads it."""
        return json.dumps(self._asdict()).encode()

    @classmethod
    def decode(cls, value: bytes) -> Deposit:
        """Read what :meth:`encode` wrote."""
        return cls(**json.loads(value))


class Ledger:
    """The truth that the outputs are compared with.

    Attributes:
        deposits: every deposit in the input topic by its position.
        refuses: whether the program under test refuses negative amounts (they must leave no trace then).
    """

    def __init__(self, *, refuses: bool = False) -> None:
        self.deposits: dict[Position, Deposit] = {}
        self.refuses = refuses

    def record(self, position: Position, deposit: Deposit) -> None:
        """Remember an acknowledged deposit."""
        self.deposits[position] = deposit

    def accepted(self) -> dict[Position, Deposit]:
        """The deposits that must have had their effect."""
        if not self.refuses:
            return dict(self.deposits)
        return {position: deposit for position, deposit in self.deposits.items() if deposit.amount >= 0}

    def refused(self) -> frozenset[Position]:
        """The deposits that must have had none."""
        return frozenset(self.deposits.keys() - self.accepted().keys())

    def totals(self) -> Totals:
        """The fold of the accepted deposits: what every copy of the table must hold."""
        sums: Totals = defaultdict(lambda: defaultdict(int))
        for position, deposit in self.accepted().items():
            sums[position.partition][deposit.account] += deposit.amount
        return {partition: dict(accounts) for partition, accounts in sums.items()}

    def reconcile(self, topic: Mapping[Position, Deposit]) -> None:
        """Add what is in the topic though its acknowledgement was lost with a broker.

        Raises:
            RowError: the topic lacks or changed an acknowledged deposit, so that nothing can be concluded from this run.
        """
        lost = [position for position, deposit in self.deposits.items() if topic.get(position) != deposit]
        if lost:
            raise RowError(f"the broker lost {len(lost)} acknowledged deposits, such as {min(lost)}")
        self.deposits.update(topic)
