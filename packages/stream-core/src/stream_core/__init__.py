"""Records, codecs, streams, agents and the engine of Stream, with an in-process broker; no network, no disk."""

from stream_core.agents import Agent
from stream_core.clients import EngineSettings
from stream_core.engine import Engine
from stream_core.errors import StreamError
from stream_core.events import Event, Message, current_event
from stream_core.models import Record
from stream_core.records import TP, RecordMetadata
from stream_core.schemas import Schema
from stream_core.streams import Stream
from stream_core.topics import Topic

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
