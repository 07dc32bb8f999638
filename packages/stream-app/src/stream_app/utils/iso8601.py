"""Dates and times in the ISO format."""

from datetime import datetime

__all__ = ["parse"]


def parse(text: str) -> datetime:
    """The time that a text in ISO 8601 names. Raises ValueError."""
    return datetime.fromisoformat(text)
