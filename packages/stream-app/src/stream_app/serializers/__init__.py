"""How keys and values become bytes, and back."""

from typing import TYPE_CHECKING

from stream_app.absent import answers
from stream_core.values.codecs import Codec
from stream_core.values.schemas import Schema

__all__ = ["Codec", "Schema"]

if not TYPE_CHECKING:
    __getattr__ = answers(__name__, __all__, ("codecs",))
