"""Runs the samples: the broker on one core, each sample in a fresh process on another, the two of a pair in turn.

The probe of latency shares the core of the broker: it sends and reads a thousand events a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import feed
from benchmarks.launch import Launcher, SampleError
from benchmarks.rows import Kind, Row, Sample
from stream_kafka.broker import Broker

__all__ = ["Bench", "Options", "Result", "SampleError", "run"]

ROOT = Path(__file__).parents[1]
TIMEOUT = 300.0
"""Seconds after which a sample has failed."""


@dataclass(frozen=True)
class Options:
    """How much is measured.

    Attributes:
        records: events of one throughput sample.
        keys: keys of the table that is recovered.
        rounds: rounds that count.
        warm_up: whether a round that does not count goes before them.
        seconds: longest time that one sample is measured.
        rate: events a second of a latency sample.
    """

    records: int = 3_000_000
    keys: int = 1_000_000
    rounds: int = 5
    warm_up: bool = True
    seconds: float = 10.0
    rate: float = 1000.0


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
        self._launcher = Launcher(directory, say)
        self._run = uuid.uuid4().hex[:8]
        self._groups: list[str] = []
        self._topics: list[str] = []
        self._appended = 0

    def prepare(self, rows: Sequence[Row]) -> None:
        """Make what the peers need, fill the topics, and build the table that is recovered."""
        self._launcher.prepare(rows)
        recoveries = [row for row in rows if row.kind is Kind.RECOVERY]
        for kind in sorted({row.topic for row in rows if row.kind is not Kind.LATENCY}):
            self._fill(kind, any(row.topic == kind for row in recoveries))
        if recoveries:
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
        if row.kind is Kind.RECOVERY:
            return None, self._recover(row)
        reports: list[dict[str, Any] | None] = []
        for sample in (row.base, row.ours):
            if sample is None:
                reports.append(None)
                continue
            group = f"benchmark-{self._run}-{len(self._groups)}"
            if row.kind is Kind.LATENCY:
                reports.append(self._answer(sample, group))
            else:
                reports.append(self._launch(row, sample, self._options.records, group, self._directory / group))
        base, ours = reports
        assert ours is not None
        return base, ours

    def _answer(self, sample: Sample, group: str) -> dict[str, Any]:
        """Measure the time from in to out, with topics of its own."""
        self._groups.append(group)
        names = {"topic": f"{group}-in", "out": f"{group}-out"}
        for name in names.values():
            self._make(name)
        shared = {"broker": self._url, **names}
        arguments = {"records": 2**60, "seconds": TIMEOUT, "id": group, "datadir": self._directory / group}
        with _on_core(-1):
            program = self._start(sample, {**shared, **arguments, "guarantee": sample.guarantee})
        try:
            probe = Sample("probe")
            with _on_core(0):
                measuring = self._start(probe, {**shared, "rate": self._options.rate, "seconds": self._options.seconds})
            return _report(probe, measuring)
        finally:
            program.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                program.wait(10)
            program.kill()
            program.communicate()

    def _make(self, topic: str) -> None:
        self._topics.append(topic)
        asyncio.run(feed.make(self._url, topic))

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
        out = f"{group}-out" if sample.sends else ""
        if out:
            self._make(out)
        arguments = {
            "broker": self._url,
            "topic": self._topic(row.topic),
            "out": out,
            "records": records,
            "seconds": TIMEOUT if row.kind is Kind.RECOVERY else self._options.seconds,
            "id": group,
            "datadir": datadir,
            "guarantee": sample.guarantee,
        }
        with _on_core(-1):
            return _report(sample, self._start(sample, arguments))

    def _start(self, sample: Sample, arguments: Mapping[str, object]) -> subprocess.Popen[str]:
        if sample.program != "probe":
            arguments = {**arguments, "started": time.monotonic()}
        return subprocess.Popen(
            self._launcher.command(sample, arguments),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


def _report(sample: Sample, process: subprocess.Popen[str]) -> dict[str, Any]:
    try:
        out, complaints = process.communicate(timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        out, complaints = process.communicate()
    lines = [line for line in out.splitlines() if line.startswith("{")]
    if process.returncode or not lines:
        raise SampleError(f"{sample.program} ended with {process.returncode}:\n{complaints[-4000:]}")
    report: dict[str, Any] = json.loads(lines[-1])
    return report


def _brief(row: Row, base: dict[str, Any] | None, ours: dict[str, Any]) -> str:
    if row.kind is Kind.RECOVERY:
        return f"{ours['first_event_after']:.2f} s"
    if row.kind is Kind.LATENCY:
        beside = "" if base is None else f", {base['p50']:.2f} ms"
        return f"{ours['p50']:.2f} ms{beside}"
    assert base is not None
    ratio = ours["events_per_second"] / base["events_per_second"]
    return f"{base['events_per_second']:,.0f}/s, {ours['events_per_second']:,.0f}/s: {ratio:.2f}"
