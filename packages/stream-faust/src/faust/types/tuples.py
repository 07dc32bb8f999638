"""Topics with partitions, messages, and what becomes of sends."""

from stream_app.types.tuples import *  # noqa: F403 - this module is that list of names
from stream_app.types.tuples import __all__ as __all__
