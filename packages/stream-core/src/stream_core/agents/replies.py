"""The asking side: promises of answers, and the topic on which answers come; see :mod:`~stream_core.agents.questions`."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Generator
from contextlib import suppress
from typing import Any, Literal
from uuid import uuid4

from stream_core.agents.questions import ERROR
from stream_core.calls import act_in, is_here, run_in
from stream_core.errors import ConfigurationError, OffsetOutOfRangeError, RequestFailedError, TransportError
from stream_core.ports import Admin, Reader, Transport
from stream_core.primitives import TP, RawRecord, RecordMetadata, TopicSpec
from stream_core.settings import EngineSettings
from stream_core.values.codecs import json_loads
from stream_core.values.wire import registry

__all__ = ["Replies", "ReplyPromise"]

logger = logging.getLogger(__name__)

_POLL = 1.0
_AGAIN = 0.5
_LATE = 1000


class ReplyPromise:
    """An answer that is on its way: await it, in any event loop. It lives in the loop of the engine.

    Attributes:
        reply_to: topic of the answer.
        correlation_id: id of the question.
    """

    def __init__(self, reply_to: str, correlation_id: str) -> None:
        self.reply_to = reply_to
        self.correlation_id = correlation_id
        self._loop = asyncio.get_running_loop()
        self._answer: asyncio.Future[Any] = self._loop.create_future()
        self._answer.add_done_callback(_seen)

    def done(self) -> bool:
        """Tell whether the answer, or an error, is there."""
        return self._answer.done()

    def fulfill(self, value: Any) -> None:
        """Let whoever waits have the answer; later ones are ignored."""
        if not self._answer.done():
            self._answer.set_result(value)

    def fail(self, error: BaseException) -> None:
        """Let whoever waits have an error: there will be no answer."""
        if not self._answer.done():
            self._answer.set_exception(error)

    def depends_on(self, sent: Awaitable[RecordMetadata]) -> None:
        """Fail when the question cannot be sent."""
        if not self._answer.done():
            sending = asyncio.ensure_future(self._sent(sent))
            self._answer.add_done_callback(
                lambda _: sending.cancel()
            )  # nobody has to know any more; the question goes its way

    async def _sent(self, sent: Awaitable[RecordMetadata]) -> None:
        try:
            await sent
        except Exception as error:
            self.fail(error)

    def cancelled(self) -> bool:
        """Tell whether nobody waits for it any more."""
        return self._answer.cancelled()

    @property
    def outcome(self) -> Literal["answered", "failed", "given_up"]:
        """What has become of the question, once it is done."""
        if self._answer.cancelled():
            return "given_up"
        return "answered" if self._answer.exception() is None else "failed"

    def cancel(self) -> None:
        """Wait no more: a late answer is ignored."""
        act_in(self._loop, self._answer.cancel)

    def when_done(self, tell: Callable[[ReplyPromise], None]) -> None:
        """Call ``tell`` with this promise when the answer, or an error, is there, or nobody waits any more."""
        here = asyncio.get_running_loop()

        def told(_: asyncio.Future[Any]) -> None:
            act_in(here, lambda: tell(self))

        act_in(self._loop, lambda: self._answer.add_done_callback(told))

    def __await__(self) -> Generator[Any, None, Any]:
        if is_here(self._loop):
            return asyncio.shield(self._answer).__await__()
        return run_in(self._loop, lambda: asyncio.shield(self._answer), "the app").__await__()


def _seen(answer: asyncio.Future[Any]) -> None:
    """Take the error out of a promise that nobody awaits: asyncio would log it as one that was overlooked."""
    if not answer.cancelled():
        answer.exception()


class Replies:
    """The answers to the questions of one engine: a topic of its own, read without a group, from the first question on.

    Args:
        transport: makes the client that reads the topic.
        admin: makes the topic, and deletes it at the end.
        settings: of the engine; they name the topic.
        fail: called with an error that nobody expects and after which no answer would be received.
        outcomes: counts what becomes of questions; see :class:`~stream_core.counters.Counters`.
    """

    def __init__(
        self,
        transport: Transport,
        admin: Admin,
        settings: EngineSettings,
        *,
        fail: Callable[[BaseException], None],
        outcomes: Counter[str],
    ) -> None:
        self._outcomes = outcomes
        self.topic = settings.reply_to or f"{settings.reply_prefix}{uuid4()}"
        self._own = settings.reply_to is None
        self._config = {"cleanup.policy": "delete", "retention.ms": str(int(settings.reply_expires * 1000))}
        self._admin = admin
        self._transport = transport
        self._replication = settings.replication
        self._lock = asyncio.Lock()
        self._promises: dict[str, ReplyPromise] = {}
        self._late: dict[str, None] = {}
        self._positions: dict[TP, int] = {}
        self._reader: Reader | None = None
        self._reading: asyncio.Task[None] | None = None
        self._closed = False
        self._fail = fail
        self.loop = asyncio.get_running_loop()

    async def promise(self, reply_to: str | None = None, correlation_id: str | None = None) -> ReplyPromise:
        """Promise the answer to a question, which is to be sent behind this; in the event loop of the engine only.

        Args:
            reply_to: topic of the answer, which must exist; our own when left out.
            correlation_id: id of the question; a new one when left out.

        Raises:
            TransportError: the topic cannot be made or read.
            ConfigurationError: the app is stopped, there is no such topic, or a question with this id waits for its answer.
        """
        topic = reply_to or self.topic
        await self.listen(topic)
        promise = ReplyPromise(topic, correlation_id or str(uuid4()))
        if promise.correlation_id in self._promises:
            raise ConfigurationError(
                f"a question with correlation_id {correlation_id!r} waits for its answer: give each question an id of its own, or none"
            )
        self._promises[promise.correlation_id] = promise
        promise.when_done(self._forget)
        return promise

    async def listen(self, topic: str | None = None) -> None:
        """Receive answers from a topic from now on, our own when left out; raises as :meth:`promise`."""
        async with self._lock:
            if self._closed:
                raise ConfigurationError("the app is stopped: ask while it runs")
            if not any(tp.topic == (topic or self.topic) for tp in self._positions):
                await self._listen(topic or self.topic)

    def _forget(self, promise: ReplyPromise) -> None:
        self._promises.pop(promise.correlation_id, None)
        self._outcomes[promise.outcome] += 1
        if promise.cancelled() and len(self._late) < _LATE:
            self._late[promise.correlation_id] = None

    async def stop(self) -> None:
        """Fail what is still waited for, and close; within the deadlines of the clients.

        The topic is deleted unless answers are still to come, which would hold up whoever sends them; then it is left as it is.
        """
        self._closed = True
        complete = not (self._promises or self._late)
        self._fail_all()
        async with self._lock:  # a question may be connecting: what it makes is closed, too
            pass
        complete = complete and not self._promises
        self._fail_all()
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait([self._reading])
        if self._reader is not None:
            await self._reader.stop()
            if not self._own:
                return
            if not complete:
                logger.info("topic %s is left behind, because not all questions were answered", self.topic)
                return
            with suppress(TransportError):
                await self._admin.delete([self.topic])

    def _fail_all(self) -> None:
        """Let all questions fail that have no answer yet."""
        for promise in list(self._promises.values()):
            promise.fail(RequestFailedError("the app stopped before there was an answer"))

    async def _listen(self, topic: str) -> None:
        """Read the answers that come to a topic from now on."""
        if topic == self.topic:
            await self._admin.create([TopicSpec(topic, 1, self._replication, self._config)])
        described = await self._admin.describe([topic])
        if topic not in described:
            raise ConfigurationError(
                f"answers cannot go to topic {topic}, which does not exist: create it, or leave reply_to= out"
            )
        count = described[topic].partitions
        if self._reader is None:
            reader = self._transport.reader(read_committed=False)
            try:
                await reader.start()
            except BaseException:
                await reader.stop()
                raise
            self._reader = reader
        ends = await self._reader.end_offsets([TP(topic, number) for number in range(count)])
        positions = self._positions | ends
        await self._reader.assign(positions)
        self._positions = positions  # not before: whoever asks next would take it for read
        if self._reading is None:
            self._reading = asyncio.create_task(self._read(self._reader), name="replies")
            self._reading.add_done_callback(self._ended)

    def _ended(self, reading: asyncio.Task[None]) -> None:
        """Pass on why the reading of answers has ended, unless it was stopped."""
        if not reading.cancelled() and (error := reading.exception()) is not None:
            self._fail(error)

    async def _read(self, reader: Reader) -> None:
        """Read answers without end; a broker that cannot be reached is tried again."""
        while True:
            try:
                try:
                    batches = await reader.poll(_POLL)
                except OffsetOutOfRangeError as error:
                    # The start, not the end: answers may have come meanwhile.
                    reader.seek(error.tp, (await reader.start_offsets([error.tp]))[error.tp])
                    continue
            except TransportError as error:
                logger.warning("replies cannot be read yet: %s", error)
                await asyncio.sleep(_AGAIN)
                continue
            for batch in batches:
                self._positions[batch.tp] = batch.next_offset
                for record in batch.records:
                    self._received(record)

    def _received(self, record: RawRecord) -> None:
        """Give one answer to whoever waits for it."""
        try:
            answer = json_loads(record.value or b"null")
            promise = self._promises.get(answer["correlation_id"])
            value = answer.get("value")
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            logger.warning("an answer at offset %d cannot be read: %s", record.offset, error)
            return
        if promise is None:
            self._late.pop(answer["correlation_id"], None)
            return  # answered before, or nobody waits any more
        headers = dict(record.headers)
        if ERROR in headers:
            promise.fail(RequestFailedError((headers[ERROR] or b"").decode(errors="replace")))
            return
        try:
            promise.fulfill(_typed(value))
        except Exception as error:  # also what the class raises: anybody may send an answer, and name any class
            promise.fail(RequestFailedError(f"the answer does not fit the class that it names: {error}"))


def _typed(value: Any) -> Any:
    """Make records of what names its class in the value of an answer, also inside of lists and mappings."""
    if isinstance(value, list):
        return [_typed(one) for one in value]
    if not isinstance(value, dict):
        return value
    metadata = value.get("__faust")
    known = registry.get(metadata.get("ns", "")) if isinstance(metadata, dict) else None
    return {name: _typed(one) for name, one in value.items()} if known is None else known.from_data(value)
