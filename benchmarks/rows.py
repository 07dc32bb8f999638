"""What is measured: pairs of programs whose speeds are compared, and recoveries that have a time to keep."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ACCOUNTS", "ROWS", "UNIQUE", "Row", "Sample"]

ACCOUNTS = "accounts"
"""The topic with 10,000 keys."""

UNIQUE = "unique"
"""The topic in which every key comes once."""


@dataclass(frozen=True)
class Sample:
    """A program and how it is run.

    Attributes:
        program: module in :mod:`benchmarks.samples`.
        guarantee: processing guarantee.
    """

    program: str
    guarantee: str = "at_least_once"


@dataclass(frozen=True)
class Row:
    """One line of the result.

    Attributes:
        name: what ``--rows`` takes.
        title: what it measures.
        goal: the least ratio of speeds, or the most seconds.
        aim: what a good result is.
        ours: the program whose speed counts.
        base: the program that it is compared with; ``None`` when seconds are measured.
        topic: what both read.
        empty_disk: for a recovery, whether its disk is empty.
    """

    name: str
    title: str
    goal: float
    aim: float
    ours: Sample
    base: Sample | None = None
    topic: str = ACCOUNTS
    empty_disk: bool = False

    @property
    def recovery(self) -> bool:
        """Whether the row measures how long a start takes."""
        return self.base is None

    def met(self, value: float) -> bool:
        """Whether ``value`` meets the goal."""
        return value <= self.goal if self.recovery else value >= self.goal


_GETMANY = Sample("aiokafka_getmany")
_COUNT = Sample("count_rocksdb")

ROWS = (
    Row(
        "consume", "typed records by an agent / aiokafka getmany + msgspec", 1.0, 1.3, Sample("consume_agent"), _GETMANY
    ),
    Row("count", "count per key, RocksDB + changelog / aiokafka getmany + msgspec", 0.4, 0.6, _COUNT, _GETMANY),
    Row(
        "exactly_once",
        "the same count exactly once, every 0.1 s / at least once",
        0.7,
        0.9,
        Sample("count_rocksdb", "exactly_once"),
        _COUNT,
    ),
    Row(
        "rebuild",
        "start to first event, table of unique keys, empty disk",
        6.0,
        3.0,
        _COUNT,
        topic=UNIQUE,
        empty_disk=True,
    ),
    Row("reopen", "start to first event, the same table, disk intact", 2.0, 1.0, _COUNT, topic=UNIQUE),
)
