"""Sensors and monitors: who is told of what a worker does, and who exports it."""

from typing import TYPE_CHECKING

from stream_app.absent import answers
from stream_app.sensors.base import AppSensors, Sensor
from stream_app.sensors.monitor import Monitor, TableState

__all__ = ["AppSensors", "Monitor", "Sensor", "TableState"]

if not TYPE_CHECKING:
    __getattr__ = answers(__name__, __all__, ("base", "datadog", "exporter", "monitor", "otel", "prometheus", "statsd"))
