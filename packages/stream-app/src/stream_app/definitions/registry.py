"""What the definitions of an app are kept in."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from stream_app.running.registries import make_schemas
from stream_app.sensors.base import AppSensors
from stream_app.settings import Settings
from stream_core.agents.agent import Agent
from stream_core.agents.chores import Chore
from stream_core.engine.engine import Engine
from stream_core.runs import PerRun
from stream_core.sending.topic import AnyTopic
from stream_core.streams.channel import Channel
from stream_core.values.registered import Schemas
from stream_tables.table import Table

if TYPE_CHECKING:
    from stream_web import CacheBackend, Web

__all__ = ["Registry"]


class Registry:
    """The definitions of an app, by name. They may be made in any thread, until the app starts; what is read of
    them is a copy, which no other thread changes.

    Args:
        conf: the settings.

    Attributes:
        conf: the same.
        engines: what runs the definitions: nearly always one engine at most.
        sensors: who is told of what happens: ``app.sensors.add(sensor)``, and ``remove``.
    """

    def __init__(self, conf: Settings) -> None:
        self.conf = conf
        self._topics: dict[str, AnyTopic] = {}
        self._channels = WeakSet[Channel[Any, Any]]()  # a program may make any number of them, and drop them
        self._agents: dict[str, Agent] = {}
        self._tables: dict[str, Table[Any, Any]] = {}
        self._chores: list[Chore] = []
        self._services: list[Any] = []
        self._commands: dict[str, Any] = {}
        self._web: Web | None = None
        self._cache: CacheBackend | None = None
        self._defining = threading.RLock()
        self._schemas: Schemas | None = None
        self.engines = PerRun[Engine]()
        self.sensors = AppSensors(self)

    @property
    def id(self) -> str:
        """The consumer group: the name, and ``-v2`` from version 2 on."""
        return self.conf.id

    def _id_for(self, what: str) -> str:
        """Give the id for a name that ``what`` gets now: it cannot be changed any more."""
        for setting in ("version", "id_format"):
            self.conf.settle(setting, what)
        return self.id

    def schemas(self) -> Schemas | None:
        """Give what is known of the schema registry; ``None`` where no setting names one."""
        if self._schemas is None:
            for setting in ("schema_registry_url", "schema_registry_credentials", "schema_registry_ssl_context"):
                self.conf.settle(setting, "the schema registry")
            self._schemas = make_schemas(self.conf)
        return self._schemas

    @property
    def topics(self) -> Mapping[str, AnyTopic]:
        """The topics by name."""
        return dict(self._topics)

    @property
    def channels(self) -> tuple[Channel[Any, Any], ...]:
        """The channels that somebody still has."""
        with self._defining:
            return tuple(self._channels)

    @property
    def agents(self) -> Mapping[str, Agent]:
        """The agents by name."""
        return dict(self._agents)

    @property
    def tables(self) -> Mapping[str, Table[Any, Any]]:
        """The tables by name."""
        return dict(self._tables)

    @property
    def chores(self) -> tuple[Chore, ...]:
        """The tasks and timers."""
        return tuple(self._chores)

    @property
    def services(self) -> tuple[Any, ...]:
        """The services: classes, and objects."""
        return tuple(self._services)

    @property
    def pages(self) -> Web | None:
        """The pages of the web server, where there are some."""
        return self._web or None

    def _require_stopped(self, what: str) -> None:
        """Raise ConfigurationError when the app runs: what is defined then would have no effect."""

    def _defined(self, topic: AnyTopic) -> None:
        """Hear that a topic was described."""
