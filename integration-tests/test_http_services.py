"""The examples of HTTP servers that ask agents: with FastAPI and with aiohttp, on ``memory://`` and on a real Kafka."""

from __future__ import annotations

import asyncio
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from processes import Worker, run

EXAMPLES = Path(__file__).parents[1] / "examples"
UVICORN = Path(sys.executable).parent / "uvicorn"
FRAMEWORKS = ["fastapi", "aiohttp"]
ENDED = {"fastapi": -signal.SIGTERM, "aiohttp": 0}
"""The exit code of each server at SIGTERM: that of FastAPI ends by the signal, when all is done."""


@asynccontextmanager
async def server(framework: str, **environ: str) -> AsyncIterator[Worker]:
    """A process of the example, with any port that is free."""
    commands: dict[str, tuple[Path, list[str]]] = {
        "fastapi": (UVICORN, ["--app-dir", str(EXAMPLES), "with_fastapi:api", "--port", "0"]),
        "aiohttp": (EXAMPLES / "with_aiohttp.py", []),
    }
    program, arguments = commands[framework]
    async with run(program, *arguments, environ={"PORT": "0", "PYTHONUNBUFFERED": "1", **environ}) as process:
        yield process


async def address(process: Worker) -> str:
    """Wait until the server listens, and return where."""
    return (await process.said(r"[Rr]unning on (http://[\d.:]+)"))[1]


@pytest.mark.parametrize("transport", ["memory", "kafka"])
@pytest.mark.parametrize("framework", FRAMEWORKS)
async def test_an_agent_answers_requests(
    request: pytest.FixtureRequest, tmp_path: Path, framework: str, transport: str
) -> None:
    """Requests are answered by the agent of the same process, and the server ends in order at SIGTERM."""
    broker = "memory://" if transport == "memory" else f"kafka://{request.getfixturevalue('bootstrap')}"
    async with (
        server(framework, BROKER_URL=broker, APP_DATADIR=str(tmp_path)) as process,
        aiohttp.ClientSession(await address(process)) as session,
    ):
        async with session.get("/quotes/tea?amount=3") as response:
            assert (response.status, await response.json()) == (200, {"item": "tea", "total": 13.5})
        async with session.get("/quotes/gold") as response:
            assert response.status == 404
        assert await process.terminate() == ENDED[framework], process.log
    assert "Traceback" not in process.log


@pytest.mark.parametrize("framework", FRAMEWORKS)
async def test_a_request_in_flight_is_answered_after_sigterm(bootstrap: str, tmp_path: Path, framework: str) -> None:
    """A server that was told to end waits for the answer to a request that it has: here of a worker that starts only then."""
    environ = {"BROKER_URL": f"kafka://{bootstrap}", "APP_DATADIR": str(tmp_path), "AGENTS_ELSEWHERE": "true"}
    async with (
        server(framework, **environ) as process,
        aiohttp.ClientSession(await address(process)) as session,
        asyncio.TaskGroup() as group,
    ):
        asked = group.create_task(get(session, "/quotes/ink?amount=2"))
        await process.said("asking about ink")
        process.signal(signal.SIGTERM)
        worker_code = f"import sys; sys.argv = ['with_{framework}', 'worker']; import with_{framework}; with_{framework}.app.main()"
        (tmp_path / "work.py").write_text(f"import sys\nsys.path.insert(0, {str(EXAMPLES)!r})\n{worker_code}\n")
        async with run(tmp_path / "work.py", environ=environ) as worker:
            assert await asked == (200, {"item": "ink", "total": 4.5})
            assert await worker.terminate() == 0
        assert await process.exit() == ENDED[framework]
    assert "Traceback" not in process.log


async def get(session: aiohttp.ClientSession, path: str) -> tuple[int, object]:
    """The status and the JSON of an answer."""
    async with session.get(path) as response:
        return response.status, await response.json()


@pytest.mark.parametrize("elsewhere", ["true", "false"])
@pytest.mark.parametrize("framework", FRAMEWORKS)
async def test_a_server_without_a_broker_ends(framework: str, elsewhere: str, tmp_path: Path) -> None:
    """It gives up by its deadline, and says why in a sentence."""
    environ = {"BROKER_URL": "kafka://127.0.0.1:1", "APP_DATADIR": str(tmp_path), "AGENTS_ELSEWHERE": elsewhere}
    async with server(framework, **environ) as process:
        assert await process.exit() == {"fastapi": 3, "aiohttp": 1}[framework]
    sentence = rf"app {framework}-quotes was not started within 10 s: no broker answers at kafka://127\.0\.0\.1:1"
    assert re.search(sentence, process.log), process.log
