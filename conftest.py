"""The event loop of the tests, the profile of hypothesis, and the order: what builds and installs wheels goes last."""

from __future__ import annotations

import asyncio

import hypothesis
import pytest

asyncio.set_event_loop(
    None
)  # else pytest-asyncio makes one to keep when a test that is not async comes first, unclosed

hypothesis.settings.register_profile(  # a machine that has much else to do is no failure
    "stream", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("stream")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Move the tests marked ``packaging`` behind all others; the sort is stable."""
    items.sort(key=lambda item: item.get_closest_marker("packaging") is not None)
