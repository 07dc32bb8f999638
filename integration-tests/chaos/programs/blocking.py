"""The bank with an agent that blocks its event loop once, on a negative amount, for two sessions."""

from __future__ import annotations

import os
import time
from pathlib import Path

import stream_app as faust


class Deposit(faust.Record):
    account: str
    amount: int


app = faust.App("bank", store="rocksdb://")
deposits = app.topic("deposits", key_type=str, value_type=Deposit)
echo = app.topic("echo", key_type=str)
totals = app.Table("totals", default=int, key_type=str, value_type=int)
blocked = Path(os.environ["CHAOS_DIRECTORY"]) / "blocked"


@app.agent(deposits)
async def count(stream):
    async for event in stream.events():
        totals[event.value.account] += event.value.amount
        await echo.send(key=event.key, value={"partition": event.message.partition, "offset": event.message.offset})
        if event.value.amount < 0 and not blocked.exists():
            blocked.touch()
            time.sleep(2 * app.conf.broker_session_timeout)  # noqa: ASYNC251 - that is the fault


if __name__ == "__main__":
    app.main()
