"""Tests of users: what a TestDriver gives has the types of topics and tables."""

from __future__ import annotations

from typing import assert_type

import stream_app as faust
from stream_app.driver import DeadLetter, DrivenWorker, Output

app = faust.App("typed")
numbers = app.topic("numbers", key_type=str, value_type=int)
totals: faust.Table[str, int] = app.Table("totals", key_type=str, value_type=int, default=int)


@app.agent(numbers)
async def count(stream: faust.Stream[int]) -> None:
    """Count."""
    async for key, value in stream.items():
        totals[key] += value


def test_types(stream_driver: faust.TestDriver) -> None:
    """The fixture is a TestDriver."""
    assert_type(stream_driver.produce(numbers, 1, key="a"), faust.RecordMetadata)
    assert_type(stream_driver.outputs(numbers), list[Output[str, int]])
    assert_type(stream_driver.outputs(numbers)[0].value, int)
    assert_type(stream_driver.table(totals), dict[str, int])
    assert_type(stream_driver.dead_letters, list[DeadLetter])
    assert_type(stream_driver.add_worker(), DrivenWorker)
    assert_type(stream_driver.run(lambda: len("a")), int)
    stream_driver.fill(totals, {"a": 1}, like=numbers)
    with faust.TestDriver(app, now=0.0, topic_partitions=1, processing_guarantee="exactly_once") as driver:
        driver.advance(10)
    faust.TestDriver(app, topic_partition=1)  # type: ignore[call-arg]
    stream_driver.fill(totals, {1: 1})  # type: ignore[misc]
