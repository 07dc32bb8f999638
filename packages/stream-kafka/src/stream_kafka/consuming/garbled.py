"""Read a batch that the client's compiled parser gives up on, and say which of its records are to blame.

Brokers look at the frame of a record and take the rest as it is, and not every client sends what the protocol says. The name of
a header that is no UTF-8 is enough for the compiled parser to refuse the whole batch. Here each record is read for itself; what is
wrong with one costs the others nothing.
"""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

import aiokafka.errors as kafka
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.util import decode_varint_py

from stream_core.primitives import StoredRecord

__all__ = ["Extracted", "batch_at", "read_around"]

_FRAME = struct.Struct(">qi")
"""Base offset of a batch, and how many bytes follow."""

_FIRST_MAGIC = 2


class Extracted(NamedTuple):
    """Records in order, and by offset why some of them are damaged; those have what could be read."""

    records: list[Any]
    garbled: dict[int, str]


class _Fields:
    """The bytes of one record, read from left to right."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def number(self) -> int:
        """Read a varint. Raises IndexError and ValueError."""
        value: int
        value, self._at = decode_varint_py(self._data, self._at)
        return value

    def take(self, what: str) -> bytes | None:
        """Read bytes behind their length; ``None`` for a length below zero. Raises ValueError."""
        length = self.number()
        if length < 0:
            return None
        end = self._at + length
        if end > len(self._data):
            raise ValueError(f"its {what} is longer than the record")
        taken, self._at = self._data[self._at : end], end
        return taken

    def end(self) -> None:
        """Raise ValueError unless everything was read."""
        if self._at != len(self._data):
            raise ValueError(f"{len(self._data) - self._at} bytes are left over")


def batch_at(data: bytes, base_offset: int, at: int = 0) -> tuple[bytes, int]:
    """Find one batch; return its bytes, and where it ends.

    Args:
        data: batches, one behind the other.
        base_offset: the offset that the batch begins with.
        at: where to begin; a batch begins there.

    Raises:
        aiokafka.errors.CorruptRecordException: there is none.
    """
    while at + _FRAME.size <= len(data):
        base, length = _FRAME.unpack_from(data, at)
        end = at + _FRAME.size + length
        if base == base_offset:
            return data[at:end], end
        if length < 0:
            break
        at = end
    raise kafka.CorruptRecordException(f"no batch begins at offset {base_offset}")


def read_around(data: bytes) -> Extracted:
    """Read a batch record by record.

    Args:
        data: the batch, which is not compressed.

    Raises:
        aiokafka.errors.KafkaError: where its records begin and end cannot be told.
    """
    batch = _DefaultRecordBatchPy(data)
    if batch.magic < _FIRST_MAGIC:
        raise kafka.CorruptRecordException(f"the batch at offset {batch.base_offset} is of an old format, and broken")
    read = Extracted([], {})
    buffer, at = bytes(batch._buffer), batch._pos
    for _ in range(batch._num_records):
        try:
            length, at = decode_varint_py(buffer, at)
            if not 0 <= length <= len(buffer) - at:
                raise ValueError(f"a record of {length} bytes")
            fields = _Fields(buffer[at + 1 : at + length])  # behind its attributes
            delta = fields.number()
            offset = batch.base_offset + fields.number()
            if not (read.records[-1].offset if read.records else batch.base_offset - 1) < offset < batch.next_offset:
                raise ValueError(f"a record with the offset {offset}")
        except (IndexError, ValueError) as error:
            raise kafka.CorruptRecordException(f"the batch at offset {batch.base_offset} is broken: {error}") from error
        timestamp = (
            batch.max_timestamp if batch.timestamp_type == batch.LOG_APPEND_TIME else batch.first_timestamp + delta
        )
        body = buffer[at : at + length]
        at += length
        record, reason = _record(offset, timestamp, fields, body)
        read.records.append(record)
        if reason:
            read.garbled[offset] = reason
    return read


def _record(offset: int, timestamp: int, fields: _Fields, body: bytes) -> tuple[StoredRecord, str]:
    """Read what is behind the offset of a record; one that is damaged has its bytes as the value. The text says what is wrong with it."""
    headers: list[tuple[str, bytes]] = []
    reason = ""
    try:
        key, value = fields.take("key"), fields.take("value")
        count = fields.number()
        if count < 0:
            raise ValueError(f"it says that it has {count} headers")
        for _ in range(count):
            name = fields.take("header name")
            if name is None:
                raise ValueError("a header has no name")
            try:
                text = name.decode()
            except UnicodeDecodeError:
                # It is readable, and can be sent on as it is: to a topic of dead letters.
                text = name.decode(errors="backslashreplace")
                reason = reason or f"the name of a header is no UTF-8: {name!r}"
            headers.append((text, fields.take("header value")))  # type: ignore[arg-type]
        fields.end()
    except (IndexError, ValueError) as error:
        return StoredRecord(offset, timestamp, None, body), str(error) or "its end is missing"
    return StoredRecord(offset, timestamp, key, value, headers), reason
