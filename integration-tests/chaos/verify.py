"""The comparison itself: pure functions of what was fed and what was found."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from chaos.ledger import Deposit, Position, Totals

__all__ = [
    "EchoReport",
    "Echoed",
    "Entry",
    "Told",
    "Window",
    "compare_echo",
    "compare_totals",
    "compare_windows",
    "fold",
    "sums_of",
    "windows_of",
]


class Entry(NamedTuple):
    """One record of a topic; its timestamp is in milliseconds."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    timestamp: int = -1


class Echoed(NamedTuple):
    """One record of an echo topic: the account, and the position of the deposit that it answers."""

    account: str
    position: Position

    @classmethod
    def decode(cls, entry: Entry) -> Echoed:
        """Read a record of an echo topic."""
        position = json.loads(entry.value or b"")
        return cls((entry.key or b"").decode(), Position(position["partition"], position["offset"]))


class Window(NamedTuple):
    """A window of an account, by its beginning in seconds since the epoch."""

    account: str
    start: float


class Told(NamedTuple):
    """One record that tells of a window that has closed, with what was in it."""

    window: Window
    amount: int

    @classmethod
    def decode(cls, entry: Entry) -> Told:
        """Read a record of the topic of closed windows."""
        value = json.loads(entry.value or b"")
        return cls(Window(value["account"], value["start"]), value["amount"])


@dataclass(frozen=True, slots=True)
class EchoReport:
    """How an echo topic differs from the deposits.

    Attributes:
        missing: deposits without an echo.
        repeated: positions echoed more than once, with the number of surplus echoes.
        foreign: positions echoed that are no accepted deposit, or under another account.
        disordered: first echoes of an account that came before the echo of an earlier deposit of it.
    """

    missing: Sequence[Position] = ()
    repeated: Mapping[Position, int] = field(default_factory=dict)
    foreign: Sequence[Position] = ()
    disordered: Sequence[Position] = ()

    @property
    def duplicates(self) -> int:
        """The number of surplus echoes."""
        return sum(self.repeated.values())


def compare_echo(
    accepted: Mapping[Position, Deposit], echoes: Iterable[Echoed], tolerated: Collection[Position] = ()
) -> EchoReport:
    """Compare an echo topic with the deposits one by one.

    Args:
        accepted: the deposits of which each must be echoed.
        echoes: the records of the echo topic, in the order of its partitions.
        tolerated: positions that may be echoed or not.

    Returns:
        the differences; the order is checked per account on first echoes.
    """
    seen: Counter[Position] = Counter()
    foreign: list[Position] = []
    disordered: list[Position] = []
    newest: dict[str, Position] = {}
    for account, position in echoes:
        if position in tolerated:
            continue
        deposit = accepted.get(position)
        if deposit is None or deposit.account != account:
            foreign.append(position)
            continue
        seen[position] += 1
        if seen[position] == 1:
            if account in newest and newest[account] > position:
                disordered.append(position)
            newest[account] = max(position, newest.get(account, position))
    missing = sorted(accepted.keys() - seen.keys())
    repeated = {position: times - 1 for position, times in sorted(seen.items()) if times > 1}
    return EchoReport(missing, repeated, foreign, disordered)


def fold(entries: Iterable[Entry]) -> dict[int, dict[bytes, bytes]]:
    """The table that a changelog describes when every record counts: per partition the last value of each key."""
    tables: dict[int, dict[bytes, bytes]] = defaultdict(dict)
    for entry in entries:
        if entry.key is None:
            continue
        if entry.value is None:
            tables[entry.partition].pop(entry.key, None)
        else:
            tables[entry.partition][entry.key] = entry.value
    return dict(tables)


def compare_totals(expected: Totals, actual: Mapping[int, Mapping[bytes, bytes]]) -> list[str]:
    """Compare a table, per partition, with the sums of the deposits.

    Args:
        expected: the sums.
        actual: JSON keys and JSON values as they are in the changelog and in the store.

    Returns:
        one text for each key that is wrong, missing, or there without a deposit.
    """
    wrong = []
    for partition in sorted(expected.keys() | actual.keys()):
        sums = expected.get(partition, {})
        found = {json.loads(key): json.loads(value) for key, value in actual.get(partition, {}).items()}
        wrong += [
            f"{account} in partition {partition} is {found.get(account)}, fed {sums.get(account)}"
            for account in sorted(sums.keys() | found.keys())
            if sums.get(account) != found.get(account)
        ]
    return wrong


def windows_of(entries: Iterable[Entry], size: float) -> dict[Window, int]:
    """What the deposits of each account add up to in each window of ``size`` seconds, by the timestamps of their records."""
    sums: Counter[Window] = Counter()
    for entry in entries:
        deposit = Deposit.decode(entry.value or b"")
        sums[Window(deposit.account, entry.timestamp // (size * 1000) * size)] += deposit.amount
    return sums


def sums_of(told: Iterable[Told]) -> Totals:
    """What the windows add up to that were told of, each of them once; all accounts as of one partition."""
    sums: Counter[str] = Counter()
    for window, amount in dict(told).items():
        sums[window.account] += amount
    return {0: dict(sums)}


def compare_windows(expected: Mapping[Window, int], told: Iterable[Told], *, repeats: bool) -> list[str]:
    """Compare the windows that were told of with the deposits in them; those that are not told of may still be open.

    Args:
        expected: what was deposited in each window.
        told: what was told.
        repeats: whether a window may be told of more than once; always with the same amount.

    Returns:
        one text for each window that is wrong.
    """
    counts: Counter[Window] = Counter()
    wrong = []
    for window, amount in told:
        counts[window] += 1
        if amount != expected.get(window):
            wrong.append(f"{window.account} from {window.start} is {amount}, fed {expected.get(window)}")
    if not repeats:
        wrong += [
            f"{window.account} from {window.start} is told {count} times"
            for window, count in counts.items()
            if count > 1
        ]
    return wrong
