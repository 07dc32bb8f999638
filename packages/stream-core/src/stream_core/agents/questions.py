"""Questions between agents, in Faust's wire format: a record with two headers, the topic that its answer goes to, and an id.

Questions and answers go at once and are no effects of the event in which they are sent: an event that asks and waits must not wait for its
own commit. So they are at least once, and the first answer counts. Who asks: :mod:`~stream_core.agents.replies`; who answers:
:mod:`~stream_core.agents.answers`.
"""

from __future__ import annotations

import logging
from typing import NamedTuple

from stream_core.primitives import Headers, HeadersArg, RawRecord, header_pairs
from stream_core.sending.topic import is_topic_name

__all__ = ["CORRELATION_ID", "ERROR", "REPLY_TO", "Question"]

logger = logging.getLogger(__name__)

REPLY_TO = "Faust-Ag-ReplyTo"
CORRELATION_ID = "Faust-Ag-CorrelationId"
"""The headers of a question."""

ERROR = "stream-error"
"""The header of an answer that says why there is no value."""

LONGEST_ID = 1024
"""Bytes of the id of a question; a longer one could make the answer too large, for which its event is not to blame."""


class Question(NamedTuple):
    """What the headers of a question say.

    Attributes:
        reply_to: the topic of the answer.
        correlation_id: the id that the answer repeats.
    """

    reply_to: str
    correlation_id: str

    def headers(self, given: HeadersArg | None = None) -> Headers:
        """Return the headers of the question, behind those that are given."""
        told = ((REPLY_TO, self.reply_to.encode()), (CORRELATION_ID, self.correlation_id.encode()))
        return [*header_pairs(given), *told]

    @classmethod
    def of(cls, record: RawRecord) -> Question | None:
        """Read the headers of a record; return ``None`` for one that is no question, or whose sender could not be answered.

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
