"""The monitor."""

from stream_app.sensors.monitor import *  # noqa: F403 - this module is that list of names
from stream_app.sensors.monitor import __all__ as __all__
