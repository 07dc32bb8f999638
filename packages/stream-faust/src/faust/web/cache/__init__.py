"""Caches of pages, in the module in which Faust has them."""

from typing import TYPE_CHECKING

from stream_app.absent import answers
from stream_app.web.cache import *  # noqa: F403 - this module is that list of names
from stream_app.web.cache import __all__ as __all__

if not TYPE_CHECKING:
    __getattr__ = answers(__name__, __all__, ("exceptions",))
