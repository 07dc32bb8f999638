"""Small helpers that programs import."""

from typing import TYPE_CHECKING
from uuid import uuid4

from stream_app.absent import answers

__all__ = ["uuid"]


def uuid() -> str:
    """Make a new random id, as text."""
    return str(uuid4())


if not TYPE_CHECKING:
    __getattr__ = answers(__name__, __all__, ("iso8601", "json"))
