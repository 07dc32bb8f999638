"""JSON as topics have it."""

from stream_app.utils.json import *  # noqa: F403 - this module is that list of names
from stream_app.utils.json import __all__ as __all__
