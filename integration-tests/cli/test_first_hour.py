"""The first hour of somebody who has nothing but the installed packages: each walk ends with something to see.

From an idea to a tested app without a broker is in ``tests/distributions/test_new_project.py``, since it installs things.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import aiohttp

from stream_kafka.broker.ports import free_port
from terminal import NO_BROKER, Answer, Terminal, terminal

HTML = {"Accept": "text/html"}


def with_web(console: Terminal) -> Terminal:
    """The terminal, where workers have a web server on a port of their own."""
    console.environment.update(APP_WEB_ENABLED="true", WEB_PORT=str(free_port()))
    return console


async def page(url: str) -> tuple[int, str]:
    """What a browser gets."""
    async with aiohttp.ClientSession(headers=HTML) as session, session.get(url) as response:
        return response.status, await response.text()


async def test_from_nothing_to_a_dashboard_in_two_commands(tmp_path: Path) -> None:
    """``stream new``, then a worker: the first lines say where to look, and a browser sees the agent there. No broker is needed."""
    written = await terminal(tmp_path, NO_BROKER, tmp_path / "data").type("stream", "new", "shop")
    assert written.code == 0, written.err
    console = with_web(terminal(tmp_path / "shop", "memory://", tmp_path / "data"))
    async with console.worker("python", "-m", "shop", "worker", "-l", "info") as worker:
        (url,) = [line.split()[1] for line in worker.lines if line.startswith("web: ")]
        assert url.endswith(f":{console.environment['WEB_PORT']}")
        status, shown = await page(url)
        assert status == 200
        assert "visits" in shown
        assert await worker.terminate() == 0, worker.log


FRAGILE = """
from pathlib import Path

import stream_app as faust

app = faust.App({id!r}, topic_partitions=1)
orders = app.topic({topic!r}, value_type=int)


@app.agent(orders, on_failure="dead_letter")
async def ship(stream):
    async for order in stream:
        if order == 13 and not Path("mended").exists():
            raise ValueError("nobody ships this")
        print(f"shipped {{order}}")
"""


async def test_from_a_failure_to_its_letter_and_back(bootstrap: str, tmp_path: Path, topic: Callable[..., str]) -> None:
    """An event fails, the ones behind it go on; the list says why, and when the cause is mended ``retry`` brings it back."""
    name, group = topic("orders"), topic("shop")
    (tmp_path / "fragile.py").write_text(FRAGILE.format(id=group, topic=name))
    console = terminal(tmp_path, f"kafka://{bootstrap}", tmp_path / "data")
    app = ("stream", "-A", "fragile")
    async with console.worker(*app, "worker", "-l", "info") as worker:
        for order in "13", "14":
            assert (await console.type(*app, "send", name, order)).code == 0
        await worker.said("^shipped 14$")

        listed = await console.type(*app, "dlq", "list")
        assert listed.code == 0, listed.err
        row = next(line for line in listed.out.splitlines() if "nobody ships this" in line)
        assert "ValueError" in row
        assert f"{name} 0:0" in row
        letter = row.split("│")[1].strip()
        shown = await console.type(*app, "dlq", "show", letter)
        assert "value: 13\n" in shown.out

        asked = await console.type(*app, "dlq", "retry", letter, stdin=b"n\n")
        assert asked.code == 1
        assert "Send 1 record again?" in asked.err
        (tmp_path / "mended").touch()
        retried = await console.type(*app, "dlq", "retry", letter, stdin=b"y\n")
        assert retried.code == 0, retried.err
        await worker.said("^shipped 13$")
        assert await console.type(*app, "dlq", "list", "--json") == Answer(0, "[]\n", "")
        assert await worker.terminate() == 0, worker.log
