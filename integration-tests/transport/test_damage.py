"""What cannot be read of a real broker: a header that is no text, and bytes that changed on its disk."""

from __future__ import annotations

import struct

import pytest
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c
from msgspec.structs import replace

from stream_core.errors import TransportError
from stream_core.primitives import TP
from stream_core.testing.contracts import BrokerHarness
from stream_core.testing.contracts.harness import send
from stream_core.testing.contracts.observe import Received
from stream_kafka import KafkaTransport
from stream_kafka.broker import Broker
from stream_kafka.connecting.client import Client
from stream_kafka.settings import KafkaSettings

_CRC, _CHECKED = 17, 21


def _batch(*records: tuple[bytes, str]) -> bytes:
    """A batch of values, each with the name of a header."""
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 1 << 20)
    for index, (value, name) in enumerate(records):
        builder.append(index, None, None, value, [(name, b"1")])
    return bytes(builder.build())


def _renamed(batch: bytes, old: bytes, new: bytes) -> bytes:
    """The batch with other bytes in it, and a checksum that fits."""
    data = bytearray(batch.replace(old, new))
    struct.pack_into(">I", data, _CRC, calc_crc32c(bytes(data[_CHECKED:])))
    return bytes(data)


async def test_a_broker_takes_header_names_that_are_no_text(settings: KafkaSettings, harness: BrokerHarness) -> None:
    """The record comes as one that is none, at its offset, and the others of its batch as they are."""
    tp = TP(await harness.topic(), 0)
    batch = _renamed(_batch((b"a", "ok"), (b"b", "zz"), (b"c", "ok")), b"zz", b"\xff\xfe")
    client = Client(settings)
    await client.connect()
    try:
        answer = await client.send(client.any_node(), ProduceRequest(None, -1, 5000, [(tp.topic, [(0, batch)])]))
        assert answer.topics[0][1][0][1] == 0
    finally:
        await client.disconnect()
    member = await harness.alone(harness.name("group"), tp.topic)
    member.read({tp: 0})

    garbled: dict[int, str] = {}
    received = Received()
    while received.count() < 3:
        batches = await member.poll(1.0)
        received.add(batches)
        for one in batches:
            garbled |= one.garbled

    assert received.values(tp) == [b"a", b"b", b"c"]
    assert list(garbled) == [1]
    assert "no UTF-8" in garbled[1]
    assert not member.consumer.unreadable


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
async def test_a_batch_that_takes_too_much_memory_is_passed(
    settings: KafkaSettings, harness: BrokerHarness, codec: str
) -> None:
    """It is one record that cannot be decoded; what lies before and behind it is read."""
    tp = TP(await harness.topic(), 0)
    bounded = replace(settings, compression=codec, max_unpacked_bytes=100_000)
    transport = KafkaTransport(bounded)
    producer, reader = transport.producer(), transport.reader(read_committed=False)
    await producer.start()
    await reader.start()
    try:
        await producer.partitions(tp.topic)
        for value in (b"before", bytes(900_000), b"behind"):
            await producer.send(tp.topic, 0, None, value)
        await reader.assign({tp: 0})
        received = Received()
        garbled: dict[int, str] = {}
        while received.count() < 3:
            batches = await reader.poll(1.0)
            received.add(batches)
            for one in batches:
                garbled |= one.garbled
    finally:
        await reader.stop()
        await producer.stop()

    assert received.values(tp) == [b"before", None, b"behind"]
    assert list(garbled) == [1]
    assert "takes more than 100000 bytes" in garbled[1]


async def test_bytes_that_changed_on_the_disk_stop_one_partition(broker: Broker, harness: BrokerHarness) -> None:
    """The others of the topic are read; the member names the damaged one, and reads it when its position is behind the damage."""
    topic = await harness.topic(partitions=2)
    good, bad = TP(topic, 0), TP(topic, 1)
    producer = await harness.producer(topic)
    await send(producer, bad, "damaged")
    await send(producer, bad, "behind")
    log = broker.data_dir / "topics" / str(bad) / "00000000000000000000.log"
    data = bytearray(log.read_bytes())
    data[data.index(b"damaged")] ^= 1
    with log.open("r+b") as file:
        file.write(data)
    member = await harness.alone(harness.name("group"), topic)
    member.read({good: 0, bad: 0})

    await harness.drive([member], lambda: bad in member.consumer.unreadable, "the damaged partition is named")
    await send(producer, good, "good")
    await harness.drive([member], lambda: member.received.values(good) == [b"good"], "the other one goes on")
    assert "wrong checksum in the batch at offset 0" in str(member.consumer.unreadable[bad])
    assert not member.received.values(bad)
    member.consumer.check()
    reader = await harness.reader({bad: 0})
    failure: TransportError | None = None
    while failure is None:
        try:
            await reader.poll(0.1)
        except TransportError as error:
            failure = error
    assert f"topic {topic}, partition 1 cannot be read from offset 0 on" in str(failure)

    member.consumer.seek(bad, 1)
    await harness.drive([member], lambda: member.received.values(bad) == [b"behind"], "it is read behind the damage")
    assert not member.consumer.unreadable
