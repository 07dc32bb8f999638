"""Runs samples against one broker: makes their topics, starts them, and checks what came out."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import feed
from benchmarks.launch import Launcher, SampleError, report_of
from benchmarks.outcome import APPEND_TIME, appended, check_count, check_seen, check_sent
from benchmarks.rows import UNIQUE, WAITING, Kind, Row, Sample

__all__ = ["Bench", "Options"]

PATIENCE = 90.0
"""Seconds that a sample may take on top of those in which it is measured: to start, to warm up, and to end."""

ENDLESS = 1e6


@dataclass(frozen=True)
class Options:
    """How much is measured.

    Attributes:
        records: events of one throughput sample.
        keys: keys of the table that is recovered.
        rounds: rounds that count.
        warm_up: whether a round of our own rows that does not count goes before them.
        seconds: longest time that one sample is measured.
        rate: events a second of a latency sample.
    """

    records: int = 3_000_000
    keys: int = 1_000_000
    rounds: int = 3
    warm_up: bool = True
    seconds: float = 6.0
    rate: float = 1000.0


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
        (directory / "data").mkdir()
        self._run = uuid.uuid4().hex[:8]
        self._groups = 0
        self._topics: set[str] = set()
        self._contents: dict[str, feed.Contents] = {}
        self._checked: set[tuple[Sample, str]] = set()
        self._appended = 0

    def prepare(self, rows: Sequence[Row]) -> dict[str, str]:
        """Make what the peers need, fill the topics, and build the table that is recovered; by program why one is left out."""
        lacking = self._launcher.prepare(rows)
        for kind in sorted({row.topic for row in rows if row.kind is not Kind.LATENCY}):
            self._fill(kind)
        if WAITING in self._contents:
            self._launch(next(row for row in rows if row.topic == WAITING), 1, self._name("start"), "start")
        if UNIQUE in self._contents:
            self._say("building the table")
            row = next(row for row in rows if row.topic == UNIQUE)
            self._topics.add(f"{self._name('table')}-counts-changelog")
            self._launch(row, self._options.keys, self._name("table"), "intact")
        return lacking

    def _fill(self, kind: str) -> None:
        records = {UNIQUE: self._options.keys, WAITING: 1}.get(kind, self._options.records)
        self._topics.add(self._name(kind))

        def progress(done: int) -> None:
            if done % 500_000 == 0:
                self._say(f"filling topic {kind}: {done:,} of {records:,} records")

        self._contents[kind] = asyncio.run(feed.fill(self._url, self._name(kind), kind, records, progress))

    def clean_up(self) -> None:
        """Delete our topics."""
        asyncio.run(feed.drop(self._url, self._topics))

    def _name(self, what: str) -> str:
        return f"benchmark-{self._run}-{what}"

    def _group(self) -> str:
        self._groups += 1
        return self._name(str(self._groups))

    # -- recoveries

    def recover(self, row: Row) -> dict[str, Any]:
        """Measure from the start of our program to its first event, which waits for it.

        Raises:
            SampleError: it failed, or the table was not what it had been.
        """
        asyncio.run(feed.append(self._url, self._name(row.topic), self._appended))
        self._appended += 1
        if row.topic == WAITING:
            return self._launch(row, 1, self._name("start"), "start")
        report = self._launch(row, 1, self._name("table"), f"empty-{self._appended}" if row.empty_disk else "intact")
        if report["last_count"] != 2:
            raise SampleError(f"{row.name}: the account was counted {report['last_count']} times, and 2 are right")
        return report

    def _launch(self, row: Row, records: int, group: str, datadir: str) -> dict[str, Any]:
        process = self._launcher.start(row.ours, self._arguments(row, row.ours, group, "", datadir, records, ENDLESS))
        return report_of(row.ours, process, 300.0)

    def _arguments(
        self, row: Row, sample: Sample, group: str, out: str, datadir: str, records: int, seconds: float
    ) -> dict[str, object]:
        return {
            "broker": self._url,
            "topic": self._name(row.topic),
            "out": out,
            "records": records,
            "seconds": seconds,
            "id": group,
            "datadir": self._directory / "data" / datadir,
            "guarantee": sample.guarantee,
        }

    # -- speeds

    def speed(self, row: Row, sample: Sample) -> dict[str, Any]:
        """Measure how many events a second a program processes, and check that it does.

        Raises:
            SampleError: it failed, or what came out is wrong.
        """
        group, options = self._group(), self._options
        out = f"{group}-out" if sample.sends else ""
        changelog = sample.changelog.format(group=group, topic=self._name(row.topic))
        if out:
            self._make(out)
        arguments = self._arguments(row, sample, group, out, group, options.records, options.seconds)
        if sample.counts:
            self._topics.add(changelog)
        report = report_of(sample, self._launcher.start(sample, arguments), options.seconds + PATIENCE)
        first, contents = (sample, row.topic) not in self._checked, self._contents[row.topic]
        self._checked.add((sample, row.topic))
        if "passed" in report:
            check_seen(report, contents, sample.program)
        if out:
            asyncio.run(self._outcome(report, out, contents, sample, whole=first))
            self._drop(out)
        if sample.counts:
            if first:
                asyncio.run(check_count(self._url, changelog, report["seen"], contents.records, sample))
            self._drop(changelog)
        return report

    async def _outcome(
        self, report: dict[str, Any], out: str, contents: feed.Contents, sample: Sample, *, whole: bool
    ) -> None:
        """Correct the speed by what the broker has, and check that: by number each time, and record by record at first."""
        has = await appended(self._url, out, report["clock_started"])
        at_least = contents.passed if report["seen"] >= contents.records else report["passed"]
        if not at_least <= has.records <= contents.passed:
            raise SampleError(f"{sample.program} sent on {has.records:,} records, and should have {at_least:,}")
        if whole:
            await check_sent(self._url, out, contents, sample.program)
        seconds = max(has.last - report["clock_started"], 0.001)
        events = has.after * contents.records / contents.passed
        report |= {
            "seen_per_second": report["events_per_second"],
            "events_per_second": events / seconds,
            "sent": has.records,
        }

    def _make(self, topic: str) -> None:
        self._topics.add(topic)
        asyncio.run(feed.make(self._url, topic, APPEND_TIME))

    def _drop(self, topic: str) -> None:
        asyncio.run(feed.drop(self._url, {topic}))
        self._topics.discard(topic)

    # -- latencies

    def latency(self, sample: Sample) -> dict[str, Any]:
        """Measure the time from in to out, with topics of its own.

        Raises:
            SampleError: the program failed, or did not answer.
        """
        group = self._group()
        names = {"topic": f"{group}-in", "out": f"{group}-out"}
        for name in names.values():
            self._topics.add(name)
            asyncio.run(feed.make(self._url, name))
        shared: dict[str, object] = {"broker": self._url, **names}
        own = {"records": 2**60, "seconds": ENDLESS, "id": group, "datadir": self._directory / "data" / group}
        program = self._launcher.start(sample, {**shared, **own, "guarantee": sample.guarantee})
        try:
            probe = Sample("probe")
            timed = {"rate": self._options.rate, "seconds": self._options.seconds}
            report = report_of(
                probe, self._launcher.start(probe, {**shared, **timed}), self._options.seconds + PATIENCE
            )
        except SampleError as error:
            raise SampleError(f"{sample.program}: {error}\n{_end(program)}") from error
        finally:
            _end(program)
            for name in names.values():
                self._drop(name)
        if report["unanswered"] and not (sample.packages or sample.java):
            raise SampleError(f"{sample.program} left {report['unanswered']:,} events unanswered")
        return report


def _end(program: subprocess.Popen[str]) -> str:
    """Stop a program that would go on; what it complained of."""
    program.send_signal(signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        program.wait(10)
    program.kill()
    return program.communicate()[1][-2000:]
