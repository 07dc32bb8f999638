"""Fixtures of the tests of stream-core."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from .harness import Lab


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    """A cluster of the test's own; its engines are stopped at the end."""
    async with Lab() as lab:
        yield lab
