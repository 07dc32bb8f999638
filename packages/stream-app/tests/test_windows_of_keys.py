"""Sessions and sliding windows in an app: what closes, restarts and what idle inputs do, under both guarantees."""

from __future__ import annotations

import json
from typing import Any

import pytest

import stream_app as faust
from stream_app.running.wiring import Wiring
from stream_core.memory.log import Entry
from stream_core.primitives import TP
from stream_core.testing.clock import ManualClock

from .apps import GUARANTEES, cluster, make, records_of, until


class Visits:
    """An app that has the pages of each visit, and how many pages anybody saw within ten seconds."""

    def __init__(self, guarantee: str = "exactly_once", **options: Any) -> None:
        self.app = make(processing_guarantee=guarantee, topic_partitions=1, **options)
        pages = self.app.topic("pages", key_type=str, value_type=str, partitions=1)
        self.out = self.app.topic("out", partitions=1)
        self.visits = self.app.Table("visits", default=list, key_type=str, value_type=list[str]).session(
            5, expires=60, grace=2
        )
        self.recent = self.app.Table("recent", default=int, key_type=str, value_type=int).sliding(10, 0, 60, grace=2)
        self.visits.on_window_close(self.left)
        self.recent.on_window_close(self.passed)
        self.instants: list[tuple[str, float, int]] = []

        @self.app.agent(pages, name="follow")
        async def follow(stream: faust.Stream[str]) -> None:
            async for user, page in stream.items():
                self.visits[user] += [page]
                self.recent[user] += 1

    async def left(self, key: tuple[str, tuple[float, float]], pages: list[str]) -> None:
        """Send what a visit had."""
        user, (first, last) = key
        await self.out.send(key=user, value=[first, last, *pages])

    def passed(self, key: tuple[str, tuple[float, float]], count: int) -> None:
        """Take in what a window around an instant had."""
        self.instants.append((key[0], key[1][1], count))

    def feed(self, *seen: tuple[str, str, float]) -> None:
        """Produce pages seen by users at instants."""
        entries = [Entry(round(at * 1000), user.encode(), json.dumps(page).encode()) for user, page, at in seen]
        cluster(self.app).append(TP("pages", 0), entries)

    def sent(self) -> list[list[Any]]:
        """The visits that were told of, as readers see them under exactly-once."""
        records = records_of(self.app, "out")
        return [[(record.key or b"").decode(), *json.loads(record.value or b"")] for record in records]


@pytest.mark.parametrize("guarantee", GUARANTEES)
async def test_a_visit_is_told_of_once_over_restarts(guarantee: str) -> None:
    """What a worker has not closed, the next one goes on with: a visit that was merged before and behind the restart is one."""
    first = Visits(guarantee)
    await first.app.start()
    first.feed(("a", "one", 1), ("b", "zero", 3), ("a", "three", 7), ("a", "two", 5))
    await until(lambda: first.visits["a"][1.0, 7.0] == ["one", "three", "two"])
    first.feed(("b", "late", 11))
    await until(lambda: len(first.sent()) == 1)
    await first.app.engine.checkpoint()
    await first.app.stop()
    assert first.sent() == [["b", 3.0, 3.0, "zero"]]

    again = Visits(guarantee, broker=first.app.conf.broker)
    await again.app.start()
    again.feed(("a", "four", 12), ("c", "later", 30))
    await until(lambda: len(again.sent()) == 3)
    assert again.sent()[1:] == [["b", 11.0, 11.0, "late"], ["a", 1.0, 12.0, "one", "three", "two", "four"]]
    assert first.instants + again.instants == [
        *[("a", 1.0, 1), ("b", 3.0, 1), ("a", 5.0, 2)],
        *[("a", 7.0, 3), ("b", 11.0, 2), ("a", 12.0, 3)],
    ]
    await again.app.stop()


async def test_the_last_visit_ends_where_nothing_comes() -> None:
    """Time goes on at the pace of the clock when the input is idle."""
    clock = ManualClock(1000.0)
    visits = Visits(broker_commit_interval=0.5)
    worker = Wiring(visits.app, fail_fast=True, clock=clock)
    await worker.start()
    visits.feed(("a", "one", 1))
    await clock.pass_by(6)
    assert visits.sent() == []
    await clock.pass_by(6)
    assert visits.sent() == [["a", 1.0, 1.0, "one"]]
    assert visits.instants == [("a", 1.0, 1)]
    assert visits.visits.relative_to(1.0)["a"].value() == ["one"]
    await clock.pass_by(80)
    assert list(visits.visits["a"].items()) == []
    await worker.stop()
