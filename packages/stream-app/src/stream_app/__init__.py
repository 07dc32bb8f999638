"""Stream: agents over Kafka topics, durable tables, exactly-once. ``import stream_app as faust`` reads like the guides."""

import importlib
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from mode.types import ServiceT

from stream_app.absent import answers, listen
from stream_app.app import App
from stream_app.definitions.agents import Agent
from stream_app.lifespan import lifespan
from stream_app.models import Model, ModelOptions
from stream_app.running.service import Service
from stream_app.sensors import Monitor, Sensor
from stream_app.settings import Settings
from stream_app.types import ChannelT, EventT, StreamT, TopicT
from stream_app.utils import uuid
from stream_core.agents.agent import current_agent
from stream_core.errors import Skip, StreamError
from stream_core.policies import FailurePolicy
from stream_core.primitives import TP, RecordMetadata
from stream_core.sending.topic import Topic
from stream_core.streams.channel import Channel
from stream_core.streams.events import Event, Message, current_event
from stream_core.streams.stream import Stream
from stream_core.values.codecs import Codec
from stream_core.values.record import Record
from stream_core.values.schemas import Schema
from stream_kafka.credentials import GSSAPICredentials, OAuthCredentials, SASLCredentials, SSLCredentials
from stream_tables.table import Table
from stream_tables.windows.aligned import HoppingWindow, TumblingWindow
from stream_tables.windows.kinds import Window
from stream_tables.windows.session import SessionWindow
from stream_tables.windows.sliding import SlidingWindow

__all__ = [
    "TP",
    "Agent",
    "App",
    "AppCommand",
    "Channel",
    "ChannelT",
    "Codec",
    "Command",
    "Event",
    "EventT",
    "FailurePolicy",
    "GSSAPICredentials",
    "HoppingWindow",
    "Message",
    "Model",
    "ModelOptions",
    "Monitor",
    "OAuthCredentials",
    "Record",
    "RecordMetadata",
    "SASLCredentials",
    "SSLCredentials",
    "Schema",
    "Sensor",
    "Service",
    "ServiceT",
    "SessionWindow",
    "Settings",
    "Skip",
    "SlidingWindow",
    "Stream",
    "StreamError",
    "StreamT",
    "Table",
    "TestDriver",
    "Topic",
    "TopicT",
    "TumblingWindow",
    "Window",
    "Worker",
    "current_agent",
    "current_event",
    "lifespan",
    "uuid",
]

SUBMODULES = ("cli", "exceptions", "models", "sensors", "serializers", "types", "utils", "web", "windows")
"""The modules that programs import from, beside the names above."""

LAZY = {"AppCommand": "cli", "Command": "cli", "TestDriver": "driver", "Worker": "worker"}
"""Names whose modules take a while to load, and the submodules that have them: most programs need none of them."""

listen(__name__)

if TYPE_CHECKING:
    from stream_app.cli import AppCommand, Command
    from stream_app.driver import TestDriver
    from stream_app.worker import Worker

    __version__: str
else:
    _answer = answers(__name__, __all__, SUBMODULES)

    def __getattr__(name: str) -> Any:
        """Give a name that takes a while to load, a submodule, or the version; explain a name that is not here."""
        if name in LAZY:
            return getattr(importlib.import_module(f"{__name__}.{LAZY[name]}"), name)
        return version("stream-app") if name == "__version__" else _answer(name)
