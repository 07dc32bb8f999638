"""What the backend of a cache raises."""

from typing import TYPE_CHECKING

from stream_app.absent import answers
from stream_app.web.cache.exceptions import *  # noqa: F403 - this module is that list of names
from stream_app.web.cache.exceptions import __all__ as __all__

if not TYPE_CHECKING:
    __getattr__ = answers(__name__, __all__)
