"""What is defined, for what runs it: by an app, or a part of that."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from stream_app.settings import Settings
from stream_core.agents.agent import Agent
from stream_core.agents.chores import Chore
from stream_core.engine.engine import Engine
from stream_core.runs import PerRun
from stream_core.sending.topic import AnyTopic
from stream_core.sensors import Sensors
from stream_tables.table import Table

if TYPE_CHECKING:
    from stream_web import Web

__all__ = ["Defined", "Part"]


class Defined(Protocol):
    """What is defined: an app, or a part of one."""

    @property
    def conf(self) -> Settings:
        """The settings."""

    @property
    def topics(self) -> Mapping[str, AnyTopic]:
        """The topics by name."""

    def topic_named(self, name: str) -> AnyTopic:
        """Give a topic by its name, described now if it was not."""

    @property
    def agents(self) -> Mapping[str, Agent]:
        """The agents by name."""

    @property
    def tables(self) -> Mapping[str, Table[Any, Any]]:
        """The tables by name."""

    @property
    def chores(self) -> tuple[Chore, ...]:
        """The tasks and timers."""

    @property
    def services(self) -> tuple[Any, ...]:
        """What starts and stops with the app."""

    @property
    def pages(self) -> Web | None:
        """The pages that a program has defined."""

    @property
    def engines(self) -> PerRun[Engine]:
        """The engines that run it."""

    @property
    def sensors(self) -> Sensors:
        """Who is told of what happens."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part of the definitions of an app: without services and pages, of which one worker has one."""

    conf: Settings
    topics: Mapping[str, AnyTopic]
    topic_named: Callable[[str], AnyTopic]
    agents: Mapping[str, Agent]
    tables: Mapping[str, Table[Any, Any]]
    engines: PerRun[Engine]
    sensors: Sensors
    chores: tuple[Chore, ...] = ()
    services: tuple[Any, ...] = ()
    pages: Web | None = None
