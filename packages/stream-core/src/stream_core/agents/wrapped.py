"""Questions whose values are wrapped: what Faust sends with ``use_reply_headers=False``, in place of the headers of a question."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from stream_core.agents.replies import question_headers
from stream_core.errors import EncodeError
from stream_core.primitives import RawRecord, StoredRecord
from stream_core.values.codecs import json_dumps, json_loads

__all__ = ["unwrap", "wrap"]

_PLAIN, _TYPED = "@ReqRepRequest", "faust.agents.models.ModelReqRepRequest"
_MARK = b"ReqRepRequest"


class _Metadata(msgspec.Struct, frozen=True):
    ns: str


class _Request(msgspec.Struct, frozen=True):
    value: msgspec.Raw
    reply_to: str
    correlation_id: str
    metadata: _Metadata = msgspec.field(name="__faust")


_decode = msgspec.json.Decoder(_Request).decode


def wrap(value: bytes | None, reply_to: str, correlation_id: str, *, typed: bool) -> bytes:
    """The value of a question.

    Args:
        value: the encoded value: JSON.
        reply_to: topic of the answer.
        correlation_id: id that the answer repeats.
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
    rest = {"reply_to": reply_to, "correlation_id": correlation_id, "__faust": {"ns": _TYPED if typed else _PLAIN}}
    return b'{"value":' + inner + b"," + json_dumps(rest)[1:]


def unwrap(records: Sequence[RawRecord]) -> Sequence[RawRecord]:
    """The same records, with the questions among them as if they had come with headers."""
    return [_unwrapped(record) if _MARK in (record.value or b"") else record for record in records]


def _unwrapped(record: RawRecord) -> RawRecord:
    try:
        request = _decode(record.value or b"")
    except Exception:  # not only msgspec's own: bytes that are no UTF-8, values that are nested too deep
        return record  # the decoder of the topic says what is wrong with it
    if request.metadata.ns not in (_PLAIN, _TYPED):
        return record
    headers = question_headers(list(record.headers), request.reply_to, request.correlation_id)
    return StoredRecord(record.offset, record.timestamp, record.key, bytes(request.value), headers)
