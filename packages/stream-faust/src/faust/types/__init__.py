"""The names with which programs annotate, as in Faust: each is the class itself, for ``AppT`` is :class:`~stream_app.app.App`."""

from typing import TYPE_CHECKING

from stream_app.absent import answers
from stream_app.types import *  # noqa: F403 - this module is that list of names
from stream_app.types import __all__ as __all__

if not TYPE_CHECKING:
    __getattr__ = answers(__name__, __all__, ("auth", "core", "enums", "settings", "tuples"))
