"""The monitor for Datadog."""

from stream_app.sensors.statsd import DatadogMonitor

__all__ = ["DatadogMonitor"]
