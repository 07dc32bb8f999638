"""A partition that cannot be read stands still and is named, and the others of its broker go on."""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from aiokafka.protocol.fetch import FetchRequest_v4
from aiokafka.protocol.metadata import MetadataRequest_v5
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from stream_core.errors import OffsetOutOfRangeError, TransportError
from stream_core.primitives import TP, Batch
from stream_kafka.consuming.reader import KafkaReader
from stream_kafka.settings import KafkaSettings

from .frames import MUTE, Cluster

GOOD, BAD = TP("t", 0), TP("t", 1)
NOT_LEADER, STORAGE_ERROR, CORRUPT = 6, 56, 2


def _batch(*values: bytes) -> bytes:
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, 0, 1 << 20)
    for index, value in enumerate(values):
        builder.append(index, 1_700_000_000_000, None, value, [])
    return bytes(builder.build())


def _flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


class Log:
    """What a broker made by hand holds: by partition, an error code and bytes for whoever reads from offset 0."""

    def __init__(self) -> None:
        self.errors: dict[int, int] = {}
        self.data: dict[int, bytes] = {}

    def answer(self, request: Any) -> tuple[Any, ...]:
        """The answer to a fetch."""
        topics = []
        for topic, partitions in request.topics:
            found = []
            for partition, offset, _ in partitions:
                data = self.data.get(partition, b"") if offset == 0 else b""
                found.append((partition, self.errors.get(partition, 0), 10, 10, [], data))
            topics.append((topic, found))
        return (0, topics)


@contextmanager
def _serving(cluster: Cluster, log: Log) -> Iterator[None]:
    cluster.leaders["t"] = [1, 1]
    cluster.nodes[1].answers[FetchRequest_v4] = log.answer
    yield


async def _until_raised(
    reader: KafkaReader, kind: type[TransportError] = TransportError
) -> tuple[list[Batch], TransportError]:
    """Poll until it raises: what has come by then, and the error."""
    came: list[Batch] = []
    while True:
        try:
            came += await reader.poll(0.1)
        except kind as error:
            return came, error


def _settings(cluster: Cluster, **options: Any) -> KafkaSettings:
    return KafkaSettings(
        servers=(cluster.address,),
        **{"request_timeout": 10.0, "rebalance_timeout": 5.0, "retry_backoff": 0.01} | options,
    )


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (_flipped(_batch(b"x")), "wrong checksum in the batch at offset 0"),
        (_batch(b"x")[:30], "30 bytes at offset 0 hold no whole batch"),
        (struct.pack(">qi", 0, 2) + b"zz", "Record"),
    ],
    ids=["checksum", "cut off", "too small"],
)
async def test_damaged_bytes_stop_their_partition(data: bytes, said: str, caplog: pytest.LogCaptureFixture) -> None:
    """The other one is read, the damaged one is named with its offset, logged once, and read as soon as it is whole."""
    log = Log()
    log.data = {0: _batch(b"a", b"b"), 1: data}
    async with Cluster() as cluster:
        with _serving(cluster, log):
            reader = KafkaReader(_settings(cluster), read_committed=False)
            await reader.start()
            try:
                await reader.assign({GOOD: 0, BAD: 0})
                came, error = await _until_raised(reader)
                again, _ = await _until_raised(reader)

                assert {batch.tp: [record.value for record in batch.records] for batch in came} == {GOOD: [b"a", b"b"]}
                assert not again
                assert str(error).startswith("topic t, partition 1 cannot be read from offset 0 on: ")
                assert said in str(error)
                named = [record for record in caplog.records if "t, partition 1 cannot be read" in record.getMessage()]
                assert [record.levelno for record in named] == [logging.ERROR]

                log.data[1] = _batch(b"c")
                while not (mended := await _polled(reader)):
                    pass
                assert [record.value for record in mended[0].records] == [b"c"]
                assert "topic t, partition 1 can be read again" in caplog.text
                assert not await reader.poll(0)
            finally:
                await reader.stop()


async def _polled(reader: KafkaReader) -> list[Batch]:
    try:
        return list(await reader.poll(0.1))
    except TransportError:
        return []


@pytest.mark.parametrize("code", [CORRUPT, STORAGE_ERROR, NOT_LEADER, -1, 9999])
async def test_what_the_broker_refuses_for_a_request_timeout_is_unreadable(code: int) -> None:
    """Whatever it says; before that a leader may have moved, and afterwards the partition is tried all the same."""
    log = Log()
    log.errors[1] = code
    log.data = {0: _batch(b"a")}
    async with Cluster() as cluster:
        with _serving(cluster, log):
            reader = KafkaReader(_settings(cluster, request_timeout=0.4, rebalance_timeout=0.2), read_committed=False)
            await reader.start()
            try:
                await reader.assign({GOOD: 0, BAD: 0})
                came, error = await _until_raised(reader)
                assert [batch.tp for batch in came] == [GOOD]
                assert "topic t, partition 1 cannot be read from offset 0 on: the broker answers" in str(error)
                log.errors.clear()
                log.data[1] = _batch(b"b")
                while not (mended := await _polled(reader)):
                    pass
                assert mended[0].tp == BAD
            finally:
                await reader.stop()


async def test_a_leader_that_is_none_is_asked_less_and_less() -> None:
    """A refused partition rests, and so does the question for its leader: no storm of either; the others are fetched meanwhile."""
    log = Log()
    log.errors[1] = NOT_LEADER
    async with Cluster() as cluster:
        node = cluster.nodes[1]
        with _serving(cluster, log):
            node.answers[FetchRequest_v4] = log.answer
            reader = KafkaReader(_settings(cluster, retry_backoff=0.1), read_committed=False)
            await reader.start()
            try:
                await reader.assign({GOOD: 0, BAD: 0})
                await node.until(lambda: len(_fetches(node, 0)) >= 300)
                assert len(_fetches(node, 1)) * 10 < len(_fetches(node, 0))
                assert len(node.of(MetadataRequest_v5)) * 10 < len(_fetches(node, 0))
            finally:
                await reader.stop()


def _fetches(node: Any, partition: int) -> list[Any]:
    return [
        request for request in node.of(FetchRequest_v4) if any(one == partition for one, *_ in request.topics[0][1])
    ]


async def test_an_answer_that_makes_no_sense_ends_nothing() -> None:
    """Neither one that cannot be decoded nor one for partitions that nobody asked for; the next answer is read."""
    log = Log()
    log.data = {0: _batch(b"a")}
    nonsense: list[Any] = [
        b"\xff" * 40,
        (0, [("other", [(0, 0, 10, 10, [], b"")])]),
        (0, None),
        (0, [("t", [(9, 0, 1, 1, [], b"")])]),
    ]
    async with Cluster() as cluster:
        with _serving(cluster, log):
            cluster.nodes[1].answers[FetchRequest_v4] = lambda request: (
                nonsense.pop() if nonsense else log.answer(request)
            )
            reader = KafkaReader(_settings(cluster), read_committed=False)
            await reader.start()
            try:
                await reader.assign({GOOD: 0})
                while not (came := await _polled(reader)):
                    pass
                assert [record.value for record in came[0].records] == [b"a"]
                assert not nonsense
            finally:
                await reader.stop()


async def test_a_seek_forgets_what_was_wrong() -> None:
    """Behind the damage the partition is read at once, and it is not unreadable any more."""
    log = Log()
    log.data = {1: _flipped(_batch(b"x"))}
    async with Cluster() as cluster:
        with _serving(cluster, log):
            reader = KafkaReader(_settings(cluster), read_committed=False)
            await reader.start()
            try:
                await reader.assign({BAD: 0})
                await _until_raised(reader)
                reader.seek(BAD, 1)
                assert not await reader.poll(0.05)
                cluster.nodes[1].answers[FetchRequest_v4] = lambda request: MUTE
                assert not await reader.poll(0.05)
            finally:
                await reader.stop()


async def test_out_of_range_is_still_said_by_each_poll() -> None:
    """It has an error of its own, and no rest."""
    log = Log()
    log.errors[1] = 1
    async with Cluster() as cluster:
        with _serving(cluster, log):
            reader = KafkaReader(_settings(cluster), read_committed=False)
            await reader.start()
            try:
                await reader.assign({BAD: 5})
                _, error = await _until_raised(reader, OffsetOutOfRangeError)
                assert isinstance(error, OffsetOutOfRangeError)
                assert (error.tp, error.offset) == (BAD, 5)
                with pytest.raises(OffsetOutOfRangeError):
                    await reader.poll(0)
            finally:
                await reader.stop()
