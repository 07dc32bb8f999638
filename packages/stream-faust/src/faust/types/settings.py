"""The class of the settings."""

from stream_app.types.settings import *  # noqa: F403 - this module is that list of names
from stream_app.types.settings import __all__ as __all__
