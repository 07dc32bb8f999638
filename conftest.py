"""The event loop of the tests, Ctrl+C and hang-ups, what tests leave behind, and the profile of hypothesis."""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import Iterator

import hypothesis
import pytest

asyncio.set_event_loop(
    None
)  # else pytest-asyncio makes one to keep when a test that is not async comes first, unclosed

hypothesis.settings.register_profile(  # a machine that has much else to do is no failure
    "stream", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("stream")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as shells have it that start a program in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)  # else who waits for Ctrl+C waits for ever

if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # as under nohup
    # Caught, not ignored: what the tests start is ended by a hang-up as usual, and the tests go on behind one.
    signal.signal(signal.SIGHUP, lambda *_: None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the clock of looptime jump to the next timer at once, not behind 42 empty turns of the loop."""
    for item in items:
        if item.get_closest_marker("looptime"):
            item.add_marker(pytest.mark.looptime(noop_cycles=0))


@pytest.fixture(autouse=True, scope="module")
def _nothing_abandoned() -> Iterator[None]:
    """Collect behind a file of tests the tasks that they left in closed event loops: what asyncio logs of them is of no other test."""
    yield
    gc.collect()
