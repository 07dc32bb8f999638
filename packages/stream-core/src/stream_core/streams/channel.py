"""Channels: topics that exist in the memory of one process, for agents that work for other agents and for tests."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import suppress
from inspect import isawaitable
from operator import attrgetter
from typing import Any, Generic, TypeVar, Unpack

from stream_core.calls import is_here, run_in
from stream_core.errors import ConfigurationError
from stream_core.primitives import TP, Batch, HeadersArg, RawRecord, RecordMetadata, StoredRecord, header_pairs
from stream_core.runs import PerRun, current_clock, current_run
from stream_core.streams.decoded import Decoded
from stream_core.streams.events import Event
from stream_core.streams.sessions import Feed, PartitionSession, Subscription
from stream_core.streams.stream import LooseStream, Stream
from stream_core.streams.targets import SendOptions
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


class Line(Generic[V]):
    """What a channel has in one engine: its readers, and what waits for them.

    Args:
        name: of the channel.
        maxsize: events that may wait for the slowest reader before a sender waits.
    """

    def __init__(self, name: str, maxsize: int) -> None:
        self._name = name
        self._maxsize = maxsize
        self.session = PartitionSession(TP(name, IN_MEMORY), _AsTheyAre(), 0, _hand_over)
        self.session.run(0, (), {})
        self._senders: list[asyncio.Future[None]] = []  # of whichever loop they wait in
        self._pulled: deque[Event[V]] | None = None
        self._getters: deque[asyncio.Future[Event[V]]] = deque()
        self._told = False
        self._readers = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._loops: dict[str, asyncio.AbstractEventLoop] = {}  # of each subscription that was made where one ran

    async def send(self, value: Any, key: Any, timestamp: float | None, headers: HeadersArg | None) -> RecordMetadata:
        """Hand an event to all readers, in the thread in which they read; the arguments are those of :meth:`Channel.send`."""
        loop = self._loop
        if loop is None or is_here(loop) or not loop.is_running():
            if loop is not None and loop.is_closed():
                self._forget_closed()
            return await self._hand(value, key, timestamp, headers)
        return await run_in(loop, lambda: self._hand(value, key, timestamp, headers), f"channel {self._name}")

    async def _hand(self, value: Any, key: Any, timestamp: float | None, headers: HeadersArg | None) -> RecordMetadata:
        """Put a value into the channel, in its own event loop; waits while it is full."""
        session = self.session
        while session.waiting >= self._maxsize:
            if self._forget_closed():
                continue
            room = asyncio.get_running_loop().create_future()
            self._senders.append(room)
            await room
        offset = session.fetch_position
        millis = round((current_clock().wall() if timestamp is None else timestamp) * 1000)
        record: Any = StoredRecord(offset, millis, key, value, header_pairs(headers))  # not bytes: never encoded
        session.deliver(_Objects(session.tp, [record], offset + 1))
        if self._pulled is not None:
            self._keep(self._pulled, Event(session.schema, session.tp, record, value))
        return RecordMetadata(self._name, IN_MEMORY, offset, millis)

    async def get(self, timeout: float | None) -> Event[V]:
        """Take the next event; see :meth:`Channel.get`."""
        self._read_here()
        if self._pulled is None:
            self._pulled = deque(maxlen=self._maxsize)
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
            elif arrival in self._getters:  # else its loop was closed, and a sender has passed over it
                self._getters.remove(arrival)
            raise

    @property
    def empty(self) -> bool:
        """Whether nothing waits for :meth:`get`."""
        return not self._pulled

    def _keep(self, pulled: deque[Event[V]], event: Event[V]) -> None:
        while self._getters:
            getter = self._getters.popleft()
            if not getter.get_loop().is_closed():
                getter.set_result(event)
                return
        if len(pulled) == pulled.maxlen and not self._told:
            self._told = True
            logger.warning(
                "channel %s: more than %d events wait for get(), and the oldest are dropped; iterate over the channel to hold senders back",
                self._name,
                self._maxsize,
            )
        pulled.append(event)

    def reader(self) -> Subscription:
        """Make a subscription of its own, with a name that no other one has."""
        self._readers += 1
        return Subscription(f"{self._name}:{self._readers}", ())

    def subscribe(self, subscription: Subscription) -> None:
        """Hand every event to this subscription from now on."""
        session = self.session
        self._read_here()
        if (here := asyncio._get_running_loop()) is not None:
            self._loops[subscription.name] = here
        subscription.on_progress = self.progressed
        session.feeds[subscription.name] = Feed(session, subscription, session.fetch_position)

    def _read_here(self) -> None:
        """Hand events over in the loop that runs here, from now on.

        Raises:
            ConfigurationError: another loop that runs reads it.
        """
        with suppress(RuntimeError):  # no loop runs yet
            here, before = asyncio.get_running_loop(), self._loop
            if (
                before is not None
                and before is not here
                and before.is_running()
                and (self._getters or self.session.feeds)
            ):
                raise ConfigurationError(
                    f"channel {self._name} is read in another event loop already: read it in one loop, and send to it from any"
                )
            if before is not None and before.is_closed():
                self._forget_closed()
            self._loop = here

    def _forget_closed(self) -> bool:
        """Forget who read in an event loop that is closed: a sender would wait for them for ever. Tells whether there was anybody."""
        gone = [name for name, loop in self._loops.items() if loop.is_closed()]
        for name in gone:
            del self._loops[name]
            self.session.feeds.pop(name, None)
        return bool(gone)

    def unsubscribe(self, subscription: Subscription) -> None:
        """Hand nothing to this subscription any more, where it is one of this engine."""
        if subscription in (feed.subscription for feed in self.session.feeds.values()):
            del self.session.feeds[subscription.name]
            self._loops.pop(subscription.name, None)

    def progressed(self) -> None:
        """Let senders go on for which there is room now."""
        senders, self._senders = self._senders, []
        for room in senders:
            if not room.done() and not room.get_loop().is_closed():
                room.set_result(None)


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
        self._lines = PerRun[Line[V]]()
        self._first = Line[V](name, maxsize)

    def _line(self) -> Line[V]:
        """Return what it has in the engine of this task, else in the only one that runs; outside of all engines the channel works, too.

        The first engine takes over what was there before: who reads the channel since before the start reads what its agents send.
        Engines of several apps share it; workers of one app are apart, as they would be in processes of their own.

        Raises:
            ConfigurationError: several engines run it, and this task belongs to none of them.
        """
        run = current_run()
        if run is None or run.ended:
            return self._lines.find(f"channel {self.name} cannot be used") if self._lines else self._first
        line = self._lines.of(run)
        if line is None:
            of_others = [line for other, line in self._lines.items() if other.name == run.name]
            lines = [self._first, *self._lines.all(), Line[V](self.name, self.maxsize)]
            line = next(line for line in lines if line not in of_others)
            self._lines.bind(run, line)
        return line

    # -- writing

    async def send(
        self,
        value: V | Any = None,
        *,
        key: K | Any = None,
        partition: int | None = None,
        timestamp: float | None = None,
        headers: HeadersArg | None = None,
        aside: bool = True,
        **options: Unpack[SendOptions],
    ) -> Awaitable[RecordMetadata]:
        """Hand an event to all readers; waits while the slowest has ``maxsize`` events waiting. Any thread may send.

        Args:
            value: the value, passed as it is.
            key: the key, passed as it is.
            partition: ignored; there are none.
            timestamp: seconds since the epoch; ``None`` for now.
            headers: names and bytes, as a mapping or a list of pairs.
            aside: ignored; it is never taken back.
            options: of :class:`~stream_core.streams.targets.SendOptions` the ``callback``, which is called at once; nothing is encoded.

        Returns:
            what can be awaited for the metadata; it is there already.
        """
        del partition, aside
        metadata = await self._line().send(value, key, timestamp, headers)
        done: asyncio.Future[RecordMetadata] = asyncio.get_running_loop().create_future()
        done.set_result(metadata)
        if (callback := options.get("callback")) is not None and isawaitable(answer := callback(done)):
            await answer
        return done

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
        return await self._line().get(timeout)

    def empty(self) -> bool:
        """Tell whether nothing waits for ``get``; also true before its first call."""
        return self._line().empty

    def stream(self) -> Stream[V]:
        """Make a stream of what is sent from now on, outside of agents."""
        line = self._line()
        subscription = line.reader()
        line.subscribe(subscription)
        return LooseStream(subscription, close=self.unsubscribe)

    # -- for those who run agents

    def subscribe(self, subscription: Subscription) -> None:
        """Hand every event to this subscription from now on.

        :meta private:
        """
        self._line().subscribe(subscription)

    def unsubscribe(self, subscription: Subscription) -> None:
        """Hand nothing to this subscription any more, and drop what waits for it; whoever calls it.

        :meta private:
        """
        for line in {self._first, *self._lines.all()}:
            line.unsubscribe(subscription)
        subscription.inbox.drop(subscription)
        subscription.on_progress()

    def forget(self) -> None:
        """Be as new: with no readers, and nothing that waits for :meth:`get`. What engines that run have of it is left alone.

        :meta private:
        """
        self._first = Line[V](self.name, self.maxsize)

    def position(self, reader: str) -> int:
        """Return the offset below which a reader has finished everything; -1 for one that does not read.

        :meta private:
        """
        feed = self._line().session.feeds.get(reader)
        return -1 if feed is None else feed.position

    @property
    def schema(self) -> Schema:
        """Keys and values are handed over as they are.

        :meta private:
        """
        return self._first.session.schema

    @property
    def subscriber_count(self) -> int:
        """How many readers there are."""
        return len(self._line().session.feeds)

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"<Channel {self.name}>"
