"""Sensors: objects that are told what a worker does, by callbacks with Faust's names.

A callback that no sensor overrides costs nothing: whoever would call it asks first, once for each loop or batch, whether anybody listens.
A sensor is a guest. What it raises is counted and logged once, and goes no further; one that keeps the event loop is reported, and
after :data:`DEADLINE` it is called no more.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from time import monotonic
from typing import Any, NamedTuple

from stream_core.primitives import TP

__all__ = ["PER_EVENT", "Begun", "Sensor", "Sensors"]

logger = logging.getLogger(__name__)

SLOW = 0.1
"""Seconds after which a call of a sensor is reported, once: it holds up the event loop."""

DEADLINE = 2.0
"""Seconds of one call after which a sensor is called no more."""

EVENT = ("on_stream_event_in", "on_stream_event_out")
MESSAGE = ("on_message_in", "on_message_out")
SEND = ("on_send_initiated", "on_send_completed", "on_send_error", "on_send_headers")
TABLE = ("on_table_get", "on_table_set", "on_table_del")

PER_EVENT = (*EVENT, *MESSAGE, *SEND, *TABLE)
"""The callbacks that are called for each record, event or access; all others are called once for much more."""


class Sensor:
    """What may be told of the work of a worker: override what you need. All callbacks are called in the event loop, and must not wait.

    Those that return something are asked again when it is over, with what they returned as ``state``.
    """

    @property
    def label(self) -> str:
        """Name for messages."""
        return type(self).__name__

    def on_message_in(self, tp: TP, offset: int, message: Any) -> None:
        """Hear that a record was fetched for the readers of its topic.

        Args:
            tp: its partition.
            offset: its offset.
            message: the record: key, value, headers, and its timestamp in milliseconds.
        """

    def on_stream_event_in(self, tp: TP, offset: int, stream: Any, event: Any) -> Any:
        """Hear that a reader begins with an event.

        Args:
            tp: its partition.
            offset: its offset.
            stream: the reader; ``stream.name`` is its name, that of the agent for instance.
            event: the event.
        """

    def on_stream_event_out(self, tp: TP, offset: int, stream: Any, event: Any, state: Any = None) -> None:
        """Hear that a reader is done with an event, or that the event has failed; the arguments are those of :meth:`on_stream_event_in`."""

    def on_message_out(self, tp: TP, offset: int, message: Any) -> None:
        """Hear that all readers of a record are done with it; the arguments are those of :meth:`on_message_in`."""

    def on_topic_buffer_full(self, tp: TP) -> None:
        """Hear that a partition is paused, because enough of its records wait."""

    def on_table_get(self, table: Any, key: Any) -> None:
        """Hear that a key of a table is read."""

    def on_table_set(self, table: Any, key: Any, value: Any) -> None:
        """Hear that a key of a table is assigned."""

    def on_table_del(self, table: Any, key: Any) -> None:
        """Hear that a key of a table is deleted."""

    def on_commit_initiated(self, consumer: Any) -> Any:
        """Hear that a checkpoint begins to commit offsets."""

    def on_commit_completed(self, consumer: Any, state: Any) -> None:
        """Hear that the offsets are committed."""

    def on_tp_commit(self, tp_offsets: Mapping[TP, int]) -> None:
        """Hear which offsets were committed."""

    def on_send_headers(self, topic: str, headers: list[tuple[str, bytes]]) -> None:
        """Add headers to a record before it is sent, by changing the list."""

    def on_send_initiated(self, producer: Any, topic: str, message: Any, keysize: int, valsize: int) -> Any:
        """Hear that a record is about to be sent.

        Args:
            producer: what sends it.
            topic: the name of its topic.
            message: key and value, as bytes.
            keysize: bytes of the key.
            valsize: bytes of the value.
        """

    def on_send_completed(self, producer: Any, state: Any, metadata: Any) -> None:
        """Hear that the broker has acknowledged a record; ``metadata`` says where it is."""

    def on_send_error(self, producer: Any, exc: BaseException, state: Any) -> None:
        """Hear that a record was not acknowledged, or that the event which sent it failed."""

    def on_assignment_start(self, assignor: Any) -> Any:
        """Hear that partitions were assigned to this worker, which begins to open them; ``assignor`` is its membership of the group."""

    def on_assignment_error(self, assignor: Any, state: Any, exc: BaseException) -> None:
        """Hear that the partitions went away before all of them were open."""

    def on_assignment_completed(self, assignor: Any, state: Any) -> None:
        """Hear that tables are recovered, and all partitions are worked on."""

    def on_rebalance_start(self, app: Any) -> Any:
        """Hear that a rebalance takes partitions away."""

    def on_rebalance_return(self, app: Any, state: Any) -> None:
        """Hear that partitions are assigned again."""

    def on_rebalance_end(self, app: Any, state: Any) -> None:
        """Hear that a rebalance is over: all partitions are worked on."""

    def on_web_request_start(self, app: Any, request: Any, *, view: Any = None) -> Any:
        """Hear that an HTTP request has arrived."""

    def on_web_request_end(self, app: Any, request: Any, response: Any, state: Any, *, view: Any = None) -> None:
        """Hear that an HTTP request is answered; ``response`` is ``None`` where there is none."""

    def on_threaded_producer_buffer_processed(self, app: Any, size: int) -> None:
        """Hear of Faust's producer in a thread. Here is none, so that nothing calls it: it is there for sensors that override it."""

    def asdict(self) -> dict[str, Any]:
        """Give what the sensor has to show, in plain values."""
        return {}


class Begun(NamedTuple):
    """Something that sensors were told the begin of: each of them, with what it returned."""

    states: tuple[tuple[Sensor, Any], ...]


class Sensors:
    """The sensors of an app, in the order in which they were added; those of one app, however often it is started.

    Attributes:
        errors: how often a sensor raised, or was late, by its label.
    """

    def __init__(self) -> None:
        self._sensors: list[Sensor] = []
        self._told: set[tuple[Sensor, str]] = set()
        self.errors: Counter[str] = Counter()
        self.running: Callable[[], bool] = bool
        """Whether the app of the sensors runs."""

    def add(self, sensor: Any) -> None:
        """Let a sensor be told from now on. One that is told of each event is added before the app starts.

        Raises:
            TypeError: it is none: derive its class from ``faust.Sensor``.
            RuntimeError: the app runs, and the sensor overrides a callback for each event.
        """
        if not isinstance(sensor, Sensor):
            raise TypeError(f"{sensor!r} is no sensor: derive its class from faust.Sensor")
        for name in PER_EVENT if self.running() else ():
            if _overrides(sensor, name):
                raise RuntimeError(
                    f"the sensor {sensor.label} has {name}, for each event: add it before the app starts"
                )
        if sensor not in self._sensors:
            self._sensors = [*self._sensors, sensor]

    def remove(self, sensor: Any) -> None:
        """Tell a sensor nothing any more; does nothing with one that was not added."""
        self._sensors = [one for one in self._sensors if one is not sensor]

    def __iter__(self) -> Iterator[Sensor]:
        return iter(self._sensors)

    def __len__(self) -> int:
        return len(self._sensors)

    def __contains__(self, sensor: object) -> bool:
        return any(one is sensor for one in self._sensors)

    def hear(self, *names: str) -> bool:
        """Tell whether a sensor overrides one of these callbacks."""
        return any(_overrides(sensor, name) for sensor in self._sensors for name in names)

    def tell(self, name: str, *arguments: Any) -> None:
        """Call a callback of all sensors that override it."""
        for sensor in self._sensors:
            if _overrides(sensor, name):
                self._call(sensor, name, arguments, {})

    def begin(self, name: str, *arguments: Any, **options: Any) -> Begun:
        """Call the callback for a begin; :meth:`end` is to be told what this returns."""
        return Begun(
            tuple(
                (sensor, self._call(sensor, name, arguments, options) if _overrides(sensor, name) else None)
                for sensor in self._sensors
            )
        )

    def end(self, name: str, begun: Begun, arguments: Callable[[Any], tuple[Any, ...]], **options: Any) -> None:
        """Call the callback for an end.

        Args:
            name: of the callback.
            begun: what :meth:`begin` returned.
            arguments: gives the arguments, from what the sensor returned at the begin.
            options: further arguments.
        """
        for sensor, state in begun.states:
            if _overrides(sensor, name) and sensor in self:
                self._call(sensor, name, arguments(state), options)

    def failed(self, sensor: Sensor, what: str, error: BaseException) -> None:
        """Count that a sensor has failed, and log the first time of each callback.

        Args:
            sensor: which one.
            what: it was doing: the name of a callback, for instance.
            error: what it raised.
        """
        self.errors[sensor.label] += 1
        if (sensor, what) not in self._told:
            self._told.add((sensor, what))
            logger.error(
                "the sensor %s has failed in %s, which is logged once: %r", sensor.label, what, error, exc_info=error
            )

    def _call(self, sensor: Sensor, name: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
        started = monotonic()
        try:
            return getattr(sensor, name)(*arguments, **options)
        except Exception as error:
            self.failed(sensor, name, error)
            return None
        finally:
            if (took := monotonic() - started) > SLOW:
                self._late(sensor, name, took)

    def _late(self, sensor: Sensor, name: str, took: float) -> None:
        self.errors[sensor.label] += 1
        if took > DEADLINE:
            self.remove(sensor)
            logger.error("the sensor %s took %.1f s in %s, and is called no more", sensor.label, took, name)
        elif (sensor, "late") not in self._told:
            self._told.add((sensor, "late"))
            logger.warning(
                "the sensor %s took %.2f s in %s, and the event loop waited for it: let a thread do what takes long",
                sensor.label,
                took,
                name,
            )


def _overrides(sensor: Sensor, name: str) -> bool:
    """Tell whether a sensor has a callback of its own, in its class or as an attribute."""
    return getattr(getattr(sensor, name), "__func__", None) is not getattr(Sensor, name)
