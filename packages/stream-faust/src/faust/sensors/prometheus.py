"""Faust's metrics for Prometheus."""

from stream_app.sensors.prometheus import *  # noqa: F403 - this module is that list of names
from stream_app.sensors.prometheus import __all__ as __all__
