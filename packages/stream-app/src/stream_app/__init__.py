"""Stream: agents over Kafka topics, durable tables, exactly-once. ``import stream_app as faust`` reads like the guides."""

from stream_app.app import App
from stream_app.definitions.agents import Agent
from stream_app.settings import Settings
from stream_app.worker import Worker
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

__all__ = [
    "TP",
    "Agent",
    "App",
    "Channel",
    "Codec",
    "Event",
    "FailurePolicy",
    "GSSAPICredentials",
    "Message",
    "OAuthCredentials",
    "Record",
    "RecordMetadata",
    "SASLCredentials",
    "SSLCredentials",
    "Schema",
    "Settings",
    "Skip",
    "Stream",
    "StreamError",
    "Table",
    "Topic",
    "Worker",
    "current_agent",
    "current_event",
]
