"""The bank, with failpoint actions that stop it, and that make the Kafka client forget its group generation.

That is what happens inside a worker that was evicted from its group without noticing: brokers accept a transactional offset commit
without generation from anyone, so the worker must commit under the one that it was assigned, or not at all.

With ``CHAOS_BARE`` it has no table: nothing makes its successors wait then, neither its lock on a store nor its open transaction.
"""

from __future__ import annotations

import gc
import os
import signal

from aiokafka.consumer.group_coordinator import GroupCoordinator

import stream_app as faust
from stream_core import failpoints


class Deposit(faust.Record):
    account: str
    amount: int


app = faust.App("bank", store="rocksdb://")
deposits = app.topic("deposits", key_type=str, value_type=Deposit)
echo = app.topic("echo", key_type=str)
totals = None if "CHAOS_BARE" in os.environ else app.Table("totals", default=int, key_type=str, value_type=int)


@app.agent(deposits)
async def count(stream):
    async for event in stream.events():
        if totals is not None:
            totals[event.value.account] += event.value.amount
        await echo.send(key=event.key, value={"partition": event.message.partition, "offset": event.message.offset})


def reset_generation() -> None:
    for coordinator in [found for found in gc.get_objects() if issubclass(type(found), GroupCoordinator)]:
        coordinator.reset_generation()
    print("generation reset", flush=True)


def stop() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def stop_as_zombie() -> None:
    reset_generation()
    stop()


failpoints.action("reset_generation", reset_generation)
failpoints.action("stop", stop)
failpoints.action("stop_as_zombie", stop_as_zombie)

if __name__ == "__main__":
    app.main()
