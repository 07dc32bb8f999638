"""What the backend of a cache raises."""

from typing import TYPE_CHECKING

from stream_app.absent import answers
from stream_web import (
    CacheUnavailable,
)

__all__ = [
    "CacheUnavailable",
]

if not TYPE_CHECKING:
    __getattr__ = answers(__name__, __all__)
