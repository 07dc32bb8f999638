"""What all samples share: their arguments, and the clock from the first event to the last."""

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
"""Events between two looks at the clock."""


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
    parser.add_argument("--guarantee", default="at_least_once", help="processing guarantee")
    parser.add_argument(
        "--started", type=float, required=True, help="when the process was started, on the monotonic clock"
    )
    return parser.parse_args()


class Meter:
    """Measures from the first event to the last, start-up outside.

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
        self._start = self._cpu = 0.0
        self._first = 0

    def tick(self, seen: int, **facts: object) -> None:
        """The loop has processed ``seen`` events; the facts of the last call are reported, too."""
        now, cpu = time.monotonic(), time.process_time()
        if not self._first:
            self._first, self._start, self._cpu = seen, now, cpu
        if seen >= self._records or now - self._start >= self._seconds:
            self._report(seen - self._first, now - self._start, cpu - self._cpu, facts)
            self.mark = inf
            os.kill(os.getpid(), signal.SIGTERM)
        else:
            self.mark = min(seen + STEP, self._records)

    def _report(self, events: int, wall: float, cpu: float, facts: dict[str, object]) -> None:
        result = {
            "events": events,
            "seconds": wall,
            "events_per_second": events / wall if events else 0.0,
            "cpu_per_million": cpu / events * 1e6 if events else 0.0,
            "first_event_after": self._start - self._launched,
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
