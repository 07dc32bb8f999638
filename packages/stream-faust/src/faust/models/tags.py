"""Tags: types that keep values out of logs."""

from stream_app.models.tags import *  # noqa: F403 - this module is that list of names
from stream_app.models.tags import __all__ as __all__
