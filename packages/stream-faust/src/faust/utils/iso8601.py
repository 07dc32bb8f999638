"""Dates and times in the ISO format."""

from stream_app.utils.iso8601 import *  # noqa: F403 - this module is that list of names
from stream_app.utils.iso8601 import __all__ as __all__
