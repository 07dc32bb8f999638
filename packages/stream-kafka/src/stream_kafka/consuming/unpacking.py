"""Unpack the records of a compressed batch, up to a number of bytes.

The client's parser unpacks a batch whole, whatever comes out: 32 KiB of zstd may be a gigabyte, and whoever may write to a topic could
end every worker that reads it. Here a batch is unpacked into memory of a bounded size, and handed to the parser as one that was never
compressed. Batches of the formats before Kafka 0.11 go to the client as they are; brokers have not stored those since Kafka 3.0 (KIP-724).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import aiokafka.errors as kafka
from aiokafka.record.default_records import DefaultRecordBatch

try:
    import cramjam
except ImportError:  # without stream-kafka[compression] gzip is all there is
    cramjam = None  # type: ignore[assignment, unused-ignore]

__all__ = ["TooLargeError", "cost_of", "unpacked"]

_HEAD = 61
_LENGTH = struct.Struct(">i")
_LENGTH_AT = 8
_ATTRIBUTES = struct.Struct(">h")
_ATTRIBUTES_AT = 21
_COUNT_AT = 57
_CODEC_MASK: int = DefaultRecordBatch.CODEC_MASK
_GZIP_FORMAT = 31
_FIRST_TRY = 64 * 1024
_RECORD_OVERHEAD = 100
"""Bytes that a record takes beside its own: without it a batch of empty records would take fifteen times what it may."""

_XERIAL = b"\x82SNAPPY\x00"
_XERIAL_HEAD = 16
_FULL = "whole buffer"
"""What cramjam's error says when there is more to come than fits."""


class TooLargeError(Exception):
    """A batch takes more memory than it may."""


def cost_of(batch: bytes) -> int:
    """Return about how many bytes of memory a batch that is not compressed takes, with its records as objects."""
    return len(batch) + _overhead_of(batch)


def _overhead_of(batch: bytes) -> int:
    count: int = _LENGTH.unpack_from(batch, _COUNT_AT)[0]
    return _RECORD_OVERHEAD * max(count, 0)


def unpacked(batch: bytes, limit: int) -> bytes:
    """Return a batch with its records unpacked, as if it had never been compressed. Its checksum is not made anew.

    Args:
        batch: a compressed batch (magic 2), whole.
        limit: bytes that it may take in memory.

    Raises:
        TooLargeError: it takes more.
        aiokafka.errors.UnsupportedCodecError: the package that unpacks it is not installed.
        aiokafka.errors.CorruptRecordException: it cannot be unpacked.
    """
    attributes = _ATTRIBUTES.unpack_from(batch, _ATTRIBUTES_AT)[0]
    codec = attributes & _CODEC_MASK
    room = limit - _HEAD - _overhead_of(batch)
    if room <= 0:
        raise TooLargeError
    if codec not in _CODECS:
        raise kafka.CorruptRecordException(f"the batch is compressed by an unknown codec, number {codec}")
    name, unpack = _CODECS[codec]
    if cramjam is None and unpack is not _gzip:
        raise kafka.UnsupportedCodecError(f"a batch is compressed by {name}; pip install 'stream-kafka[compression]'")
    try:
        records = unpack(memoryview(batch)[_HEAD:], room)
    except TooLargeError:
        raise
    except Exception as error:
        raise kafka.CorruptRecordException(f"the batch cannot be unpacked ({name}): {error}") from error
    head = bytearray(batch[:_HEAD])
    _LENGTH.pack_into(head, _LENGTH_AT, _HEAD - _LENGTH_AT - _LENGTH.size + len(records))
    _ATTRIBUTES.pack_into(head, _ATTRIBUTES_AT, attributes & ~_CODEC_MASK)
    return b"".join((head, records))


def _gzip(packed: memoryview, limit: int) -> bytes:
    members: list[bytes] = []
    rest: Any = packed
    while rest:
        member = zlib.decompressobj(_GZIP_FORMAT)
        members.append(member.decompress(rest, limit + 1))
        limit -= len(members[-1])
        if limit < 0:
            raise TooLargeError
        if not member.eof:
            raise EOFError("its end is missing")
        rest = member.unused_data
    return b"".join(members)


def _snappy(packed: memoryview, limit: int) -> bytes:
    parts: list[Any] = []
    for block in _snappy_blocks(packed):
        # The size that the block claims; the codec holds it to that.
        limit -= cramjam.snappy.decompress_raw_len(block)
        if limit < 0:
            raise TooLargeError
        parts.append(cramjam.snappy.decompress_raw(block))
    return b"".join(parts)


def _snappy_blocks(packed: memoryview) -> Iterator[memoryview]:
    """Give the blocks of the format of Java's snappy; other clients write one without its frame."""
    if bytes(packed[: len(_XERIAL)]) != _XERIAL:
        yield packed
        return
    at = _XERIAL_HEAD
    while at < len(packed):
        (size,) = _LENGTH.unpack_from(packed, at)
        at += _LENGTH.size
        if not 0 < size <= len(packed) - at:
            raise ValueError(f"a block of {size} bytes")
        yield packed[at : at + size]
        at += size


def _lz4(packed: memoryview, limit: int) -> memoryview:
    return _grown(cramjam.lz4.decompress_into, packed, limit)


def _zstd(packed: memoryview, limit: int) -> memoryview:
    return _grown(cramjam.zstd.decompress_into, packed, limit)


def _grown(unpack_into: Callable[[Any, Any], int], packed: memoryview, limit: int) -> memoryview:
    """Unpack into memory that is made larger until all of it fits, or until it has the size of the limit."""
    size = max(_FIRST_TRY, 8 * len(packed))
    while True:
        size = min(size, limit)
        into = bytearray(size)
        try:
            return memoryview(into)[: unpack_into(packed, into)]
        except cramjam.DecompressionError as error:
            if _FULL not in str(error):
                raise
        if size == limit:
            raise TooLargeError
        size *= 4


_CODECS: dict[int, tuple[str, Callable[[memoryview, int], bytes | memoryview]]] = {
    DefaultRecordBatch.CODEC_GZIP: ("gzip", _gzip),
    DefaultRecordBatch.CODEC_SNAPPY: ("snappy", _snappy),
    DefaultRecordBatch.CODEC_LZ4: ("lz4", _lz4),
    DefaultRecordBatch.CODEC_ZSTD: ("zstd", _zstd),
}
