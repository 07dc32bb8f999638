"""The bank with an agent that crashes on a negative amount, unless ``CHAOS_ACCEPT`` is set; it keeps a journal of what it handled."""

from __future__ import annotations

import os
from pathlib import Path

import stream_app as faust


class Deposit(faust.Record):
    account: str
    amount: int


app = faust.App("bank", store="rocksdb://", agent_max_restarts=3)
deposits = app.topic("deposits", key_type=str, value_type=Deposit)
echo = app.topic("echo", key_type=str)
totals = app.Table("totals", default=int, key_type=str, value_type=int)
accept = "CHAOS_ACCEPT" in os.environ
journal = (Path(os.environ["CHAOS_DIRECTORY"]) / "journal").open("a", buffering=1)


@app.agent(deposits)
async def count(stream):
    async for event in stream.events():
        partition, offset = event.message.partition, event.message.offset
        journal.write(f"{os.getpid()}:{partition}:{offset}\n")
        totals[event.value.account] += event.value.amount
        await echo.send(key=event.key, value={"partition": partition, "offset": offset})
        if event.value.amount < 0 and not accept:
            raise ValueError(f"a deposit of {event.value.amount}")


if __name__ == "__main__":
    app.main()
