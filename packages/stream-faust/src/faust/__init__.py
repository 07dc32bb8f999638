"""``import faust`` for existing code: the names of the guides, served by Stream."""

from stream_app import (
    TP,
    Agent,
    App,
    Event,
    Message,
    Record,
    RecordMetadata,
    Schema,
    Settings,
    Stream,
    Table,
    Topic,
    Worker,
    current_event,
)

__all__ = [
    "TP",
    "Agent",
    "App",
    "Event",
    "Message",
    "Record",
    "RecordMetadata",
    "Schema",
    "Settings",
    "Stream",
    "Table",
    "Topic",
    "Worker",
    "current_event",
]
