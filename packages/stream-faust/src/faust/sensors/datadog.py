"""The monitor for Datadog."""

from stream_app.sensors.datadog import *  # noqa: F403 - this module is that list of names
from stream_app.sensors.datadog import __all__ as __all__
