"""``import faust`` for existing code: the names of the guides, served by Stream."""

from stream_app import *  # noqa: F403 - this package is that list of names
from stream_app import __all__ as __all__
