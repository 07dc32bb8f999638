"""The monitors that push to statsd and to the agent of Datadog, by UDP."""

from __future__ import annotations

from typing import Any

from stream_app.sensors.exporter import Measure, PushMonitor
from stream_core.errors import MissingPackageError

try:
    from datadog.dogstatsd.base import DogStatsd
except ImportError as error:
    raise MissingPackageError(
        f"statsd and Datadog need the package datadog ({error}); pip install 'stream-app[statsd]'"
    ) from error

__all__ = ["DatadogMonitor", "StatsdMonitor"]


class StatsdMonitor(PushMonitor):
    """Pushes the numbers of a worker to statsd: counts, gauges, and means of times in milliseconds.

    Args:
        host: of statsd.
        port: of statsd.
        prefix: what names begin with.
        rate: of samples, as Faust has it: counts are added up before they are pushed, so that only 1.0 has a meaning.
        interval: seconds between two pushes.
        options: those of :class:`~stream_app.sensors.monitor.Monitor`.

    Raises:
        ValueError: ``rate`` is another one.
    """

    abstract = False

    def __init__(
        self,
        host: str = "localhost",
        port: int = 8125,
        prefix: str = "faust-app",
        rate: float = 1.0,
        *,
        interval: float = 10.0,
        **options: Any,
    ) -> None:
        if rate != 1.0:
            raise ValueError(
                f"{type(self).__name__}: rate={rate} would lose counts: they are added up and pushed every {interval:g} s"
            )
        super().__init__(interval=interval, **options)
        self.host = host
        self.port = port
        self.prefix = prefix
        self._client: DogStatsd | None = None

    def push(self, found: list[Measure]) -> None:
        """Send one datagram for each few numbers."""
        if self._client is None:
            self._client = DogStatsd(
                host=self.host,
                port=self.port,
                namespace=self.prefix,
                disable_telemetry=True,
                disable_aggregation=True,
                disable_buffering=True,
            )
        for one in found:
            name, tags = self.named(one)
            match one.kind:
                case "count":
                    if one.value:
                        self._client.increment(name, one.value, tags=tags)
                case "gauge":
                    self._client.gauge(name, one.value, tags=tags)
                case _:
                    self._client.timing(name, one.value, tags=tags)

    def close(self) -> None:
        """Close the socket."""
        client, self._client = self._client, None
        if client is not None:
            client.close_socket()

    def named(self, one: Measure) -> tuple[str, list[str] | None]:
        """Give the name and the tags of a number: statsd has no tags."""
        return one.name, None


class DatadogMonitor(StatsdMonitor):
    """The same for Datadog: topics, partitions, tables and the like are tags. The arguments are those of :class:`StatsdMonitor`."""

    def named(self, one: Measure) -> tuple[str, list[str] | None]:
        """Give the name and the tags of a number."""
        return one.short, [f"{key}:{value}" for key, value in one.tags] or None
