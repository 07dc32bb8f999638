"""The web server of real worker processes on ``memory://``: when it answers what, and on which port."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from processes import Worker, run

PROGRAM = """
import stream_app as faust

app = faust.App("bank"{options})

@app.agent(app.topic({topic!r}))
async def listen(stream):
    async for deposit in stream:
        pass

if __name__ == "__main__":
    app.main()
"""
WITHOUT_WEB = "import sys\nsys.modules['stream_web'] = None  # as if it were not installed\n"

READY = "worker of bank is ready"


@asynccontextmanager
async def worker(
    directory: Path, *arguments: str, head: str = "", topic: str = "deposits", **options: Any
) -> AsyncIterator[Worker]:
    """A worker of a small app with these settings."""
    options.setdefault("broker", "memory://")
    program = directory / "bank.py"
    given = "".join(f", {name}={value!r}" for name, value in options.items())
    program.write_text(head + PROGRAM.format(options=given, topic=topic))
    async with run(program, "worker", "--loglevel", "info", *arguments) as started:
        yield started


async def ask(url: str) -> tuple[int, Any]:
    """One request: the status and the JSON of the answer."""
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return response.status, await response.json()


async def test_a_worker_is_ready_once_it_works_on_its_partitions(tmp_path: Path) -> None:
    """The pages are there while it runs, and gone when it has ended."""
    async with worker(tmp_path) as bank:
        url = await bank.url()
        assert await ask(f"{url}/health/live") == (200, {"status": "live"})
        await bank.said(READY)
        assert await ask(f"{url}/health/ready") == (200, {"status": "ready"})
        code, index = await ask(url)
        assert (code, index["app"], index["status"]) == (200, "bank", "ready")
        assert await bank.terminate() == 0, bank.log
        with pytest.raises(aiohttp.ClientConnectorError):
            await ask(url)


async def test_a_worker_without_a_broker_is_alive_and_not_ready(tmp_path: Path) -> None:
    """An orchestrator must not restart it: it waits for the broker and says so."""
    async with worker(tmp_path, broker="kafka://127.0.0.1:1") as bank:
        url = await bank.url()
        assert await ask(f"{url}/health/live") == (200, {"status": "live"})
        assert await ask(f"{url}/health/ready") == (503, {"status": "not ready", "reason": "waiting for the broker"})
        assert await bank.terminate() == 0, bank.log


async def test_a_second_worker_moves_to_the_next_port(tmp_path: Path) -> None:
    """Nobody chose a port, so two workers on one machine just work; the log says where each is."""
    async with worker(tmp_path) as one:
        first = await one.url()
        async with worker(tmp_path) as two:
            second = await two.url()
            assert "is taken: the web server of bank listens on" in one.log + two.log
            assert first != second
            for started, url in ((one, first), (two, second)):
                await started.said(READY)
                assert await ask(f"{url}/health/ready") == (200, {"status": "ready"})


async def test_a_worker_does_not_leave_the_port_it_was_given(tmp_path: Path) -> None:
    """Whoever chose the port looks for the worker there: it exits with a sentence instead."""
    async with worker(tmp_path) as one:
        port = (await one.url()).rpartition(":")[2]
        async with worker(tmp_path, "--web-port", port) as two:
            assert await two.exit() == 1
            assert f"web_port={port} is taken by another program" in two.log
            assert "Traceback" not in two.log


async def test_a_worker_without_web_server(tmp_path: Path) -> None:
    """``web_enabled`` switches it off."""
    async with worker(tmp_path, "--without-web") as bank:
        await bank.said(READY)
        assert await bank.terminate() == 0
        assert "web server" not in bank.log


async def test_a_worker_goes_on_when_the_web_server_is_not_installed(tmp_path: Path) -> None:
    """Nobody asked for it, so one line says how to get it."""
    async with worker(tmp_path, head=WITHOUT_WEB) as bank:
        await bank.said("there is no web server .*; pip install stream-web to have one")
        await bank.said(READY)
        assert await bank.terminate() == 0


async def test_a_worker_that_was_told_to_have_a_web_server_needs_it(tmp_path: Path) -> None:
    """It exits with the name of the package."""
    async with worker(tmp_path, head=WITHOUT_WEB, web_enabled=True) as bank:
        assert await bank.exit() == 1
        assert "web_enabled is set, but the web server cannot be loaded" in bank.log
        assert "pip install stream-web" in bank.log
        assert "Traceback" not in bank.log


async def test_statistics_and_metrics_of_a_worker(tmp_path: Path) -> None:
    """What only this machine sees is there by itself."""
    async with worker(tmp_path) as bank:
        url = await bank.url()
        await bank.said(READY)
        code, stats = await ask(f"{url}/stats")
        assert (code, stats["app"], stats["status"]["ready"]) == (200, "bank", True)
        assert [agent["running"] for agent in stats["agents"]] == [1]
        code, assignment = await ask(f"{url}/assignment")
        assert (code, list(assignment["actives"])) == (200, ["deposits"])
        async with aiohttp.ClientSession() as session, session.get(f"{url}/metrics") as response:
            text = await response.text()
        assert "stream_ready 1.0" in text
        assert "python_info" in text  # what prometheus_client tells of each process
        assert await bank.terminate() == 0, bank.log


WITHOUT_PROMETHEUS = "import sys\nsys.modules['prometheus_client'] = None  # as if it were not installed\n"


async def test_a_worker_without_prometheus_has_no_metrics(tmp_path: Path) -> None:
    """Nobody asked for them, so nothing is said; whoever did is told what to install."""
    async with worker(tmp_path, head=WITHOUT_PROMETHEUS) as bank:
        url = await bank.url()
        await bank.said(READY)
        assert (await ask(f"{url}/metrics"))[0] == 404
        assert (await ask(f"{url}/stats"))[0] == 200
        assert await bank.terminate() == 0, bank.log
    async with worker(tmp_path, head=WITHOUT_PROMETHEUS, web_metrics_enabled=True) as bank:
        assert await bank.exit() == 1
        assert "pip install 'stream-app[prometheus]'" in bank.log
        assert "Traceback" not in bank.log


async def test_two_workers_on_kafka_say_where_the_other_one_is(
    tmp_path: Path, bootstrap: str, topic: Callable[..., str]
) -> None:
    """Each shows every partition of the group with the URL of its owner, and the same ones when one has left."""
    name = topic("deposits")
    settings: dict[str, Any] = {
        "topic": name,
        "broker": f"kafka://{bootstrap}",
        "web_host": "localhost",
        "topic_partitions": 4,
    }
    async with worker(tmp_path, **settings) as one:
        first = await one.url()
        await one.said(READY)
        async with worker(tmp_path, **settings) as two:
            second = await two.url()
            await two.said(READY)
            urls = {url.replace("127.0.0.1", "localhost") for url in (first, second)}
            shown = [await settled(url, urls) for url in (first, second)]
            assert shown[0]["owners"] == shown[1]["owners"]
            assert shown[0]["generation"] == shown[1]["generation"]
            assert [len(owner["partitions"][name]) for owner in shown[0]["owners"]] == [2, 2]
            for page in shown:
                (mine,) = [owner for owner in page["owners"] if owner["instance"] == page["instance"]]
                assert mine["partitions"] == page["actives"]
            assert await two.terminate() == 0, two.log
        alone = await settled(first, {first.replace("127.0.0.1", "localhost")})
        assert alone["actives"] == {name: [0, 1, 2, 3]}


async def settled(url: str, owners: set[str]) -> Any:
    """What a worker shows once its group has these owners and nothing moves."""
    async with asyncio.timeout(60):
        while True:
            _, page = await ask(f"{url}/assignment")
            if page["settled"] and {owner["url"] for owner in page["owners"]} == owners:
                return page
            await asyncio.sleep(0.1)
