"""The one exception of the harness."""

from __future__ import annotations

__all__ = ["RowError"]


class RowError(Exception):
    """A row has failed: something was lost, repeated, wrong or late. The text is the verdict."""
