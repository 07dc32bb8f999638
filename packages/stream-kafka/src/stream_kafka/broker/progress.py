"""What is said about steps that take time."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Say", "silent"]

Say = Callable[[str], None]
"""Is told one line about each step that takes time."""


def silent(line: str) -> None:
    """Say nothing."""
