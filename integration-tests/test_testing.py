"""The tests of the example project on a real Kafka, by one option."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest

import stream_app as faust
from stream_kafka import KafkaTransport

EXAMPLE = Path(__file__).parents[1] / "examples" / "testing"


async def topics(bootstrap: str) -> set[str]:
    """The topics of the broker."""
    admin = KafkaTransport(f"kafka://{bootstrap}").admin()
    await admin.start()
    try:
        return await admin.topics()
    finally:
        await admin.stop()


def test_the_same_tests_run_on_kafka(bootstrap: str) -> None:
    """All pass but those that move the clock or let the broker fail, which are skipped with the reason; no topic is left behind."""
    before = asyncio.run(topics(bootstrap))
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-p", "stream_pytest", "-p", "no:cacheprovider", "-q", "-rs"),
            f"--stream-broker=kafka://{bootstrap}",
        ],
        cwd=EXAMPLE,
        env=os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "6 passed, 3 skipped" in done.stdout
    assert "the clock of a real Kafka cannot be moved" in done.stdout
    assert "a real Kafka cannot be made to fail" in done.stdout
    assert asyncio.run(topics(bootstrap)) == before


@pytest.mark.parametrize("guarantee", ["at_least_once", "exactly_once"])
def test_a_test_that_commits_by_itself(bootstrap: str, guarantee: Literal["at_least_once", "exactly_once"]) -> None:
    """Nothing else commits between its calls, however slow the machine is; the interval is as given where one is."""
    app = faust.App(f"by-itself-{guarantee}".replace("_", "-"), broker="memory://")
    numbers = app.topic(f"{app.id}-numbers", key_type=str, value_type=int, partitions=1)
    sums = app.Table("sums", default=int, key_type=str, value_type=int, partitions=1)

    @app.agent(numbers)
    async def add(stream: faust.Stream[int]) -> None:
        async for key, number in stream.items():
            sums[key] += number

    with faust.TestDriver(app, kafka=f"kafka://{bootstrap}", commit=False, processing_guarantee=guarantee) as driver:
        assert app.conf.broker_commit_interval == pytest.approx(27)
        driver.produce(numbers, 5, key="a")
        assert sums.get("a", committed=True) is None
        driver.crash()
        driver.restart()
        assert driver.table(sums) == {"a": 5}
        driver.commit()
        assert sums.get("a", committed=True) == 5
    with faust.TestDriver(
        app, kafka=f"kafka://{bootstrap}", commit=False, broker_commit_interval=1, processing_guarantee=guarantee
    ):
        assert app.conf.broker_commit_interval == 1
