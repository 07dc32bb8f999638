"""The event loop of the tests, and the profile of hypothesis."""

from __future__ import annotations

import asyncio

import hypothesis

asyncio.set_event_loop(
    None
)  # else pytest-asyncio makes one to keep when a test that is not async comes first, unclosed

hypothesis.settings.register_profile(  # a machine that has much else to do is no failure
    "stream", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("stream")
