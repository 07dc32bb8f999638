"""Commands that look at a real Kafka, beside a worker and without one, as processes."""

from __future__ import annotations

import asyncio
import json
import signal
from asyncio.subprocess import PIPE
from collections.abc import Callable
from pathlib import Path
from typing import Any

from processes import PATIENCE
from terminal import STREAM, Terminal, terminal, write_project


async def rows(console: Terminal, *arguments: str) -> Any:
    """What a command prints as JSON."""
    answer = await console.type("stream", "-A", "proj", *arguments, "--json")
    assert (answer.code, answer.err) == (0, ""), answer.err
    return json.loads(answer.out)


async def test_an_app_is_looked_at_and_turned_back(bootstrap: str, tmp_path: Path, topic: Callable[..., str]) -> None:
    """What the worker has done is seen by others; its offsets stay while it runs, and are changed when it has stopped."""
    name, group = topic("deposits"), topic("bank")
    write_project(tmp_path, group, name)
    console = terminal(tmp_path, f"kafka://{bootstrap}", tmp_path / "data")
    async with console.worker("python", "-m", "proj", "worker", "-l", "info") as worker:
        for amount in (1, 2):
            value = json.dumps({"account": "joe", "amount": amount})
            await console.type("stream", "-A", "proj", "send", name, value, "-k", "joe")
        await worker.said("^joe has 3$")
        following = await asyncio.create_subprocess_exec(
            *(*STREAM, "-A", "proj", "tail", name, "--from-beginning"),
            cwd=console.directory,
            env=console.environment,
            stdout=PIPE,
            stderr=PIPE,
        )
        assert following.stdout is not None
        async with asyncio.timeout(PATIENCE):
            for amount in (1, 2):
                line = (await following.stdout.readline()).decode()
                assert f'key=joe value={{"account":"joe","amount":{amount}}}' in line
            following.send_signal(signal.SIGINT)
            out, err = await following.communicate()
        assert (following.returncode, out, err.strip()) == (0, b"", b"")
        refused = await console.type("stream", "-A", "proj", "offsets", "reset", "--to", "earliest", "--yes")
        assert (refused.code, refused.out) == (1, "")
        assert f"group {group} has 1 member: stop the workers of the app first" in refused.err
        assert await worker.terminate() == 0, worker.log

    assert await rows(console, "lag") == [{"topic": name, "partition": 0, "committed": 2, "end": 2, "lag": 0}]
    assert [row["offset"] for row in await rows(console, "offsets", "show")] == [2]
    assert await rows(console, "table", "totals") == [{"key": "joe", "value": 3, "partition": 0}]
    assert await rows(console, "tail", name, "-n", "1") | {"timestamp": 0, "headers": []} == {
        "topic": name,
        "partition": 0,
        "offset": 1,
        "timestamp": 0,
        "key": "joe",
        "value": {"account": "joe", "amount": 2},
        "headers": [],
    }
    found_again = await rows(console, "tail", name, "-n", "1", "--key", "joe", "--contains", '"amount":1')
    assert found_again["offset"] == 0
    nobody = await console.type("stream", "-A", "proj", "tail", name, "-n", "1", "--key", "jo")
    assert (nobody.code, nobody.out) == (0, "")
    found = {row["name"]: row for row in await rows(console, "topics")}
    size = found[name].pop("bytes")
    assert 100 < size < 1000
    assert found[name] == {"name": name, "partitions": 1, "records": 2, "lag": 0, "role": "read by @count"}
    assert found[f"{group}-totals-changelog"]["role"] == "changelog of totals"

    plan = await rows(console, "offsets", "reset", "--to", "1", "--topic", name, "--yes")
    assert plan == [{"topic": name, "partition": 0, "from": 2, "to": 1, "again": 1, "left out": 0}]
    assert (await rows(console, "lag"))[0]["lag"] == 1
    for when, offset in (("1h", 0), ("2020-01-01", 0), ("2100-01-01T00:00+01:00", 2)):
        (plan,) = await rows(console, "offsets", "reset", "--to-datetime", when, "--dry-run")
        assert plan["to"] == offset, when
    (plan,) = await rows(console, "offsets", "reset", "--shift", "-1", "--dry-run")
    assert (plan["from"], plan["to"]) == (1, 0)
    async with console.worker("python", "-m", "proj", "worker", "-l", "info") as worker:
        await worker.said("^joe has ")
        assert await worker.terminate() == 0, worker.log


FAILING = """
from pathlib import Path

import stream_app as faust

app = faust.App({id!r}, topic_partitions=1, store="rocksdb://")
deposits = app.topic({topic!r}, value_type=int)
totals = app.Table("totals", default=int)


@app.agent(deposits, on_failure="dead_letter")
async def count(stream):
    async for event in stream.events():
        if event.value < 0 and not Path("mended").exists():
            raise ValueError("less than nothing")
        totals["all"] += event.value
        print(f"there are {{totals['all']}}")
"""


async def test_letters_and_stores(bootstrap: str, tmp_path: Path, topic: Callable[..., str]) -> None:
    """A letter is seen and dropped, or sent again; stores are deleted when the worker has stopped, and recovered."""
    name, group = topic("deposits"), topic("bank")
    (tmp_path / "proj.py").write_text(FAILING.format(id=group, topic=name))
    console = terminal(tmp_path, f"kafka://{bootstrap}", tmp_path / "data")
    assert await rows(console, "dlq", "list") == []
    async with console.worker("stream", "-A", "proj", "worker", "-l", "info") as worker:
        for value in ("-1", "-2", "5"):
            await console.type("stream", "-A", "proj", "send", name, "--", value)
        await worker.said("^there are 5$")
        letters = await rows(console, "dlq", "list")
        assert [row["error"] for row in letters] == ["ValueError: less than nothing"] * 2
        assert (await rows(console, "dlq", "show", letters[0]["letter"]))["value"] == -1
        await rows(console, "dlq", "drop", letters[0]["letter"], "--yes")
        assert [row["letter"] for row in await rows(console, "dlq", "list")] == [letters[1]["letter"]]
        (tmp_path / "mended").touch()
        await rows(console, "dlq", "retry", "--all", "--yes")
        await worker.said("^there are 3$")
        assert await rows(console, "dlq", "list") == []
        assert (await rows(console, "tail", name, "-n", "1"))["value"] == -2

        refused = await console.type("stream", "-A", "proj", "reset", "--yes")
        assert refused.code == 1
        assert f"a worker of {group} runs with the directory" in refused.err
        assert await worker.terminate() == 0, worker.log

    assert len(await rows(console, "reset", "--yes")) >= 1
    assert list((tmp_path / "data").rglob("*.db")) == []
    async with console.worker("stream", "-A", "proj", "worker", "-l", "info") as worker:
        await console.type("stream", "-A", "proj", "send", name, "7")
        await worker.said("^there are 10$")
        assert await worker.terminate() == 0, worker.log
