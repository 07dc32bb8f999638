"""A worker with one agent and one table that gets nothing to do: what it holds, and what its start has cost."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import socket
import sys
import time
from pathlib import Path

import stream_app as faust
from benchmarks.samples.meter import arguments

parser = argparse.ArgumentParser(add_help=False)
parser.add_argument("--store", required=True, help="URL of the store")
parser.add_argument("--asked", type=int, required=True, help="whether somebody asks the web server once")
more, sys.argv[1:] = parser.parse_known_args()
options = arguments()
with socket.create_server(("127.0.0.1", 0)) as free:
    port = free.getsockname()[1]
app = faust.App(
    options.id,
    broker=options.broker,
    datadir=options.datadir,
    store=more.store,
    topic_partitions=4,
    web_port=port,
)
words = app.topic(options.topic, value_type=str)
counts: faust.Table[str, int] = app.Table("counts", default=int, key_type=str, value_type=int)


@app.agent(words)
async def count(stream: faust.Stream[str]) -> None:
    """Count the words."""
    async for word in stream:
        counts[word] += 1


@app.task
async def tell() -> None:
    """Tell what the worker holds after a while, and end it."""
    started = time.process_time()
    if more.asked:
        await ask()
    await asyncio.sleep(options.seconds)
    print(json.dumps({"rss_mb": resident(), "start_cpu": started}), file=sys.__stdout__, flush=True)
    os.kill(os.getpid(), signal.SIGTERM)


def resident() -> float:
    """The memory of this process that is in use now, in MiB."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


async def ask() -> None:
    """Ask the web server how the worker does, as a health check does."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
    assert b" 200 " in await reader.readline()
    writer.close()


if __name__ == "__main__":
    sys.argv[1:] = ["--quiet", "worker", "--loglevel=WARNING"]
    app.main()
