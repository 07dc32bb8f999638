"""Dead letters: failed events on a topic of their own, with the bytes they had and headers that say what went wrong."""

from __future__ import annotations

from stream_core.errors import DeadLetterError, EncodeError, UnknownTopicError
from stream_core.primitives import TP, Headers, RawRecord
from stream_core.sending.outbox import Outbox
from stream_core.streams.verdicts import Verdict

__all__ = ["PREFIX", "letter_headers", "send_dead_letter"]

PREFIX = "stream-dead-letter-"
"""What the names of the headers begin with that tell about the failure."""

LARGE = 100_000
"""Bytes of a value above which a letter has no traceback: that is not what makes it too large for its topic."""


def letter_headers(reader: str, tp: TP, record: RawRecord, verdict: Verdict) -> Headers:
    """Return the headers of a record, and behind them what is known of its failure, as text in UTF-8.

    What is known of an earlier failure, of a record that was sent on from a dead letter, is left out.

    Args:
        reader: the agent, or the stream, that could not work on it.
        tp: where the record comes from.
        record: the record.
        verdict: why it failed.
    """
    told = {
        "topic": tp.topic,
        "partition": tp.partition,
        "offset": record.offset,
        "timestamp": record.timestamp,
        "agent": reader,
        "error-type": verdict.kind,
        "error-message": verdict.message,
    }
    if verdict.traceback and len(record.value or b"") <= LARGE:
        told["traceback"] = verdict.traceback
    own = [header for header in record.headers if not header[0].startswith(PREFIX)]
    return [*own, *((PREFIX + name, str(value).encode(errors="replace")) for name, value in told.items())]


async def send_dead_letter(
    outbox: Outbox, topic: str, *, reader: str, tp: TP, record: RawRecord, verdict: Verdict
) -> None:
    """Send a record as it is to a topic of dead letters, inside its event.

    The letter has the time of sending: with that of the record, which it tells in a header, it might be deleted at once, or refused.

    Args:
        outbox: where to send.
        topic: name of that topic.
        reader: the agent, or the stream, that could not work on it.
        tp: where the record comes from.
        record: the record.
        verdict: why it failed.

    Raises:
        DeadLetterError: it does not fit, or there is no such topic.
        ProduceError: the producer is broken, for which the letter is not to blame.
    """
    headers = letter_headers(reader, tp, record, verdict)
    try:
        await outbox.send((topic, None, record.key, record.value, None, headers))
    except (EncodeError, UnknownTopicError) as cause:
        raise DeadLetterError(
            f"the event failed ({verdict.reason}) and cannot be sent to {topic}: {cause}; it is kept: mend that topic, or raise "
            "producer_max_request_size",
            tp,
            record.offset,
        ) from cause
