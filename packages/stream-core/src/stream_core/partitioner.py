"""Which partition a key belongs to: the hash of Kafka's Java client, so that all producers of a topic agree."""

from __future__ import annotations

from functools import lru_cache
from struct import unpack_from

__all__ = ["murmur2", "partition_for"]

_SEED = 0x9747B28C
_M = 0x5BD1E995
_MASK = 0xFFFFFFFF


def murmur2(data: bytes) -> int:
    """Hash ``data`` with 32-bit MurmurHash2 under the seed of ``org.apache.kafka.common.utils.Utils.murmur2``.

    Returns:
        the hash as an unsigned number; Java shows the same bits as a signed one.
    """
    length = len(data)
    words = length >> 2
    h = _SEED ^ length
    for k in unpack_from(f"<{words}I", data):
        k = k * _M & _MASK
        h = (h * _M ^ (k ^ k >> 24) * _M) & _MASK
    tail = data[words << 2 :]
    if tail:
        h = (h ^ int.from_bytes(tail, "little")) * _M & _MASK
    h = (h ^ h >> 13) * _M & _MASK
    return h ^ h >> 15


@lru_cache(maxsize=65_536)
def partition_for(key: bytes, count: int) -> int:
    """Give the partition of ``key`` among ``count`` partitions, as the default partitioner of the Java client does.

    The hash costs about a microsecond in Python, so that keys seen lately are remembered.

    Args:
        key: key bytes; an empty key is a key.
        count: number of partitions of the topic, at least 1.
    """
    return (murmur2(key) & 0x7FFFFFFF) % count
