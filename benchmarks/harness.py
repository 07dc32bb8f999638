"""Runs the rows in rounds: the broker on one core, each sample in a fresh process on another, the two of a pair in turn.

The probe of latency shares the core of the broker: it sends and reads a thousand events a second.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.bench import Bench, Options
from benchmarks.launch import BROKER_CORE, SampleError, on_core
from benchmarks.rows import Kind, Row, Sample
from stream_kafka.broker import Broker

__all__ = ["Result", "broker_of", "run"]

PROPERTIES = {"log.segment.delete.delay.ms": "1000"}
"""What samples have sent is deleted when it was looked at, not a minute later beside the next ones."""

Pair = tuple[dict[str, Any] | None, dict[str, Any]]
"""What the program that a row compares with has reported, and what ours has."""

Recent = dict[tuple[Sample, str, Kind], dict[str, Any]]
"""What our programs have reported in this round, by program, topic and kind of row."""


@dataclass
class Result:
    """What a row has measured, one entry a round.

    Attributes:
        row: the row.
        ours: reports of our program.
        base: reports of the program that it is compared with.
        lacking: why it was left out, for a reason that is not the project's.
        failure: how a sample failed.
    """

    row: Row
    ours: list[dict[str, Any]] = field(default_factory=list)
    base: list[dict[str, Any]] = field(default_factory=list)
    lacking: str = ""
    failure: str = ""

    @property
    def values(self) -> list[float]:
        """Ratios of speeds on the clock, pair by pair; of a recovery its seconds, of a latency its median in milliseconds."""
        if self.row.kind is Kind.RECOVERY:
            return [ours["first_event_after"] for ours in self.ours]
        if self.row.kind is Kind.LATENCY:
            return [ours["p50"] for ours in self.ours]
        return [o["events_per_second"] / b["events_per_second"] for o, b in zip(self.ours, self.base, strict=True)]

    @property
    def cpu_values(self) -> list[float]:
        """Ratios of speeds by processor time, pair by pair; they are quieter than those on the clock."""
        pairs = zip(self.ours, self.base, strict=False) if self.row.kind is Kind.SPEED else ()
        return [b["cpu_per_million"] / o["cpu_per_million"] for o, b in pairs]


def run(rows: Sequence[Row], options: Options, broker_url: str | None, say: Callable[[str], None]) -> list[Result]:
    """Measure rows, all of them once in each round; a row that fails leaves the others alone.

    Args:
        rows: what to measure.
        options: how much.
        broker_url: a broker that runs; without one we start our own, on a core of its own.
        say: is told what goes on.

    Raises:
        SampleError: nothing can be measured: a topic or the table could not be made.
    """
    with broker_of(broker_url) as url, tempfile.TemporaryDirectory(prefix="stream-benchmarks-") as directory:
        bench = Bench(url, options, Path(directory), say)
        try:
            lacking = bench.prepare(rows)
            results = [Result(row, lacking=lacking.get(row.base.program, "") if row.base else "") for row in rows]
            _Rounds(bench, options, results, say).measure()
            return results
        finally:
            bench.clean_up()


@contextlib.contextmanager
def broker_of(url: str | None, data_dir: Path | None = None) -> Iterator[str]:
    """Give the URL of a broker: the one that is named, or one that runs meanwhile on a core of its own.

    Args:
        url: of a broker that runs.
        data_dir: where the other one keeps its data; in a temporary directory when left out.
    """
    if url is not None:
        yield url
        return
    broker = Broker(port=0, heap="1g", jvm_options=("-XX:+UseSerialGC",), properties=PROPERTIES, data_dir=data_dir)
    with on_core(BROKER_CORE):
        broker.start()
    try:
        yield f"kafka://{broker.address}"
    finally:
        broker.stop()


class _Rounds:
    """All rounds of a run.

    Args:
        bench: runs the samples.
        options: how many rounds.
        results: the rows, to which reports are added.
        say: is told what was measured, and how long the rest will take.
    """

    def __init__(self, bench: Bench, options: Options, results: Sequence[Result], say: Callable[[str], None]) -> None:
        self._bench = bench
        self._say = say
        self._results = [result for result in results if not result.lacking]
        first = [result for result in self._results if not result.row.peer] if options.warm_up else []
        self._plan = [(0, result) for result in first]
        self._plan += [(number, result) for number in range(1, options.rounds + 1) for result in self._results]

    def measure(self) -> None:
        """Run what is planned."""
        began, current = time.monotonic(), 0
        recent: Recent = {}
        for done, (number, result) in enumerate(self._plan, 1):
            if number != current:
                recent, current = {}, number
            if result.failure:
                continue
            row = result.row
            try:
                base, ours = self._pair(row, recent)
            except SampleError as error:
                result.failure = str(error)
                self._say(f"{row.name} has failed: {error}")
                continue
            left = (time.monotonic() - began) / done * (len(self._plan) - done) / 60
            what = f"round {number}" if number else "warm-up"
            self._say(f"{done}/{len(self._plan)}, {left:.0f} min left: {what}, {row.name}: {_brief(row, base, ours)}")
            if number:
                result.ours.append(ours)
                result.base += [base] if base is not None else []

    def _pair(self, row: Row, recent: Recent) -> Pair:
        """Run both sides of a row; rows of peers take our side from the row before them, a minute old at most."""
        if row.kind is Kind.RECOVERY:
            return None, self._bench.recover(row)
        base = self._sample(row, row.base) if row.base is not None else None
        ours = recent.get((row.ours, row.topic, row.kind)) if row.peer else None
        if ours is None:
            ours = recent[row.ours, row.topic, row.kind] = self._sample(row, row.ours)
        return base, ours

    def _sample(self, row: Row, sample: Sample) -> dict[str, Any]:
        return self._bench.latency(sample) if row.kind is Kind.LATENCY else self._bench.speed(row, sample)


def _brief(row: Row, base: dict[str, Any] | None, ours: dict[str, Any]) -> str:
    if row.kind is Kind.RECOVERY:
        return f"{ours['first_event_after']:.2f} s"
    if row.kind is Kind.LATENCY:
        beside = "" if base is None else f", theirs {base['p50']:.2f} ms"
        return f"ours {ours['p50']:.2f} ms{beside}"
    assert base is not None
    ratio = ours["events_per_second"] / base["events_per_second"]
    return f"ours {ours['events_per_second']:,.0f}/s, theirs {base['events_per_second']:,.0f}/s: {ratio:.2f}"
