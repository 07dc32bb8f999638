"""The names with which programs annotate, as in Faust: each is the class itself, for ``AppT`` is :class:`~stream_app.app.App`.

``StreamT[int]``, ``ChannelT[int]`` and ``EventT[int]`` say the type of the values; without it that is anything.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from mode.types import ServiceT

from stream_app.absent import answers
from stream_app.app import App
from stream_app.definitions.agents import Agent
from stream_app.sensors.base import Sensor
from stream_app.types.core import HeadersArg, K, V
from stream_app.types.enums import ProcessingGuarantee
from stream_app.types.tuples import TP, ConsumerMessage, FutureMessage, Message, MessageSentCallback, RecordMetadata
from stream_core.ports import Consumer, Producer, Store, Transport
from stream_core.sending.topic import Topic
from stream_core.streams.channel import Channel
from stream_core.streams.events import Event
from stream_core.streams.stream import Stream
from stream_core.values.codecs import Codec, CodecArg
from stream_core.values.fields import FieldDescriptor
from stream_core.values.record import Record
from stream_core.values.schemas import Schema
from stream_core.values.wire import RecordOptions
from stream_tables.table import Table
from stream_tables.windows.kinds import Window, WindowRange

__all__ = [
    "TP",
    "AgentT",
    "AppT",
    "ChannelT",
    "CodecArg",
    "CodecT",
    "CollectionT",
    "ConsumerCallback",
    "ConsumerMessage",
    "ConsumerT",
    "EventT",
    "FieldDescriptorT",
    "FutureMessage",
    "HeadersArg",
    "K",
    "Message",
    "MessageSentCallback",
    "ModelArg",
    "ModelOptions",
    "ModelT",
    "ProcessingGuarantee",
    "Processor",
    "ProducerT",
    "RecordMetadata",
    "SchemaT",
    "SensorT",
    "ServiceT",
    "StoreT",
    "StreamT",
    "TableT",
    "TopicT",
    "TransportT",
    "V",
    "WindowRange",
    "WindowT",
]

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    T = TypeVar("T", default=Any)
    EventT: TypeAlias = Event[T]
    FieldDescriptorT: TypeAlias = FieldDescriptor[T]
    StreamT: TypeAlias = Stream[T]
    TopicT: TypeAlias = Topic[Any, Any]
    TableT: TypeAlias = Table[Any, Any]
else:
    from typing import TypeVar

    T = TypeVar("T")
    EventT, FieldDescriptorT, StreamT, TopicT, TableT = Event, FieldDescriptor, Stream, Topic, Table

AgentT: TypeAlias = Agent
SensorT: TypeAlias = Sensor
AppT: TypeAlias = App
ChannelT: TypeAlias = Channel[Any, T]
CodecT: TypeAlias = Codec
CollectionT: TypeAlias = TableT
ConsumerCallback: TypeAlias = Callable[[Message], Awaitable[Any]]
ConsumerT: TypeAlias = Consumer
ModelArg: TypeAlias = type[Any] | str | None
ModelOptions: TypeAlias = RecordOptions
ModelT: TypeAlias = Record
Processor: TypeAlias = Callable[[T], T | Awaitable[T]]
ProducerT: TypeAlias = Producer
SchemaT: TypeAlias = Schema
StoreT: TypeAlias = Store
TransportT: TypeAlias = Transport
WindowT: TypeAlias = Window

if not TYPE_CHECKING:
    __getattr__ = answers(__name__, __all__, ("auth", "core", "enums", "settings", "tuples"))
