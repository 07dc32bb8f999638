"""The probe of latency: sends events at a steady rate, and reads them where they come out.

It prints one line of JSON, as every sample does: the times between send and arrival, in milliseconds.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import time
from statistics import quantiles

import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from benchmarks.feed import PARTITIONS

WARM_UP = 2.0
"""Seconds at the full rate before what counts."""

ATTEMPTS = 600
"""Tenths of a second until the program in between has answered for the first time."""

STRAGGLERS = 10.0
"""Seconds to wait for the last answers; what has none then counts with the time that it has waited."""


class Probe:
    """Sends and receives.

    Args:
        options: the command line.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        servers = options.broker.partition("://")[2]
        self._options = options
        self._producer = AIOKafkaProducer(bootstrap_servers=servers, linger_ms=0)
        self._consumer = AIOKafkaConsumer(bootstrap_servers=servers, fetch_max_wait_ms=500)
        self._sent = 0
        self._times: list[float] = []
        self._latencies: dict[int, float] = {}

    async def run(self) -> dict[str, float]:
        """Measure; the numbers for the report."""
        await self._producer.start()
        await self._consumer.start()
        self._consumer.assign([TopicPartition(self._options.out, number) for number in range(PARTITIONS)])
        await self._consumer.seek_to_beginning()
        receiving = asyncio.create_task(self._receive())
        try:
            await self._first()
            await self._steadily(WARM_UP)
            began = self._sent
            gc.collect()
            gc.freeze()
            await self._steadily(self._options.seconds)
            await self._answered(range(began, self._sent))
            now = time.monotonic()
        finally:
            receiving.cancel()
            await self._consumer.stop()
            await self._producer.stop()
        counted = [1000 * self._latencies.get(number, now - self._times[number]) for number in range(began, self._sent)]
        unanswered = sum(number not in self._latencies for number in range(began, self._sent))
        cuts = quantiles(counted, n=1000, method="inclusive")
        return {
            "events": len(counted),
            "unanswered": unanswered,
            "p50": cuts[499],
            "p99": cuts[989],
            "p999": cuts[998],
            "worst": max(counted),
        }

    async def _answered(self, numbers: range) -> None:
        end = time.monotonic() + STRAGGLERS
        while time.monotonic() < end and not all(number in self._latencies for number in numbers):  # noqa: ASYNC110 - once, at the end
            await asyncio.sleep(0.01)

    async def _first(self) -> None:
        for _ in range(ATTEMPTS):
            self._send()
            await asyncio.sleep(0.1)
            if self._latencies:
                return
        raise SystemExit("the program in between has not answered")

    async def _steadily(self, seconds: float) -> None:
        began, step = time.monotonic(), 1 / self._options.rate
        for number in range(int(seconds * self._options.rate)):
            await asyncio.sleep(max(0.0, began + number * step - time.monotonic()))
            self._send()

    def _send(self) -> None:
        account = f"a{self._sent}"
        self._times.append(time.monotonic())
        value = json.dumps({"account": account, "amount": 50.0, "ts": self._times[-1]}).encode()
        task = asyncio.ensure_future(self._producer.send(self._options.topic, value, key=account.encode()))
        task.add_done_callback(lambda done: done.exception())
        self._sent += 1

    async def _receive(self) -> None:
        async for record in self._consumer:
            now, transfer = time.monotonic(), json.loads(record.value)
            self._latencies[int(transfer["account"][1:])] = now - transfer["ts"]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--broker", required=True, help="URL of the broker")
    parser.add_argument("--topic", required=True, help="where events go in")
    parser.add_argument("--out", required=True, help="where they come out")
    parser.add_argument("--rate", type=float, required=True, help="events a second")
    parser.add_argument("--seconds", type=float, required=True, help="how long to measure")
    options = parser.parse_args()

    async def measure() -> dict[str, float]:
        return await Probe(options).run()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(runner.run(measure())))


if __name__ == "__main__":
    main()
