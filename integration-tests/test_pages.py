"""Pages of two worker processes on a real Kafka: each answers for every key, and goes on when the other one is killed."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp

from processes import PATIENCE, Worker, run

PROGRAM = """
import os
import stream_app as faust

app = faust.App(os.environ["APP_NAME"], web_host="localhost", broker_session_timeout=6, broker_heartbeat_interval=1,
                broker_commit_interval=0.1)
words = app.topic(f"{app.id}-words", key_type=str, value_type=str, partitions=4)
counts = app.Table("counts", default=int, key_type=str, value_type=int)

@app.agent(words)
async def count(stream):
    async for word in stream:
        counts[word] += 1
        yield counts[word]

@app.page("/count/{word}/")
@app.table_route(counts, match_info="word")
async def get_count(web, request, word):
    return {"word": word, "count": counts[word], "pid": os.getpid()}

@app.page("/add/{word}/")
async def add(web, request, word):
    return await count.ask(word, key=word)

if __name__ == "__main__":
    app.main()
"""
WORDS = [f"word-{number}" for number in range(12)]


async def ask(url: str) -> tuple[int, Any]:
    """One request: the status and the JSON of the answer."""
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return response.status, await response.json()


async def counted(url: str) -> tuple[int, Any]:
    """Ask until there is a count: what its killed worker had not committed is counted again, soon after the partition is open."""
    async with asyncio.timeout(PATIENCE):
        while (answer := await ask(url))[1].get("count") == 0:  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.1)
        return answer


async def shared_out(urls: list[str]) -> None:
    """Wait until each of the workers has two partitions, and works on them."""
    async with asyncio.timeout(PATIENCE):
        while True:
            stats = [(await ask(f"{url}/assignment"))[1] for url in urls]
            ready = [(await ask(f"{url}/health/ready"))[0] for url in urls]
            if all(sum(map(len, one["actives"].values())) == 4 // len(urls) for one in stats) and set(ready) == {200}:
                return
            await asyncio.sleep(0.1)


async def test_each_worker_answers_for_every_key(bootstrap: str, topic: Callable[..., str], tmp_path: Path) -> None:
    """One passes on what the other has; for keys of a worker that was killed it says 503 in time, and answers when it has them itself."""
    program = tmp_path / "count.py"
    program.write_text(PROGRAM)
    environ = {"APP_NAME": topic("pages"), "BROKER_URL": f"kafka://{bootstrap}"}

    def worker(name: str) -> Any:
        return run(program, "worker", "-l", "info", environ={**environ, "APP_DATADIR": str(tmp_path / name)})

    async with worker("one") as one, worker("two") as two:
        urls = [await one.url(), await two.url()]
        listeners = [asyncio.create_task(_read(each)) for each in (one, two)]
        await shared_out(urls)
        for word in WORDS:
            assert await ask(f"{urls[0]}/add/{word}/") == (200, 1)
        answers = [[await ask(f"{url}/count/{word}/") for word in WORDS] for url in urls]
        assert answers[0] == answers[1]
        owners = {answer["word"]: answer["pid"] for _, answer in answers[0]}
        assert [answer["count"] for _, answer in answers[0]] == [1] * len(WORDS)
        assert set(owners.values()) == {one.process.pid, two.process.pid}

        two.signal(signal.SIGKILL)
        await two.process.wait()
        lost = [word for word in WORDS if owners[word] == two.process.pid]
        kept = [word for word in WORDS if owners[word] == one.process.pid]
        assert await ask(f"{urls[0]}/count/{lost[0]}/") == (
            503,
            {"error": "The worker that has this does not answer; try again"},
        )
        assert (await ask(f"{urls[0]}/count/{kept[0]}/"))[0] == 200
        await shared_out(urls[:1])
        for word in WORDS:
            answer = await counted(f"{urls[0]}/count/{word}/")
            assert answer == (200, {"word": word, "count": 1, "pid": one.process.pid})
        for listener in listeners:
            listener.cancel()
        one.signal(signal.SIGTERM)
        assert await one.process.wait() == 0


async def _read(worker: Worker) -> None:
    """Read what a worker says, so that it is never held up by that."""
    assert worker.process.stdout is not None
    while await worker.process.stdout.readline():
        pass
