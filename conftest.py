"""Order of the test run: what builds and installs wheels goes last."""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Move the tests marked ``packaging`` behind all others; the sort is stable."""
    items.sort(key=lambda item: item.get_closest_marker("packaging") is not None)
