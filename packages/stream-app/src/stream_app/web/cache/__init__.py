"""Caches of pages, in the module in which Faust has them."""

from typing import TYPE_CHECKING

from stream_app.absent import answers
from stream_web import (
    Cache,
    CacheBackend,
    CacheUnavailable,
)

__all__ = [
    "Cache",
    "CacheBackend",
    "CacheUnavailable",
]

if not TYPE_CHECKING:
    __getattr__ = answers(__name__, __all__, ("exceptions",))
