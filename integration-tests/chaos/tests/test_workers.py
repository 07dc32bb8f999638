"""Processes are handled as their real state demands."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from chaos.errors import RowError
from chaos.waiting import until
from chaos.workers import Program, Worker

SCRIPT = """
import os, signal, sys
if "CODE" in os.environ: sys.exit(int(os.environ["CODE"]))
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print("ready", flush=True)
while True: signal.pause()
"""


@pytest.fixture
async def worker(tmp_path: Path) -> AsyncIterator[Worker]:
    """A worker that runs a script which ends only on a signal; ended in any case."""
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    worker = Worker(1, Program(path), {}, tmp_path / "worker.log")
    try:
        yield worker
    finally:
        await worker.end()


async def ended(worker: Worker) -> None:
    """Wait until the process is gone, without saying that this is expected."""

    async def gone() -> bool:
        return not worker.running

    await until(gone, seconds=20, what=lambda: "the process is gone", every=0.01)


async def test_terminate_waits_for_the_handler(worker: Worker) -> None:
    """SIGTERM is sent when the program handles it, and an end with code 0 is a clean one."""
    await worker.start()
    await worker.terminate()
    assert not worker.running
    assert "ready" in worker.output()
    worker.check()


async def test_end_nobody_asked_for_is_an_error(worker: Worker) -> None:
    """A worker that ends by itself fails the row, whatever its exit code."""
    await worker.start(CODE="0")
    await ended(worker)
    with pytest.raises(RowError, match="ended by itself with code 0"):
        worker.check()


async def test_expected_end_gives_the_exit_code(worker: Worker) -> None:
    """Waiting for an exit returns its code, and the worker can be started again."""
    await worker.start(CODE="3")
    assert await worker.exited(20) == 3
    worker.check()
    await worker.start()
    await worker.terminate()


async def test_a_worker_that_is_being_started_again_did_not_end_by_itself(worker: Worker) -> None:
    """Whoever looks at all workers meanwhile finds the process of before, which was told to end."""
    await worker.start()
    await worker.terminate()
    again = asyncio.create_task(worker.start())
    while not again.done():
        worker.check()
        await asyncio.sleep(0)
    await again
    assert worker.running


async def test_stopped_worker_can_be_ended(worker: Worker) -> None:
    """A stopped process is seen as stopped, goes on when told, and is ended in any state."""
    await worker.start()

    async def ready() -> bool:
        return "ready" in worker.output()

    async def stopped() -> bool:
        return worker.stopped()

    await until(ready, seconds=20, what=lambda: "the script runs", every=0.01)
    worker.stop()
    await until(stopped, seconds=5, what=lambda: "the process is stopped", every=0.01)
    worker.resume()
    worker.stop()
    pid = worker.pid
    await worker.end()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
