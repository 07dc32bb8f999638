"""Traces and metrics of OpenTelemetry."""

from stream_app.sensors.otel import *  # noqa: F403 - this module is that list of names
from stream_app.sensors.otel import __all__ as __all__
