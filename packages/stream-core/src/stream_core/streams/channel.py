"""Channels: topics that exist in the memory of one process, for agents that work for other agents and for tests."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import suppress
from operator import attrgetter
from threading import get_ident
from time import time
from typing import Any, Generic, TypeVar

from stream_core.errors import ConfigurationError
from stream_core.primitives import TP, Batch, Headers, RawRecord, RecordMetadata, StoredRecord
from stream_core.streams.decoded import Decoded
from stream_core.streams.events import Event
from stream_core.streams.sessions import Feed, PartitionSession, Subscription
from stream_core.streams.stream import LooseStream, Stream
from stream_core.values.schemas import Schema

__all__ = ["Channel"]

logger = logging.getLogger(__name__)

K = TypeVar("K")
V = TypeVar("V")

IN_MEMORY = -1
"""The partition number of what is in no partition: tables have none for it."""


class _AsTheyAre(Schema):
    """Keys and values are handed over as they are."""

    @property
    def read_key(self) -> Any:
        """The key itself."""
        return attrgetter("key")

    @property
    def read_value(self) -> Any:
        """The value itself."""
        return attrgetter("value")


class _Objects(Batch):
    """Records whose keys and values are no bytes."""

    __slots__ = ()

    @property
    def size(self) -> float:
        """None of it is measured: a channel is bounded by the number of its events."""
        return 0.0


def _hand_over(_tp: TP, records: Sequence[RawRecord]) -> Decoded:
    return Decoded(records, [record.value for record in records])


class Channel(Generic[K, V]):
    """An in-memory channel: every agent and every iteration over it gets every event that is sent from then on.

    Keys and values are passed as they are, not encoded. Nothing of it survives the process, nothing of it is committed: what an agent
    does for an event of a channel is never undone by a checkpoint that fails.

    Args:
        name: for messages.
        maxsize: events that may wait for the slowest reader before ``send`` waits.
        key_type: type of the keys, for readers of the code and type checkers.
        value_type: type of the values, likewise.
        wire_schema: the schema of a topic through which its events are sent and whose definition says nothing; one of the two types when
            left out.

    Raises:
        ConfigurationError: ``maxsize`` is not at least 1.
    """

    def __init__(
        self,
        name: str = "channel",
        *,
        maxsize: int = 4096,
        key_type: type[K] | None = None,
        value_type: type[V] | None = None,
        wire_schema: Schema | None = None,
    ) -> None:
        if maxsize < 1:
            raise ConfigurationError(f"channel {name}: maxsize={maxsize} holds nothing; use at least 1")
        self.name = name
        self.maxsize = maxsize
        self.key_type = key_type
        self.value_type = value_type
        self.wire_schema = Schema(key_type, value_type) if wire_schema is None else wire_schema
        self._session = PartitionSession(TP(name, IN_MEMORY), _AsTheyAre(), 0, _hand_over)
        self._session.run(0, (), {})
        self._senders: list[asyncio.Future[None]] = []  # of whichever loop they wait in
        self._pulled: deque[Event[V]] | None = None
        self._getters: deque[asyncio.Future[Event[V]]] = deque()
        self._told = False
        self._readers = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0

    # -- writing

    async def send(
        self,
        value: V | Any = None,
        *,
        key: K | Any = None,
        partition: int | None = None,
        timestamp: float | None = None,
        headers: Mapping[str, bytes] | Headers | None = None,
        aside: bool = True,
    ) -> Awaitable[RecordMetadata]:
        """Hand an event to all readers; waits while the slowest has ``maxsize`` events waiting. Any thread may send.

        Args:
            value: the value, passed as it is.
            key: the key, passed as it is.
            partition: ignored; there are none.
            timestamp: seconds since the epoch; ``None`` for now.
            headers: names and bytes, as a mapping or a list of pairs.
            aside: ignored; it is never taken back.

        Returns:
            what can be awaited for the metadata; it is there already.
        """
        del partition, aside
        loop, here = self._loop, asyncio.get_running_loop()
        if loop is not None and loop is not here and get_ident() != self._thread:
            sending = self._hand(value, key, timestamp, headers)
            metadata = await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(sending, loop))
        else:
            metadata = await self._hand(value, key, timestamp, headers)
        done: asyncio.Future[RecordMetadata] = here.create_future()
        done.set_result(metadata)
        return done

    async def _hand(
        self, value: Any, key: Any, timestamp: float | None, headers: Mapping[str, bytes] | Headers | None
    ) -> RecordMetadata:
        session = self._session
        while session.waiting >= self.maxsize:
            room = asyncio.get_running_loop().create_future()
            self._senders.append(room)
            await room
        pairs: Headers = () if headers is None else list(headers.items()) if isinstance(headers, Mapping) else headers
        offset, millis = session.fetch_position, round((time() if timestamp is None else timestamp) * 1000)
        record: Any = StoredRecord(offset, millis, key, value, pairs)  # not bytes: never encoded
        session.deliver(_Objects(session.tp, [record], offset + 1))
        if self._pulled is not None:
            self._keep(self._pulled, Event(session.schema, session.tp, record, value))
        return RecordMetadata(self.name, IN_MEMORY, offset, millis)

    async def put(self, value: V) -> None:
        """Hand a value to all readers; as :meth:`send`."""
        await self.send(value)

    # -- reading

    def __aiter__(self) -> AsyncIterator[Event[V]]:
        return self.stream().events()

    async def get(self, *, timeout: float | None = None) -> Event[V]:
        """Take the next event that was sent since the first call of ``get``.

        It is no reader: nobody knows whether it is called again, so senders do not wait for it. Between two calls the newest ``maxsize``
        events are kept. Iterate instead to hold senders back.

        Args:
            timeout: seconds to wait; ``None`` waits for ever.

        Raises:
            TimeoutError: nothing came in time.
        """
        if self._pulled is None:
            self._pulled = deque(maxlen=self.maxsize)
        if self._pulled:
            return self._pulled.popleft()
        arrival: asyncio.Future[Event[V]] = asyncio.get_running_loop().create_future()
        self._getters.append(arrival)
        try:
            async with asyncio.timeout(timeout):
                return await asyncio.shield(arrival)
        except BaseException:
            if arrival.done():  # in the same moment
                self._pulled.appendleft(arrival.result())
            else:
                self._getters.remove(arrival)
            raise

    def empty(self) -> bool:
        """Tell whether nothing waits for ``get``; also true before its first call."""
        return not self._pulled

    def _keep(self, pulled: deque[Event[V]], event: Event[V]) -> None:
        if self._getters:
            self._getters.popleft().set_result(event)
            return
        if len(pulled) == pulled.maxlen and not self._told:
            self._told = True
            logger.warning(
                "channel %s: more than %d events wait for get(), and the oldest are dropped; iterate over the channel to hold senders back",
                self.name,
                self.maxsize,
            )
        pulled.append(event)

    def stream(self) -> Stream[V]:
        """A stream of what is sent from now on, outside of agents."""
        self._readers += 1
        subscription = Subscription(f"{self.name}:{self._readers}", ())
        self.subscribe(subscription)
        return LooseStream(subscription, close=self.unsubscribe)

    # -- for those who run agents

    def subscribe(self, subscription: Subscription) -> None:
        """Hand every event to this subscription from now on."""
        session = self._session
        with suppress(RuntimeError):  # no loop runs yet
            self._loop, self._thread = asyncio.get_running_loop(), get_ident()
        subscription.on_progress = self._progressed
        session.feeds[subscription.name] = Feed(session, subscription, session.fetch_position)

    def unsubscribe(self, subscription: Subscription) -> None:
        """Hand nothing to this subscription any more, and drop what waits for it."""
        if subscription in (feed.subscription for feed in self._session.feeds.values()):
            del self._session.feeds[subscription.name]
        subscription.inbox.drop(subscription)
        self._progressed()

    def position(self, reader: str) -> int:
        """The offset below which a reader has finished everything."""
        feed = self._session.feeds.get(reader)
        return -1 if feed is None else feed.position

    @property
    def schema(self) -> Schema:
        """Keys and values are handed over as they are."""
        return self._session.schema

    @property
    def subscriber_count(self) -> int:
        """How many readers there are."""
        return len(self._session.feeds)

    def _progressed(self) -> None:
        senders, self._senders = self._senders, []
        for room in senders:
            if not room.done():
                room.set_result(None)

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"<Channel {self.name}>"
