"""Keys, values and headers, as programs annotate them."""

from stream_app.types.core import *  # noqa: F403 - this module is that list of names
from stream_app.types.core import __all__ as __all__
