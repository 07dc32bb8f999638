"""Views, in the module in which Faust has them."""

from typing import TYPE_CHECKING

from stream_app.absent import answers
from stream_web import (
    View,
    gives_model,
    takes_model,
)

__all__ = [
    "View",
    "gives_model",
    "takes_model",
]

if not TYPE_CHECKING:
    __getattr__ = answers(__name__, __all__)
