"""What is measured: pairs of programs whose speeds are compared, recoveries and latencies that have a time to keep."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

__all__ = ["ACCOUNTS", "ROWS", "UNIQUE", "Kind", "Row", "Sample"]

ACCOUNTS = "accounts"
"""The topic with 10,000 keys."""

UNIQUE = "unique"
"""The topic in which every key comes once."""


class Kind(Enum):
    """What a row measures."""

    SPEED = "ratio of events a second"
    RECOVERY = "seconds from start to first event"
    LATENCY = "median of milliseconds from in to out"


@dataclass(frozen=True)
class Sample:
    """A program and how it is run.

    Attributes:
        program: module in :mod:`benchmarks.samples`, or a Java source there.
        guarantee: processing guarantee.
        packages: makes it run in an environment of its own that has these packages instead of ours.
        sends: it sends on what passes.
    """

    program: str
    guarantee: str = "at_least_once"
    packages: tuple[str, ...] = ()
    sends: bool = False

    @property
    def java(self) -> bool:
        """Whether it is a Java program."""
        return self.program == "Peer"


@dataclass(frozen=True)
class Row:
    """One line of the result.

    Attributes:
        name: what ``--rows`` takes.
        title: what it measures.
        goal: the least ratio of speeds, or the most seconds or milliseconds.
        aim: what a good result is.
        ours: the program whose speed counts.
        base: the program that it is compared with; ``None`` when only a time is measured.
        topic: what both read.
        kind: what it measures.
        empty_disk: for a recovery, whether its disk is empty.
    """

    name: str
    title: str
    goal: float
    aim: float
    ours: Sample
    base: Sample | None = None
    topic: str = ACCOUNTS
    kind: Kind = Kind.SPEED
    empty_disk: bool = False

    @property
    def java(self) -> bool:
        """Whether it needs a Java compiler."""
        return self.base is not None and self.base.java

    def met(self, value: float) -> bool:
        """Whether ``value`` meets the goal."""
        return value >= self.goal if self.kind is Kind.SPEED else value <= self.goal


_GETMANY = Sample("aiokafka_getmany")
_COUNT = Sample("count_rocksdb")
_CONSUME = Sample("consume_agent")
_FILTER = Sample("filter_agent", sends=True)
_SEND_BATCH = Sample("aiokafka_send_batch", sends=True)
_FAUST = ("faust-streaming==0.15.3", "orjson", "uvloop")
_QUIX = ("quixstreams==3.28.1",)
_PEERS = (
    ("faust", "faust-streaming", 20.0, Sample("faust_streaming", packages=_FAUST)),
    ("quix", "Quix Streams", 1.0, Sample("quix_streams", packages=_QUIX)),
    ("kafka-streams", "Kafka Streams", 1.0, Sample("Peer")),
)


def _against_peers() -> tuple[Row, ...]:
    rows: list[Row] = []
    for short, name, least, peer in _PEERS:
        sending = replace(peer, sends=True)
        rows += [
            Row(f"consume-{short}", f"typed records by an agent / {name}", least, least, _CONSUME, peer),
            Row(f"filter-{short}", f"filter and produce / {name}", least, least, _FILTER, sending),
            Row(
                f"latency-{short}",
                f"in to out at 1,000/s, beside {name}",
                *(3.0, 2.0, _FILTER, sending),
                kind=Kind.LATENCY,
            ),
        ]
    return tuple(rows)


ROWS = (
    Row("consume", "typed records by an agent / aiokafka getmany + msgspec", 1.0, 1.3, _CONSUME, _GETMANY),
    Row("filter", "filter and produce / aiokafka getmany + msgspec + send_batch", 0.8, 1.0, _FILTER, _SEND_BATCH),
    Row("latency", "in to out at 1,000/s, beside aiokafka alone", 3.0, 2.0, _FILTER, _SEND_BATCH, kind=Kind.LATENCY),
    Row("count", "count per key, RocksDB + changelog / aiokafka getmany + msgspec", 0.4, 0.6, _COUNT, _GETMANY),
    Row(
        "exactly_once",
        "the same count exactly once, every 0.1 s / at least once",
        *(0.7, 0.9, Sample("count_rocksdb", "exactly_once"), _COUNT),
    ),
    Row(
        "rebuild",
        "start to first event, table of unique keys, empty disk",
        *(6.0, 3.0, _COUNT),
        topic=UNIQUE,
        kind=Kind.RECOVERY,
        empty_disk=True,
    ),
    Row(
        "reopen",
        "start to first event, the same table, disk intact",
        *(2.0, 1.0, _COUNT),
        topic=UNIQUE,
        kind=Kind.RECOVERY,
    ),
    *_against_peers(),
)
