"""Runs the samples: the broker on one core, each sample in a fresh process on another, the two of a pair in turn."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import feed
from benchmarks.rows import Row, Sample
from stream_kafka.broker import Broker

__all__ = ["Bench", "Options", "Result", "SampleError", "run"]

ROOT = Path(__file__).parents[1]
TIMEOUT = 300.0
"""Seconds after which a sample has failed."""


class SampleError(Exception):
    """A sample ended without a result, or with a wrong one."""


@dataclass(frozen=True)
class Options:
    """How much is measured.

    Attributes:
        records: events of one throughput sample.
        keys: keys of the table that is recovered.
        rounds: rounds that count.
        warm_up: whether a round that does not count goes before them.
        seconds: longest time that one sample is measured.
    """

    records: int = 3_000_000
    keys: int = 1_000_000
    rounds: int = 5
    warm_up: bool = True
    seconds: float = 30.0


@dataclass
class Result:
    """What a row has measured, one entry a round.

    Attributes:
        row: the row.
        ours: reports of our program.
        base: reports of the program that it is compared with.
    """

    row: Row
    ours: list[dict[str, Any]] = field(default_factory=list)
    base: list[dict[str, Any]] = field(default_factory=list)

    @property
    def values(self) -> list[float]:
        """Ratios of speeds on the clock, pair by pair; of a recovery its seconds."""
        if self.row.recovery:
            return [ours["first_event_after"] for ours in self.ours]
        return [o["events_per_second"] / b["events_per_second"] for o, b in zip(self.ours, self.base, strict=True)]

    @property
    def cpu_values(self) -> list[float]:
        """Ratios of speeds by processor time, pair by pair; they are quieter than those on the clock."""
        pairs = zip(self.ours, self.base, strict=False)
        return [b["cpu_per_million"] / o["cpu_per_million"] for o, b in pairs]


def run(rows: Sequence[Row], options: Options, broker_url: str | None, say: Callable[[str], None]) -> list[Result]:
    """Measure rows, all of them once in each round.

    Args:
        rows: what to measure.
        options: how much.
        broker_url: a broker that runs; without one we start our own, on a core of its own.
        say: is told what goes on.

    Raises:
        SampleError: a program has failed.
    """
    with _broker(broker_url) as url, tempfile.TemporaryDirectory(prefix="stream-benchmarks-") as directory:
        bench = Bench(url, options, Path(directory), say)
        try:
            bench.prepare(rows)
            return bench.measure(rows)
        finally:
            bench.clean_up()


@contextlib.contextmanager
def _broker(url: str | None) -> Iterator[str]:
    if url is not None:
        yield url
        return
    broker = Broker(port=0, heap="1g", jvm_options=("-XX:+UseSerialGC",))
    with _on_core(0):
        broker.start()
    try:
        yield f"kafka://{broker.address}"
    finally:
        broker.stop()


@contextlib.contextmanager
def _on_core(number: int) -> Iterator[None]:
    """Children that are started in here inherit one core: 0 for the broker, -1 for samples. Does nothing where that cannot be."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    ours = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {sorted(ours)[number]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, ours)


class Bench:
    """One run against one broker.

    Args:
        url: URL of the broker.
        options: how much is measured.
        directory: for the stores of the samples.
        say: is told what goes on.
    """

    def __init__(self, url: str, options: Options, directory: Path, say: Callable[[str], None]) -> None:
        self._url = url
        self._options = options
        self._directory = directory
        self._say = say
        self._run = uuid.uuid4().hex[:8]
        self._groups: list[str] = []
        self._topics: list[str] = []
        self._appended = 0

    def prepare(self, rows: Sequence[Row]) -> None:
        """Fill the topics, and build the table that is recovered."""
        for kind in sorted({row.topic for row in rows}):
            self._fill(kind, any(row.recovery for row in rows if row.topic == kind))
        if recoveries := [row for row in rows if row.recovery]:
            self._say("building the table")
            self._launch(recoveries[0], recoveries[0].ours, self._options.keys, self._table, self._directory / "intact")

    def _fill(self, kind: str, unique: bool) -> None:
        records = self._options.keys if unique else self._options.records
        self._say(f"filling topic {kind} with {records:,} records")
        self._topics.append(self._topic(kind))
        asyncio.run(feed.fill(self._url, self._topic(kind), kind, records))

    def measure(self, rows: Sequence[Row]) -> list[Result]:
        """Run all rounds."""
        results = [Result(row) for row in rows]
        for number in range(0 if self._options.warm_up else 1, self._options.rounds + 1):
            for result in results:
                base, ours = self._pair(result.row)
                what = f"round {number}" if number else "warm-up"
                self._say(f"{what}: {result.row.name}: {_brief(result.row, base, ours)}")
                if number:
                    result.ours.append(ours)
                    result.base += [base] if base is not None else []
        return results

    def clean_up(self) -> None:
        """Delete our topics, changelogs included."""
        changelogs = [f"{group}-counts-changelog" for group in self._groups]
        asyncio.run(feed.drop(self._url, [*self._topics, *changelogs]))

    @property
    def _table(self) -> str:
        return f"benchmark-{self._run}-table"

    def _topic(self, kind: str) -> str:
        return f"benchmark-{self._run}-{kind}"

    def _pair(self, row: Row) -> tuple[dict[str, Any] | None, dict[str, Any]]:
        if row.recovery:
            return None, self._recover(row)
        reports = []
        for sample in (row.base, row.ours):
            assert sample is not None
            group = f"benchmark-{self._run}-{len(self._groups)}"
            reports.append(self._launch(row, sample, self._options.records, group, self._directory / group))
        return reports[0], reports[1]

    def _recover(self, row: Row) -> dict[str, Any]:
        asyncio.run(feed.append(self._url, self._topic(row.topic), self._appended))
        self._appended += 1
        where = f"empty-{self._appended}" if row.empty_disk else "intact"
        report = self._launch(row, row.ours, 1, self._table, self._directory / where)
        if report["last_count"] != 2:
            raise SampleError(f"{row.name}: the account was counted {report['last_count']} times, and 2 are right")
        return report

    def _launch(self, row: Row, sample: Sample, records: int, group: str, datadir: Path) -> dict[str, Any]:
        if group not in self._groups:
            self._groups.append(group)
        arguments = {
            "broker": self._url,
            "topic": self._topic(row.topic),
            "records": records,
            "seconds": TIMEOUT if row.recovery else self._options.seconds,
            "id": group,
            "datadir": datadir,
            "guarantee": sample.guarantee,
        }
        command = [sys.executable, "-m", f"benchmarks.samples.{sample.program}"]
        command += [f"--{name}={value}" for name, value in arguments.items()]
        with _on_core(-1):
            process = subprocess.Popen(
                [*command, f"--started={time.monotonic()}"],
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        try:
            out, complaints = process.communicate(timeout=TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            out, complaints = process.communicate()
        if process.returncode or not out:
            raise SampleError(f"{sample.program} ended with {process.returncode}:\n{complaints[-4000:]}")
        report: dict[str, Any] = json.loads(out.splitlines()[-1])
        return report


def _brief(row: Row, base: dict[str, Any] | None, ours: dict[str, Any]) -> str:
    if base is None:
        return f"{ours['first_event_after']:.2f} s"
    ratio = ours["events_per_second"] / base["events_per_second"]
    return f"{base['events_per_second']:,.0f}/s, {ours['events_per_second']:,.0f}/s: {ratio:.2f}"
