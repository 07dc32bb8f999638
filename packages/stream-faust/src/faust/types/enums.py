"""Choices of settings that have names."""

from stream_app.types.enums import *  # noqa: F403 - this module is that list of names
from stream_app.types.enums import __all__ as __all__
