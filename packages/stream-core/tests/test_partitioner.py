"""Keys go to the partitions where Kafka's Java client puts them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_core.partitioner import murmur2, partition_for

# Signed hashes as ``org.apache.kafka.common.utils.Utils.murmur2`` computes them (KafkaUtilsTest of Apache Kafka).
JAVA_HASHES = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}


@pytest.mark.parametrize("key", JAVA_HASHES)
def test_hash_equals_that_of_java(key: bytes) -> None:
    """The hash has the bits that Java shows as a signed number."""
    assert murmur2(key) == JAVA_HASHES[key] & 0xFFFFFFFF


@given(st.binary(max_size=64), st.integers(1, 1000))
def test_partition_is_in_range_and_stable(key: bytes, count: int) -> None:
    """Every key has one partition below the count."""
    assert 0 <= partition_for(key, count) < count
    assert partition_for(key, count) == (murmur2(key) & 0x7FFFFFFF) % count


@given(st.binary(max_size=64))
def test_one_partition_takes_every_key(key: bytes) -> None:
    """A topic of one partition needs no hash."""
    assert partition_for(key, 1) == 0
