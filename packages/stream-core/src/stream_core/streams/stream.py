"""A stream: what an agent's body iterates over, and the operators between the topic and the body.

The operators change the stream that they are called on, and return it, so that they can be chained. ``through`` and ``group_by``
return the stream behind them. Call all of them before the first event is asked for.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from stream_core.absent import NotHere
from stream_core.calls import is_here
from stream_core.errors import ConfigurationError, Skip
from stream_core.streams.buffers import Buffers
from stream_core.streams.cursor import Cursor, active_cursor
from stream_core.streams.effects import Emit, current_effects, set_effects
from stream_core.streams.events import Event, event_of
from stream_core.streams.iteration import Form, Iteration, Processor
from stream_core.streams.repartition import Key
from stream_core.streams.sessions import Inbox, Subscription
from stream_core.streams.targets import Target, send_of

__all__ = ["Host", "LooseStream", "Stream"]

T = TypeVar("T")


class Host(Protocol):
    """What a stream needs of the engine that runs it."""

    def pipe(self, stream: Stream[Any], target: Any, *, key: Key | None = None) -> Stream[Any]:
        """Send every event of ``stream`` to the topic ``target``, and give the stream that reads it.

        Args:
            stream: what to send.
            target: a topic, or the name of one.
            key: makes the key of each event; ``None`` keeps the key.
        """

    def source(self, stream: Stream[Any]) -> Any:
        """Give the topic, topics or channel that ``stream`` reads."""


_JOINS = "streams cannot be joined, in Faust neither: keep one side in a table"


class Stream(Generic[T]):
    """The events of one actor. Iterate it once at a time: values, or :meth:`events`, :meth:`items`, :meth:`take` and so on.

    An event is finished when the body asks for the next one; never because the body raised or was cancelled.

    Args:
        subscription: where the events come from.
        cursor: the cursor of the actor that iterates.
        host: the engine; a stream without one has no ``through`` and no ``group_by``.
        inbox: where the events wait; that of the subscription when left out.
    """

    def __init__(
        self, subscription: Subscription, cursor: Cursor, host: Host | None = None, *, inbox: Inbox | None = None
    ) -> None:
        self._iteration = Iteration(subscription, cursor, inbox)
        self._host = host
        self._nodes: list[Stream[Any]] = []

    if not TYPE_CHECKING:  # names of Faust
        join = NotHere(_JOINS)
        inner_join = NotHere(_JOINS)
        left_join = NotHere(_JOINS)
        outer_join = NotHere(_JOINS)
        ack = NotHere("write event.ack(), for events of stream.noack()")
        throw = NotHere("raise in the body of the agent")

    # -- iterating

    def __aiter__(self) -> AsyncIterator[T]:
        return self.read("values")

    def events(self) -> AsyncIterator[Event[T]]:
        """Iterate over whole events: key, value, headers and the message behind them."""
        return self.read("events")

    def items(self) -> AsyncIterator[tuple[Any, T]]:
        """Iterate over ``(key, value)``."""
        return self.read("items")

    def take(self, max_: int, within: float | None = None, *, by_partition: bool = False) -> AsyncIterator[list[T]]:
        """Iterate over lists of values. A list is one event: it is finished, or fails, as a whole.

        Under exactly-once a list is handed over at once when a processor has waited for the acknowledgement of what it sent: that has
        left, and nothing can be committed until its event is finished.

        Args:
            max_: how many values a list has at most.
            within: seconds after the first value when a list is handed over although it is not full; ``None`` waits until it is.
            by_partition: never mix partitions in a list: needed to change tables in the body, which belong to a partition.

        Raises:
            ConfigurationError: ``max_`` is not at least 1.
        """
        lists: AsyncIterator[list[T]] = self._take("values", max_, within, by_partition=by_partition)
        return lists

    def take_events(
        self, max_: int, within: float | None = None, *, by_partition: bool = False
    ) -> AsyncIterator[list[Event[T]]]:
        """Iterate over lists of whole events; the arguments are those of :meth:`take`."""
        lists: AsyncIterator[list[Event[T]]] = self._take("events", max_, within, by_partition=by_partition)
        return lists

    async def take_with_timestamp(
        self, max_: int, within: float | None, timestamp_field_name: str, *, by_partition: bool = False
    ) -> AsyncIterator[list[T]]:
        """Iterate over lists as :meth:`take` does, and give values that are dicts the time of their record.

        Args:
            max_: how many values a list has at most.
            within: seconds after the first value when a list is handed over although it is not full; ``None`` waits until it is.
            timestamp_field_name: the key under which a copy of each dict has the time, in seconds since the epoch.
            by_partition: never mix partitions in a list.
        """
        lists: Any = self.take_events(max_, within, by_partition=by_partition)
        async with aclosing(lists):
            async for events in lists:
                yield [_stamped(event, timestamp_field_name) for event in events]

    def noack_take(
        self, max_: int, within: float | None = None, *, by_partition: bool = False
    ) -> AsyncIterator[list[Event[T]]]:
        """Iterate over lists as :meth:`take_events` does, and let the body finish each event by its ``ack()``."""
        return self.noack().take_events(max_, within, by_partition=by_partition)

    async def enumerate(self, start: int = 0) -> AsyncIterator[tuple[int, T]]:
        """Iterate over ``(number, value)``, numbered from ``start``."""
        number = start
        async for value in self:
            yield number, value
            number += 1

    @property
    def current_event(self) -> Event[T] | None:
        """The event that is open, or ``None``. In a processor it is the event that the processor is called for."""
        return event_of(self._cursor())

    # -- operators

    def add_processor(self, processor: Processor) -> Stream[Any]:
        """Give each value to ``processor``, sync or async, and go on with what it returns.

        It raises :class:`~stream_core.errors.Skip` to drop an event. It runs inside the event: when it fails, the event fails.
        """
        for processors in self._iteration.processors.values():
            processors.append(processor)
        return self

    def filter(self, predicate: Callable[[T], Any]) -> Stream[T]:
        """Drop values for which ``predicate``, sync or async, is not true."""

        def choose(value: T) -> T | Awaitable[T]:
            wanted = predicate(value)
            if isawaitable(wanted):
                return _chosen(wanted, value)
            if not wanted:
                raise Skip
            return value

        return self.add_processor(choose)

    def echo(self, *channels: Target | str) -> Stream[T]:
        """Send a copy of each event to topics, by themselves or by name, or channels, with its key, before the body gets it.

        Raises:
            ConfigurationError: one of them is neither.
        """
        sends = [send_of(channel, "echo()") for channel in channels]

        async def echo(value: T) -> T:
            cursor = self._cursor()
            session, record = cursor.session, cursor.record
            key = None if session is None or record is None else Event(session.schema, session.tp, record, value).key
            for send in sends:
                await send(value=value, key=key)
            return value

        return self.add_processor(echo)

    def noack(self) -> Stream[T]:
        """Let the body finish events by ``event.ack()``, in any order; see :meth:`events` and :meth:`current_event`.

        The position of a partition waits for its oldest event that is not acknowledged; after a restart it and all that follow come
        again. Tables cannot be changed, as with ``concurrency``.

        Raises:
            ConfigurationError: events have been delivered already.
        """
        subscription, cursor = self._iteration.subscription, self._iteration.cursor
        if not subscription.manual:
            if subscription.isolated:
                raise ConfigurationError(
                    f"agent {subscription.name}: its actors begin with their partitions, too late for noack(): give its topic acks=False"
                )
            if subscription.fed:
                raise ConfigurationError(
                    f"agent {subscription.name}: call noack() before the first event is asked for, in each run of the body"
                )
            subscription.manual = True
        cursor.concurrent = True
        return self

    def combine(self, *nodes: Stream[Any]) -> Stream[Any]:
        """Read this stream and others as one, event by event as they come in; ``a & b`` is the same.

        Processors that were added before apply to the stream they were added to.

        Raises:
            ConfigurationError: one of them is of an agent with ``isolated_partitions``.
        """
        for stream in (self, *nodes):
            stream._refuse_isolated("combine()")
        iteration = self._iteration
        self._nodes += nodes
        for node in nodes:
            other = node._iteration
            other.subscription.inbox = iteration.subscription.inbox
            iteration.processors.update(other.processors)
            if iteration.cursor not in other.subscription.cursors:
                other.subscription.cursors.append(iteration.cursor)
        return self

    def __and__(self, other: Stream[Any]) -> Stream[Any]:
        return self.combine(other)

    def through(self, channel: Any) -> Stream[T]:
        """Send every event to another topic, and go on with the stream that reads it.

        Args:
            channel: a topic or the name of one; a new one has the schema of the source, and as many partitions as the setting
                ``topic_partitions`` says, else as the largest topic that the app reads.

        Raises:
            ConfigurationError: the agent has ``concurrency`` or ``isolated_partitions``, or the stream runs without an engine.
        """
        return self._get_host("through()").pipe(self, channel)

    def group_by(
        self,
        key: Any,
        *,
        name: str | None = None,
        topic: Any = None,
        partitions: int | None = None,
    ) -> Stream[T]:
        """Repartition: send every event to another topic by a new key, and go on with the stream that reads it.

        Args:
            key: a field of the value's record class (``Transfer.account``), or a function of the value, sync or async.
            name: what a function computes; part of the topic's name.
            topic: the topic; ``{app id}-{agent}-{source}-{key}-repartition`` when left out.
            partitions: of that topic when it is created; the setting ``topic_partitions``, else as the largest topic that the app reads.

        Raises:
            ConfigurationError: as in :meth:`through`; or a function without ``name``.
        """
        made = Key.of(key, name, partitions)
        return self._get_host("group_by()").pipe(self, topic, key=made)

    def derive_topic(
        self,
        name: str,
        *,
        schema: Any = None,
        key_type: Any = None,
        value_type: Any = None,
        prefix: str = "",
        suffix: str = "",
    ) -> Any:
        """Describe another topic that is as the one that is read, but for what is said here; see :meth:`Topic.derive_topic`.

        Args:
            name: its name.
            schema: types and serializers as one object.
            key_type: type of the keys.
            value_type: type of the values.
            prefix: goes in front of the name.
            suffix: goes behind it.

        Raises:
            ConfigurationError: what is read is no topic, or a pattern of topics; or as ``app.topic()``.
        """
        source: Any = None if self._host is None else self._host.source(self)
        if not hasattr(source, "derive_topic"):
            raise ConfigurationError(
                f"{self.subscription.name} reads no topic from which {prefix}{name}{suffix} could be derived: use app.topic()"
            )
        return source.derive_topic(
            topics=[name], schema=schema, key_type=key_type, value_type=value_type, prefix=prefix, suffix=suffix
        )

    # -- for those who run it

    def close(self) -> None:
        """Read no more from the streams that were combined with this one.

        :meta private:
        """
        for node in self._nodes:
            node.close()

    @property
    def subscription(self) -> Subscription:
        """Where the events come from.

        :meta private:
        """
        return self._iteration.subscription

    @property
    def iteration(self) -> Iteration:
        """Which events are open, and the processors in front of the body.

        :meta private:
        """
        return self._iteration

    def read(self, form: Form) -> AsyncGenerator[Any, None]:
        """Iterate over values, events or items.

        :meta private:
        """
        return self._iteration.read(form)

    def _cursor(self) -> Cursor:
        """Return the cursor of the event that is open: that of a pipe, where a processor runs in front of one."""
        cursor = active_cursor()
        return cursor if cursor in self.subscription.cursors else self._iteration.cursor

    def _take(self, form: Form, max_: int, within: float | None, *, by_partition: bool) -> Any:
        if max_ < 1:
            raise ConfigurationError(f"agent {self.subscription.name}: take({max_}) takes nothing; ask for at least 1")
        return Buffers(self._iteration, max_, within, by_partition=by_partition).read(form)

    def _get_host(self, operator: str) -> Host:
        if self._host is None:
            raise ConfigurationError(f"{operator} needs a running app: call it in the body of an agent, or of a task")
        if self.subscription.concurrency > 1:
            raise ConfigurationError(
                f"agent {self.subscription.name}: {operator} sends in order, and concurrency={self.subscription.concurrency} has "
                "none; leave concurrency out, or put the work behind it into another agent"
            )
        self._refuse_isolated(operator)
        return self._host

    def _refuse_isolated(self, operator: str) -> None:
        if self.subscription.isolated:
            raise ConfigurationError(
                f"agent {self.subscription.name}: {operator} reads all partitions as one stream, and isolated_partitions takes each apart; "
                "leave isolated_partitions out, or put this into another agent"
            )


class LooseStream(Stream[T]):
    """A stream that no agent runs: in a task, or inside the body of an agent.

    What it reads is given back when its iteration ends. In the body of an agent that has no event open it takes the place of the
    agent's own stream; inside an event it is a loop of its own, and what is done in it belongs to the event around it.

    Args:
        subscription: where the events come from.
        host: the engine.
        close: takes the subscription back.
        emit: takes the sends of finished events.
        on_conflict: asks for the interval to be dropped and replayed; called with a reason, and no error.
    """

    def __init__(
        self,
        subscription: Subscription,
        host: Host | None = None,
        *,
        close: Callable[[Subscription], None],
        emit: Emit = list.clear,
        on_conflict: Callable[[str, None], None] = lambda reason, error: None,
    ) -> None:
        around = current_effects()
        if isinstance(around, Cursor) and around.record is None:
            cursor = around
        else:
            cursor = Cursor(subscription.name, subscription.name, emit, concurrent=subscription.out_of_order)
        if cursor not in subscription.cursors:
            subscription.cursors.append(cursor)
        subscription.reader = self
        super().__init__(subscription, cursor, host)
        self._alone = around is None
        self._close = close
        self._on_conflict = on_conflict
        self._loop = asyncio._get_running_loop()

    def close(self) -> None:
        """Read no more, here and from the streams that were combined with this one; done when the iteration ends."""
        super().close()
        subscription = self.subscription
        if subscription.reader is self:
            subscription.reader = None
            self._close(subscription)

    def read(self, form: Form) -> AsyncGenerator[Any, None]:
        """Iterate over values, events or items."""
        return self._guarded(super().read(form))

    def _take(self, form: Form, max_: int, within: float | None, *, by_partition: bool) -> Any:
        return self._guarded(super()._take(form, max_, within, by_partition=by_partition))

    async def _guarded(self, items: AsyncGenerator[Any, None]) -> AsyncGenerator[Any, None]:
        """Iterate, and close the stream when the loop is left, so that its open event is taken back."""
        if self._loop is not None and not is_here(self._loop) and self._loop.is_running():
            raise ConfigurationError(
                f"stream {self.subscription.name} was made in another event loop: iterate over it there, and hand over what is found"
            )
        if self._alone:
            set_effects(self._iteration.cursor)
        try:
            async with aclosing(items):
                async for item in items:
                    yield item
        finally:
            if self._alone:
                set_effects(None)
            if self._iteration.quit():
                self._on_conflict(
                    f"stream {self.subscription.name} was left in an event, and others had seen its changes", None
                )
            self.close()


def _stamped(event: Event[Any], name: str) -> Any:
    """Return the value of an event; a dict as a copy with the time of the event, because other agents have the same dict."""
    value = event.value
    return {**value, name: event.message.timestamp} if isinstance(value, dict) else value


async def _chosen(wanted: Awaitable[Any], value: T) -> T:
    if not await wanted:
        raise Skip
    return value
