"""The garbage collector of a worker's process looks after as many new objects as there are no records among."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from typing import Any

import pytest

from stream_core.garbage import COLLECTOR, MOST, NEW, OBJECTS, OLDER, Collector

from .harness import Lab


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    """After the test the collector of this process is as it was."""
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


def new() -> int:
    """After how many new objects it looks now."""
    return gc.get_threshold()[0]


def test_the_records_that_wait_go_on_top() -> None:
    """Those of all engines of the process, for as long as they wait."""
    collector = Collector()
    collector.look_less_often()
    assert gc.get_threshold()[:2] == (NEW, OLDER[0])
    collector.wait("one", 5000)
    collector.wait("other", 300)
    assert new() == NEW + OBJECTS * 5300
    collector.wait("one", 10)
    assert new() == NEW + OBJECTS * 310
    collector.wait("one", 1_000_000)
    assert new() == MOST
    collector.wait("one", 0)
    collector.wait("other", 0)
    assert new() == NEW


def test_a_process_that_is_no_worker_keeps_its_own() -> None:
    """A program that embeds an app says itself how often the collector looks."""
    gc.set_threshold(700, 10, 10)
    Collector().wait("one", 5000)
    assert new() == 700


def test_a_program_that_says_something_of_its_own_is_not_overruled() -> None:
    """Neither when fewer records wait, nor when more do."""
    collector = Collector()
    collector.look_less_often()
    collector.wait("one", 5000)
    gc.set_threshold(1000, 10, 10)
    for records in (10, 6000, 0):
        collector.wait("one", records)
        assert new() == 1000
    gc.set_threshold(NEW, 10, 10)
    collector.wait("one", 5000)
    assert gc.get_threshold()[:2] == (NEW, 10)


async def test_an_engine_says_how_many_records_wait(lab: Lab) -> None:
    """With each poll; when it ends, none wait."""
    COLLECTOR.look_less_often()
    topic, goes_on = lab.topic("numbers"), asyncio.Event()

    async def body(stream: Any) -> None:
        async for _ in stream:
            await goes_on.wait()

    engine = await lab.start([lab.agent(body, topic)])
    lab.put(topic, range(100))
    await lab.until(lambda: new() == NEW + OBJECTS * 100, "all of them wait")
    goes_on.set()
    await lab.stop(engine)
    assert new() == NEW
