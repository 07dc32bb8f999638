"""The baseline of producing: aiokafka's ``getmany`` and msgspec, and ``send_batch`` of what passes, in a plain loop.

A batch goes to the partition that its records come from: keys need not be hashed, which a program with other keys could not do.
"""

from __future__ import annotations

import asyncio
import signal

import msgspec
import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from benchmarks.samples.meter import Meter, arguments

BATCH = 500
"""Records of one poll."""

BATCH_BYTES = 256 * 1024


class Transfer(msgspec.Struct):
    """A record of the topic."""

    account: str
    amount: float
    ts: float


async def main() -> None:
    """Read and send until SIGTERM."""
    options = arguments()
    meter = Meter(options)
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    servers = options.broker.partition("://")[2]
    consumer = AIOKafkaConsumer(
        options.topic, bootstrap_servers=servers, group_id=options.id, auto_offset_reset="earliest"
    )
    producer = AIOKafkaProducer(bootstrap_servers=servers, max_batch_size=BATCH_BYTES, enable_idempotence=True)
    await consumer.start()
    await producer.start()
    decode, encode = msgspec.json.Decoder(Transfer).decode, msgspec.json.Encoder().encode
    seen = passed = 0
    while not ended.is_set():
        for partition, records in (await consumer.getmany(timeout_ms=1000, max_records=BATCH)).items():
            batch = producer.create_batch()
            for record in records:
                transfer = decode(record.value)
                if transfer.amount > 10:
                    passed += 1
                    key, value = transfer.account.encode(), encode(transfer)
                    if batch.append(key=key, value=value, timestamp=None) is None:
                        await producer.send_batch(batch, options.out, partition=partition.partition)
                        batch = producer.create_batch()
                        batch.append(key=key, value=value, timestamp=None)
            await producer.send_batch(batch, options.out, partition=partition.partition)
            seen += len(records)
            if seen >= meter.mark:
                meter.tick(seen, passed=passed)
    await producer.stop()
    await consumer.stop()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
