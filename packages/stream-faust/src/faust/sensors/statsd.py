"""The monitor for statsd."""

from stream_app.sensors.statsd import *  # noqa: F403 - this module is that list of names
from stream_app.sensors.statsd import __all__ as __all__
