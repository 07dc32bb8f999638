"""What is measured: pairs of programs whose speeds are compared, starts and latencies that have a time to keep."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

__all__ = ["ACCOUNTS", "MILLION", "ROWS", "UNIQUE", "WAITING", "Kind", "Row", "Sample"]

ACCOUNTS = "accounts"
"""The topic with 10,000 keys."""

MILLION = "million"
"""The topic with a million keys, each of which comes again at random."""

UNIQUE = "unique"
"""The topic in which every key comes once."""

WAITING = "waiting"
"""The topic in which one record waits at a time."""


class Kind(Enum):
    """What a row measures."""

    SPEED = "ratio of events a second"
    LATENCY = "median of milliseconds from in to out"
    RECOVERY = "seconds from start to first event"


@dataclass(frozen=True)
class Sample:
    """A program and how it is run.

    Attributes:
        program: module in :mod:`benchmarks.samples`, or a Java source there.
        guarantee: processing guarantee.
        packages: makes it run in an environment of its own that has these packages instead of ours.
        sends: it sends on what passes.
        counts: in how many values of a table it counts each event; 0 for a program that does not count.
        changelog: its changelog; ``{group}`` and ``{topic}`` stand for its group and for the topic that it reads.
        prefix: bytes before each count in the changelog.
        binary: each count in the changelog is eight bytes, the highest first, and not JSON.
        windows: the kind of windows in which it counts.
    """

    program: str
    guarantee: str = "at_least_once"
    packages: tuple[str, ...] = ()
    sends: bool = False
    counts: int = 0
    changelog: str = "{group}-counts-changelog"
    prefix: int = 0
    binary: bool = False
    windows: str = ""

    @property
    def java(self) -> bool:
        """Whether it is a Java program."""
        return self.program == "Peer"


@dataclass(frozen=True)
class Row:
    """One line of the result.

    Attributes:
        name: what ``--rows`` takes.
        work: what is done.
        against: what it is compared with; of a recovery, in which state it begins.
        goal: the least ratio of speeds, or the most seconds or milliseconds.
        aim: what a good result is.
        ours: the program whose speed counts.
        base: the program that it is compared with; ``None`` when only a time is measured.
        topic: what both read.
        kind: what it measures.
        empty_disk: for a recovery, whether its disk is empty.
    """

    name: str
    work: str
    against: str
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

    @property
    def peer(self) -> bool:
        """Whether it compares with another framework."""
        return self.base is not None and (self.base.java or bool(self.base.packages))

    def met(self, value: float) -> bool:
        """Whether ``value`` meets the goal."""
        return value >= self.goal if self.kind is Kind.SPEED else value <= self.goal


_GETMANY = Sample("aiokafka_getmany")
_SEND_BATCH = Sample("aiokafka_send_batch", sends=True)
_CONSUME = Sample("consume_agent")
_FILTER = Sample("filter_agent", sends=True)
_COUNT = Sample("count_rocksdb", counts=1)
_TUMBLING = Sample("count_windows", windows="tumbling", counts=1)
_HOPPING = Sample("count_windows", windows="hopping", counts=6)
_SESSION = Sample("count_windows", windows="session", counts=1, prefix=8)
_EXACTLY_ONCE = replace(_COUNT, guarantee="exactly_once")
_FAUST = ("faust-streaming==0.15.3", "faust-streaming-rocksdb==0.9.3", "orjson", "uvloop")
_QUIX = ("quixstreams==3.28.1",)
_PEERS = (
    ("faust", "faust-streaming", 20.0, Sample("faust_streaming", packages=_FAUST)),
    ("quix", "Quix Streams", 1.0, Sample("quix_streams", packages=_QUIX)),
    ("kafka-streams", "Kafka Streams", 1.0, Sample("Peer")),
)

_TYPED = "typed records by an agent"
_SELECT = "filter and produce"
_IN_TO_OUT = "in to out at 1,000 events/s"
_IN_TUMBLING = "the same count in windows of 10 s"
_IN_HOPPING = "the same count in windows of 60 s each 10 s"
_IN_SESSIONS = "the same count in sessions with a gap of 10 s"


def _peers(name: str, work: str, ours: Sample, kind: Kind = Kind.SPEED) -> tuple[Row, ...]:
    rows = []
    for short, against, least, peer in _PEERS:
        goal, aim = (least, least) if kind is Kind.SPEED else (3.0, 2.0)
        base = replace(peer, sends=ours.sends)
        rows.append(Row(f"{name}-{short}", work, against, goal, aim, ours, base, kind=kind))
    return tuple(rows)


def _windowed(work: str, ours: Sample) -> tuple[Row, ...]:
    """Rows of the peers that have such windows: faust-streaming has no sessions."""
    # Quix Streams names its stores after the kind of the windows and their sizes in milliseconds.
    store = {"tumbling": "tumbling_window_10000_count", "hopping": "hopping_window_60000_10000_count"}
    changelog = f"changelog__{{group}}--{{topic}}--{store.get(ours.windows, 'session_window_10000_count')}"
    rows = []
    for short, against, least, peer in _PEERS:
        base = replace(peer, counts=ours.counts, windows=ours.windows, binary=peer.java)
        if short == "quix":
            base = replace(base, changelog=changelog)
        if short != "faust" or ours.windows != "session":
            rows.append(Row(f"{ours.windows}-{short}", work, against, least, least, ours, base))
    return tuple(rows)


ROWS = (
    Row("consume", _TYPED, "aiokafka getmany + msgspec", 1.0, 1.3, _CONSUME, _GETMANY),
    *_peers("consume", _TYPED, _CONSUME),
    Row("filter", _SELECT, "aiokafka getmany + msgspec + send_batch", 0.8, 1.0, _FILTER, _SEND_BATCH),
    *_peers("filter", _SELECT, _FILTER),
    Row("latency", _IN_TO_OUT, "aiokafka alone", 3.0, 2.0, _FILTER, _SEND_BATCH, kind=Kind.LATENCY),
    *_peers("latency", _IN_TO_OUT, _FILTER, Kind.LATENCY),
    Row("count", "count per key, RocksDB + changelog", "aiokafka getmany + msgspec", 0.4, 0.6, _COUNT, _GETMANY),
    Row(
        "count_million",
        "count per key, 1,000,000 keys, RocksDB + changelog",
        "aiokafka getmany + msgspec",
        *(0.4, 0.5, _COUNT, _GETMANY),
        topic=MILLION,
    ),
    Row("exactly_once", "the same count exactly once, every 0.1 s", "at least once", 0.7, 0.9, _EXACTLY_ONCE, _COUNT),
    Row("tumbling", _IN_TUMBLING, "without windows", 0.5, 0.7, _TUMBLING, _COUNT),
    *_windowed(_IN_TUMBLING, _TUMBLING),
    Row("hopping", _IN_HOPPING, "without windows", 0.1, 0.2, _HOPPING, _COUNT),
    *_windowed(_IN_HOPPING, _HOPPING),
    Row("session", _IN_SESSIONS, "without windows", 0.2, 0.3, _SESSION, _COUNT),
    *_windowed(_IN_SESSIONS, _SESSION),
    Row(
        "first_event",
        "start of a worker to its first event",
        "one record waits",
        *(1.0, 0.5, _CONSUME),
        topic=WAITING,
        kind=Kind.RECOVERY,
    ),
    Row(
        "rebuild",
        "start to first event, table of unique keys",
        "empty disk",
        *(6.0, 3.0, _COUNT),
        topic=UNIQUE,
        kind=Kind.RECOVERY,
        empty_disk=True,
    ),
    Row(
        "reopen",
        "start to first event, the same table",
        "disk intact",
        *(2.0, 1.0, _COUNT),
        topic=UNIQUE,
        kind=Kind.RECOVERY,
    ),
)
