"""Records, codecs, streams, agents and the engine of Stream, with an in-process broker; no network, no disk."""

from stream_core.agents.agent import Agent
from stream_core.engine.engine import Engine
from stream_core.errors import StreamError
from stream_core.primitives import TP, RecordMetadata
from stream_core.sending.topic import Topic
from stream_core.settings import EngineSettings
from stream_core.streams.events import Event, Message, current_event
from stream_core.streams.stream import Stream
from stream_core.values.record import Record
from stream_core.values.schemas import Schema

__all__ = [
    "TP",
    "Agent",
    "Engine",
    "EngineSettings",
    "Event",
    "Message",
    "Record",
    "RecordMetadata",
    "Schema",
    "Stream",
    "StreamError",
    "Topic",
    "current_event",
]
