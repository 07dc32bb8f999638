"""Sensors and monitors."""

from typing import TYPE_CHECKING

from stream_app.absent import answers
from stream_app.sensors import *  # noqa: F403 - this module is that list of names
from stream_app.sensors import __all__ as __all__

if not TYPE_CHECKING:
    __getattr__ = answers(__name__, __all__, ("base", "datadog", "exporter", "monitor", "otel", "prometheus", "statsd"))
