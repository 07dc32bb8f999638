"""How a program proves to brokers who it is."""

from stream_app.types.auth import *  # noqa: F403 - this module is that list of names
from stream_app.types.auth import __all__ as __all__
