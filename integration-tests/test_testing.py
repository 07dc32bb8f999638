"""The tests of the example project on a real Kafka, by one option."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

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
