"""Blueprints, in the module in which Faust has them."""

from typing import TYPE_CHECKING

from stream_app.absent import answers
from stream_web import (
    Blueprint,
)

__all__ = [
    "Blueprint",
]

if not TYPE_CHECKING:
    __getattr__ = answers(__name__, __all__)
