"""The answering side: what the body of an agent yields goes to whoever asked, and a refusal when it yields nothing for good.

An answer is a JSON object with key, value and the id of the question; see :mod:`~stream_core.agents.questions`.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Any

from stream_core.agents.questions import ERROR, Question
from stream_core.errors import EncodeError, StreamError, UnknownTopicError
from stream_core.primitives import TP, Headers, RawRecord
from stream_core.sending.outbox import Outbox
from stream_core.settings import EngineSettings
from stream_core.streams.cursor import Cursor
from stream_core.streams.effects import Session
from stream_core.values.codecs import json_dumps
from stream_core.values.record import Record

__all__ = ["AnswerTopics", "Answers", "refuse"]

logger = logging.getLogger(__name__)

_PLAIN, _TYPED = "@ReqRepResponse", "faust.agents.models.ModelReqRepResponse"
_TOLD = 100
"""How many topics are named to which no answer may go: strangers make them up."""


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
        """Tell whether an answer may go to a topic; log once for each topic to which it may not."""
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
        events = cursor.open_records()
        if len(events) > 1:
            if self._list is not cursor.record:
                self._list, self._next = cursor.record, 0
            events, self._next = events[self._next : self._next + 1], self._next + 1
        for session, record in events:
            if record.headers:
                await _answer(self._outbox, record, _key(session, record), value)


async def refuse(outbox: Outbox, tp: TP, record: RawRecord, reason: str) -> None:
    """Tell whoever asked with this record that it will not be handled. A broker that refuses that is logged."""
    if record.headers:
        why = f"{tp} offset {record.offset} is given up: {reason}"
        try:
            await _answer(outbox, record, None, None, [(ERROR, why.encode(errors="replace"))], optional=True)
        except StreamError as trouble:
            logger.warning("cannot tell who asked that the event failed: %s", trouble)


def _key(session: Session, record: RawRecord) -> Any:
    """Decode the key of a question; bytes when it cannot be decoded."""
    try:
        return session.schema.read_key(record)
    except Exception:  # the body has not asked for it, so no policy has decided on it
        return record.key


async def _answer(
    outbox: Outbox, record: RawRecord, key: Any, value: Any, headers: Headers = (), *, optional: bool = False
) -> None:
    """Answer the question that a record is; nothing when it is none.

    Raises:
        EncodeError: JSON has no form for the value.
    """
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
        await outbox.send((topic, None, None, data, None, headers), aside=True, optional=optional)
    except UnknownTopicError:
        logger.warning(
            "nobody is there to get the answer to question %s: there is no topic %s", answer["correlation_id"], topic
        )
