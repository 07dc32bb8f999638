"""Questions whose values are wrapped: what Faust sends with ``use_reply_headers=False``, in place of the headers of a question."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from stream_core.agents.questions import Question
from stream_core.errors import EncodeError
from stream_core.primitives import RawRecord, StoredRecord
from stream_core.values.codecs import json_dumps, json_loads
from stream_core.values.namespaces import Envelope

__all__ = ["unwrap", "wrap"]

_PLAIN, _TYPED = "@ReqRepRequest", "faust.agents.models.ModelReqRepRequest"
_MARK = b"ReqRepRequest"


class _Request(Envelope, frozen=True, kw_only=True):
    value: msgspec.Raw
    reply_to: str
    correlation_id: str


_decode = msgspec.json.Decoder(_Request).decode


def wrap(value: bytes | None, question: Question, *, typed: bool) -> bytes:
    """Wrap the value of a question.

    Args:
        value: the encoded value: JSON.
        question: where its answer goes.
        typed: whether the value is a record.

    Raises:
        EncodeError: the value is not JSON.
    """
    inner = b"null" if value is None else value
    try:
        json_loads(inner)
    except ValueError as error:
        raise EncodeError(
            f"use_reply_headers=False wraps questions as JSON, and the value is none ({error}): use the serializer 'json', or leave it out"
        ) from error
    rest = {**question._asdict(), "__faust": {"ns": _TYPED if typed else _PLAIN}}
    return b'{"value":' + inner + b"," + json_dumps(rest)[1:]


def unwrap(records: Sequence[RawRecord]) -> Sequence[RawRecord]:
    """Return the same records, with the questions among them as if they had come with headers."""
    return [_unwrapped(record) if _MARK in (record.value or b"") else record for record in records]


def _unwrapped(record: RawRecord) -> RawRecord:
    try:
        request = _decode(record.value or b"")
    except Exception:  # not only msgspec's own: bytes that are no UTF-8, values that are nested too deep
        return record  # the decoder of the topic says what is wrong with it
    if request.metadata.ns not in (_PLAIN, _TYPED):
        return record
    headers = Question(request.reply_to, request.correlation_id).headers(record.headers)
    return StoredRecord(record.offset, record.timestamp, record.key, bytes(request.value), headers)
