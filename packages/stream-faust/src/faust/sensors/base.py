"""The class of sensors."""

from stream_app.sensors.base import *  # noqa: F403 - this module is that list of names
from stream_app.sensors.base import __all__ as __all__
