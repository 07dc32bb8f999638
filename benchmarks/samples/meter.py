"""What all samples share: their arguments, and the clock."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import signal
import sys
import time
from math import inf

__all__ = ["Meter", "arguments"]

STEP = 20_000
"""Most events between two looks at the clock."""

LOOKS = 0.2
"""Seconds between two looks at the clock, about."""

SETTLE = 3.0
"""Seconds after the first event when the clock starts at the latest; a quarter of the events starts it, too."""


def arguments() -> argparse.Namespace:
    """The command line of a sample; the harness writes it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--broker", required=True, help="URL of the broker")
    parser.add_argument("--topic", required=True, help="topic to read")
    parser.add_argument("--out", default="", help="topic to send to what passes; none when left out")
    parser.add_argument("--records", type=int, required=True, help="events to process")
    parser.add_argument("--seconds", type=float, required=True, help="end earlier after so many seconds")
    parser.add_argument("--id", required=True, help="name of the consumer group")
    parser.add_argument("--datadir", required=True, help="directory of the stores")
    parser.add_argument("--windows", help="kind of windows, for a program that counts in some")
    parser.add_argument("--guarantee", default="at_least_once", help="processing guarantee")
    parser.add_argument(
        "--started", type=float, required=True, help="when the process was started, on the monotonic clock"
    )
    return parser.parse_args()


class Meter:
    """Measures a loop that runs warm: start-up, the first fetches and the first part of the events are outside.

    A loop counts its events and calls :meth:`tick` when it has seen :attr:`mark` of them. At the last one the result is printed
    and the process gets SIGTERM, so that a worker ends as it does in production.

    Args:
        options: the command line.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self.mark: float = 1
        self._records = options.records
        self._seconds = options.seconds
        self._launched = options.started
        self._first = self._start = self._cpu = self._last = self._wall = 0.0
        self._before: int | None = None
        self._seen = 0

    def tick(self, seen: int, **facts: object) -> None:
        """The loop has processed ``seen`` events; the facts of the last call are reported, too."""
        now, cpu = time.monotonic(), time.process_time()
        self._first = self._first or now
        if self._before is None and (seen >= self._records // 4 or now - self._first >= SETTLE):
            self._before, self._start, self._cpu, self._wall = seen, now, cpu, time.time()
        if seen >= self._records or (self._before is not None and now - self._start >= self._seconds):
            self._report(seen, now, cpu, facts)
            self.mark = inf
            os.kill(os.getpid(), signal.SIGTERM)
        else:
            rate = (seen - self._seen) / (now - self._last)
            goal = self._records // 4 if self._before is None else self._records
            self.mark = min(seen + max(min(int(rate * LOOKS), STEP), 1), goal)
        self._seen, self._last = seen, now

    def _report(self, seen: int, now: float, cpu: float, facts: dict[str, object]) -> None:
        events, seconds = seen - (self._before or 0), now - self._start
        result = {
            "seen": seen,
            "events": events,
            "seconds": seconds,
            "events_per_second": events / seconds if events else 0.0,
            "cpu_per_million": (cpu - self._cpu) / events * 1e6 if events else 0.0,
            "clock_started": self._wall,
            "first_event_after": self._first - self._launched,
            "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            "loop": _loop(),
            **facts,
        }
        print(json.dumps(result), file=sys.__stdout__, flush=True)


def _loop() -> str:
    try:
        return type(asyncio.get_running_loop()).__module__
    except RuntimeError:  # a program without a loop
        return ""
