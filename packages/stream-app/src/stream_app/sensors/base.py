"""The class that sensors are derived from, and the sensors of an app."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Protocol

from stream_app.running.service import Service
from stream_core import sensors
from stream_core.engine.engine import Engine
from stream_core.engine.snapshot import Snapshot
from stream_core.errors import ConfigurationError
from stream_core.runs import PerRun

__all__ = ["AppSensors", "Sensor"]

logger = logging.getLogger(__name__)

PATIENCE = 5.0
"""Seconds for a sensor to start, or to stop: the work of the app does not wait for it."""


class Watched(Protocol):
    """The app of a sensor."""

    @property
    def id(self) -> str:
        """Its id."""

    @property
    def engines(self) -> PerRun[Engine]:
        """What runs it."""


class Sensor(sensors.Sensor, Service):
    """What is told of the work of a worker: override the callbacks that you need; see :class:`stream_core.sensors.Sensor`.

    It is a service that starts and stops with the app: ``on_start`` and ``on_stop`` may be overridden, too, and ``@Service.task`` runs
    beside it. What fails in it is logged and counted, and never touches the app.

    Attributes:
        app: the app that it was added to last; ``None`` before.
    """

    abstract = True

    def __init__(self, **options: Any) -> None:
        self.app: Any = None
        self._last: Snapshot | None = None
        Service.__init__(self, **options)

    if not TYPE_CHECKING:  # mode's has a label, too: the name of the class is enough for a sensor
        label = sensors.Sensor.label

    @property
    def snapshot(self) -> Snapshot | None:
        """How the worker does now; how it did when it stopped, after the stop, and ``None`` before the first start."""
        engines = [] if self.app is None else self.app.engines.all()
        if engines:
            self._last = engines[-1].snapshot()
        return self._last

    def keep(self, snapshot: Snapshot) -> None:
        """Keep what a worker has done that has stopped.

        :meta private:
        """
        self._last = snapshot


class AppSensors(sensors.Sensors):
    """The sensors of one app: ``app.sensors``."""

    def __init__(self, app: Watched) -> None:
        super().__init__()
        self._app = app
        self.running = lambda: bool(app.engines)

    def add(self, sensor: Any) -> None:
        """Let a sensor be told from now on. One that is told of each event is added before the app starts.

        Args:
            sensor: of a class that is derived from ``faust.Sensor``. One that is added while the app runs is started
                as a service with the next start.

        Raises:
            ConfigurationError: it is not a sensor; or the app runs, and the sensor overrides a callback for each event.
        """
        try:
            super().add(sensor)
        except (TypeError, RuntimeError) as error:
            raise ConfigurationError(f"app.sensors.add(): {error}") from None
        if isinstance(sensor, Sensor):
            sensor.app = self._app

    async def start(self) -> None:
        """Start those that are services; one that fails, or takes too long, goes on without.

        :meta private:
        """
        for sensor in list(self):
            if isinstance(sensor, Sensor):
                await self._within(sensor, "start")

    async def stop(self, last: Snapshot | None) -> None:
        """Stop those that are services, likewise.

        Args:
            last: what the worker has done.

        :meta private:
        """
        for sensor in list(self):
            if isinstance(sensor, Sensor):
                if last is not None:
                    sensor.keep(last)
                await self._within(sensor, "stop")

    async def _within(self, sensor: Sensor, step: str) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                await (sensor.maybe_start() if step == "start" else sensor.stop())
        except Exception as error:
            self.failed(sensor, step, error)
