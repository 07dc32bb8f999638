"""Questions and answers between agents, in Faust's wire format.

A question is a record with two headers: the topic that its answer goes to, and an id that the answer repeats. An answer is a JSON
object with key, value and that id. Questions and answers go at once and are no effects of the event in which they are sent: an event that
asks and waits must not wait for its own commit. So they are at least once, and the first answer counts.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Generator, Mapping
from contextlib import suppress
from threading import get_ident
from typing import Any, Literal, NamedTuple
from uuid import uuid4

from stream_core.errors import (
    ConfigurationError,
    EncodeError,
    OffsetOutOfRangeError,
    RequestFailedError,
    StreamError,
    TransportError,
    UnknownTopicError,
)
from stream_core.ports import Admin, Reader, Transport
from stream_core.primitives import TP, Headers, RawRecord, RecordMetadata, TopicSpec
from stream_core.sending.outbox import Outbox
from stream_core.sending.topic import is_topic_name
from stream_core.settings import EngineSettings
from stream_core.streams.cursor import Cursor, Session
from stream_core.streams.iteration import open_records
from stream_core.values.codecs import json_dumps, json_loads
from stream_core.values.record import Record
from stream_core.values.wire import registry

__all__ = [
    "CORRELATION_ID",
    "REPLY_TO",
    "AnswerTopics",
    "Answers",
    "Replies",
    "ReplyPromise",
    "question_headers",
    "refuse",
]

logger = logging.getLogger(__name__)

REPLY_TO = "Faust-Ag-ReplyTo"
CORRELATION_ID = "Faust-Ag-CorrelationId"
"""The headers of a question."""

LONGEST_ID = 1024
"""Bytes of the id of a question; a longer one could make the answer too large, for which its event is not to blame."""

ERROR = "stream-error"
"""The header of an answer that says why there is no value."""

_PLAIN, _TYPED = "@ReqRepResponse", "faust.agents.models.ModelReqRepResponse"
_POLL = 1.0
_AGAIN = 0.5
_LATE = 1000
_TOLD = 100
"""How many topics are named to which no answer may go: strangers make them up."""


class ReplyPromise:
    """An answer that is on its way: await it.

    Attributes:
        reply_to: topic of the answer.
        correlation_id: id of the question.
    """

    def __init__(self, reply_to: str, correlation_id: str) -> None:
        self.reply_to = reply_to
        self.correlation_id = correlation_id
        self._answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._answer.add_done_callback(_seen)

    def done(self) -> bool:
        """Whether the answer, or an error, is there."""
        return self._answer.done()

    def fulfill(self, value: Any) -> None:
        """The answer is there; later ones are ignored."""
        if not self._answer.done():
            self._answer.set_result(value)

    def fail(self, error: BaseException) -> None:
        """There will be no answer."""
        if not self._answer.done():
            self._answer.set_exception(error)

    def depends_on(self, sent: Awaitable[RecordMetadata]) -> None:
        """There will be no answer when the question is not sent."""
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
        """Whether nobody waits for it any more."""
        return self._answer.cancelled()

    @property
    def outcome(self) -> Literal["answered", "failed", "given_up"]:
        """What has become of the question, once it is done."""
        if self._answer.cancelled():
            return "given_up"
        return "answered" if self._answer.exception() is None else "failed"

    def cancel(self) -> None:
        """Nobody waits for it any more: a late answer is ignored."""
        self._answer.cancel()

    def when_done(self, tell: Callable[[ReplyPromise], None]) -> None:
        """Call ``tell`` with this promise when the answer, or an error, is there, or nobody waits any more."""
        self._answer.add_done_callback(lambda _: tell(self))

    def __await__(self) -> Generator[Any, None, Any]:
        return asyncio.shield(self._answer).__await__()


def _seen(answer: asyncio.Future[Any]) -> None:
    """Whoever does not await a promise need not hear of its error."""
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
        self._thread = get_ident()

    async def promise(self, reply_to: str | None = None, correlation_id: str | None = None) -> ReplyPromise:
        """Expect an answer; it is received from now on.

        Args:
            reply_to: topic of the answer, which must exist; our own when left out.
            correlation_id: id of the question; a new one when left out.

        Raises:
            TransportError: the topic cannot be made or read.
            ConfigurationError: the app is stopped, there is no such topic, a question with this id waits for its answer, or this is
                not the thread of the app.
        """
        if get_ident() != self._thread:
            raise ConfigurationError(
                "questions are asked in the event loop of the app: from another thread call "
                "asyncio.run_coroutine_threadsafe(agent.ask(...), loop).result()"
            )
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
        for promise in list(self._promises.values()):
            promise.fail(RequestFailedError("the app stopped before there was an answer"))
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

    async def _listen(self, topic: str) -> None:
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
            await reader.start()
            self._reader = reader
        ends = await self._reader.end_offsets([TP(topic, number) for number in range(count)])
        positions = self._positions | ends
        await self._reader.assign(positions)
        self._positions = positions  # not before: whoever asks next would take it for read
        if self._reading is None:
            self._reading = asyncio.create_task(self._read(self._reader), name="replies")
            self._reading.add_done_callback(self._ended)

    def _ended(self, reading: asyncio.Task[None]) -> None:
        if not reading.cancelled() and (error := reading.exception()) is not None:
            self._fail(error)

    async def _read(self, reader: Reader) -> None:
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
    """A value of an answer: a record where the value names its class, also inside of lists and mappings."""
    if isinstance(value, list):
        return [_typed(one) for one in value]
    if not isinstance(value, dict):
        return value
    metadata = value.get("__faust")
    known = registry.get(metadata.get("ns", "")) if isinstance(metadata, dict) else None
    return {name: _typed(one) for name, one in value.items()} if known is None else known.from_data(value)


# -- answering


class AnswerTopics:
    """Where answers may go: whoever asks names a topic, and this worker may be allowed to write to more than he is.

    These are the topics of the app, and those whose names begin with ``reply_prefix`` or one of ``reply_allowed``; never a changelog of
    the app, nor the topic of its leader.

    Args:
        settings: of the engine.
        topics: of the app, by name.
    """

    def __init__(self, settings: EngineSettings, topics: Collection[str]) -> None:
        self._settings = settings
        self._topics = topics
        self._told: set[str] = set()

    def __call__(self, topic: str) -> bool:
        """Whether an answer may go to a topic; says once for each topic to which it may not."""
        settings = self._settings
        ours = topic.startswith(f"{settings.group}-") and topic.endswith(("-changelog", "-__leader"))
        prefixes = (*filter(None, [settings.reply_prefix]), *settings.reply_allowed)
        if not ours and (topic in self._topics or topic == settings.reply_to or topic.startswith(prefixes)):
            return True
        if topic not in self._told and len(self._told) < _TOLD:
            self._told.add(topic)
            logger.warning(
                "a question wants its answer on topic %r, and gets none: %s",
                topic,
                "it belongs to the app alone"
                if ours
                else "answers go to topics of the app, and to those that the setting reply_to_allowed names",
            )
        return False


class Answers:
    """Answers the questions that one actor works on: each value that its body yields goes to whoever asked.

    Of a list of ``take`` the first value answers the first event, and so on.

    Args:
        outbox: where answers go.
    """

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._list: Any = None
        self._next = 0

    async def give(self, cursor: Cursor, value: Any) -> None:
        """Answer with a value that the body has yielded."""
        events = open_records(cursor)
        if len(events) > 1:
            if self._list is not cursor.record:
                self._list, self._next = cursor.record, 0
            events, self._next = events[self._next : self._next + 1], self._next + 1
        for session, record in events:
            if record.headers:
                await _answer(self._outbox, record, _key(session, record), value)


async def refuse(outbox: Outbox, tp: TP, record: RawRecord, reason: str) -> None:
    """Tell whoever asked with this record that it will not be handled; never raises for the broker's sake."""
    if record.headers:
        why = f"{tp} offset {record.offset} is given up: {reason}"
        try:
            await _answer(outbox, record, None, None, [(ERROR, why.encode(errors="replace"))], optional=True)
        except StreamError as trouble:
            logger.warning("cannot tell who asked that the event failed: %s", trouble)


def _key(session: Session, record: RawRecord) -> Any:
    try:
        return session.schema.read_key(record)
    except Exception:  # the body has not asked for it, so no policy has decided on it
        return record.key


class Question(NamedTuple):
    """What the headers of a question say.

    Attributes:
        reply_to: the topic of the answer.
        correlation_id: the id that the answer repeats.
    """

    reply_to: str
    correlation_id: str

    @classmethod
    def of(cls, record: RawRecord) -> Question | None:
        """Read the headers of a record; ``None`` when it is no question, or nobody could be answered.

        Anybody can send any bytes. What cannot be read is logged and not answered: it must not fail the event, and never raises.
        """
        told = [(name, value) for name, value in record.headers if name in (REPLY_TO, CORRELATION_ID)]
        asked = dict(told)  # of headers that repeat the last one counts
        topic, id_ = asked.get(REPLY_TO), asked.get(CORRELATION_ID)
        if not topic or id_ is None:
            return None
        try:
            question = cls(topic.decode(), id_.decode())
        except (UnicodeDecodeError, AttributeError):
            question = None
        if question is None or not is_topic_name(question.reply_to) or len(id_) > LONGEST_ID:
            logger.warning(
                "the question at offset %d is not answered: its headers say %s=%.100r, %s=%.100r, which are no topic name and no id of at "
                "most %d bytes",
                record.offset,
                REPLY_TO,
                topic,
                CORRELATION_ID,
                id_,
                LONGEST_ID,
            )
            return None
        return question


async def _answer(
    outbox: Outbox, record: RawRecord, key: Any, value: Any, headers: Headers = (), *, optional: bool = False
) -> None:
    question = Question.of(record)
    if question is None:
        return
    answer = {
        "key": key.decode(errors="replace") if isinstance(key, bytes) else key,
        "value": value.decode(errors="replace") if isinstance(value, bytes) else value,
        "correlation_id": question.correlation_id,
        "__faust": {"ns": _TYPED if isinstance(value, Record) else _PLAIN},
    }
    topic = question.reply_to
    if not outbox.may_answer(topic):
        return
    try:
        data = json_dumps(answer)
    except (TypeError, ValueError) as error:
        raise EncodeError(f"cannot answer with a value of type {type(value).__name__}: {error}", topic) from error
    try:
        await outbox.send(topic, None, None, data, None, headers, aside=True, optional=optional)
    except UnknownTopicError:
        logger.warning(
            "nobody is there to get the answer to question %s: there is no topic %s", answer["correlation_id"], topic
        )


def question_headers(headers: Mapping[str, bytes] | Headers | None, reply_to: str, correlation_id: str) -> Headers:
    """The headers of a question: those given, and where its answer goes."""
    given = [] if headers is None else list(headers.items()) if isinstance(headers, Mapping) else list(headers)
    return [*given, (REPLY_TO, reply_to.encode()), (CORRELATION_ID, correlation_id.encode())]
