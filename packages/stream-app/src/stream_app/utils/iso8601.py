"""Dates and times in the ISO format."""

from datetime import datetime

__all__ = ["parse"]


def parse(text: str) -> datetime:
    """Read the time that a text in ISO 8601 names. Raises ValueError."""
    return datetime.fromisoformat(text)
