"""What a first user types, as real processes on a real Kafka: a worker in one terminal, ``agents`` and ``send`` in others."""

from __future__ import annotations

import asyncio
import json
import re
from asyncio.subprocess import PIPE
from collections.abc import Callable
from pathlib import Path

import pytest

from processes import PATIENCE
from terminal import NO_BROKER, STREAM, Answer, terminal, write_project

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
AGENTS = """\
┌Agents────┬───────────────────────────────────────┬────────────────┐
│ name     │ topic                                 │ help           │
├──────────┼───────────────────────────────────────┼────────────────┤
│ @myagent │ stream-example-examples.agent.myagent │ Example agent. │
└──────────┴───────────────────────────────────────┴────────────────┘
"""


async def test_the_steps_of_the_guide(bootstrap: str, tmp_path: Path) -> None:
    """The three commands of the guide, each in a process of its own, do what it says to the letter, from another directory too."""
    console = terminal(ROOT, f"kafka://{bootstrap}", tmp_path)
    listed = await console.type("python", "examples/agent.py", "agents")
    assert listed == Answer(0, AGENTS, "")
    async with console.worker("python", "examples/agent.py", "worker", "-l", "info") as worker:
        sent = await console.type("python", "examples/agent.py", "send", "@myagent", "hello")
        assert sent.code == 0, sent.err
        assert sent.out.startswith("topic=stream-example-examples.agent.myagent partition=")
        await worker.said("^MYAGENT RECEIVED -- b'hello'$")
        beside = terminal(EXAMPLES, f"kafka://{bootstrap}", tmp_path)
        await beside.type("stream", "-A", "agent", "send", "@myagent", "hello from beside")
        await worker.said("^MYAGENT RECEIVED -- b'hello from beside'$")
        assert await worker.terminate() == 0, worker.log


WAYS: dict[str, tuple[Path, tuple[str, ...]]] = {
    "script": (ROOT, ("python", "examples/agent.py")),
    "script beside": (EXAMPLES, ("python", "agent.py")),
    "module": (ROOT, ("python", "-m", "examples.agent")),
    "module beside": (EXAMPLES, ("python", "-m", "agent")),
    "stream": (ROOT, ("stream", "-A", "examples.agent")),
    "stream beside": (EXAMPLES, ("stream", "-A", "agent")),
    "workdir": (ROOT, ("stream", "-W", "examples", "-A", "agent:app")),
}


@pytest.mark.parametrize("way", WAYS)
async def test_all_ways_to_start_it_mean_the_same_agent(tmp_path: Path, way: str) -> None:
    """The name of the topic does not depend on the directory, nor on whether a script or a module was started; no broker is asked."""
    directory, command = WAYS[way]
    assert await terminal(directory, NO_BROKER, tmp_path).type(*command, "agents") == Answer(0, AGENTS, "")


async def test_a_project_run_as_a_package(bootstrap: str, tmp_path: Path, topic: Callable[..., str]) -> None:
    """``python -m proj`` is the program of its app; typed values are checked before they are sent."""
    name = topic("deposits")
    write_project(tmp_path, topic("bank"), name)
    console = terminal(tmp_path, f"kafka://{bootstrap}", tmp_path / "data")
    async with console.worker("python", "-m", "proj", "worker", "-l", "info") as worker:
        sent = await console.type(
            "python", "-m", "proj", "send", "@count", '{"account": "joe", "amount": 5}', "-k", "joe"
        )
        assert re.fullmatch(rf"topic={name} partition=0 offset=0 timestamp=\S+\n", sent.out), sent.err
        await worker.said("^joe has 5$")
        bad = await console.type("stream", "-A", "proj", "send", name, '{"account": "joe", "amount": "much"}')
        assert (bad.code, bad.out) == (1, "")
        assert bad.err.startswith("Error: the value does not fit Deposit: Expected `int`, got `str` - at `$.amount`")
        lines = b'{"account": "ann", "amount": 1}\n' * 3
        many = await console.type("stream", "-A", "proj", "send", name, "-", "-k", "ann", "--json", stdin=lines)
        assert [json.loads(line)["offset"] for line in many.out.splitlines()] == [1, 2, 3], many.err
        await worker.said("^ann has 3$")
        assert await worker.terminate() == 0, worker.log


async def test_what_a_project_consists_of(tmp_path: Path) -> None:
    """Agents and tables of all its modules are listed."""
    console = write_project(tmp_path, "bank", "deposits")
    agents = await console.type("stream", "-A", "proj", "agents", "--json")
    assert json.loads(agents.out) == [
        {"name": "@count", "topic": "deposits", "help": "Count deposits.", "full_name": "proj.agents.count"}
    ], agents.err
    tables = await console.type("python", "-m", "proj", "--json", "tables")
    assert json.loads(tables.out) == [
        {"name": "totals", "changelog": "bank-totals-changelog", "help": "What each account has.", "stores": []}
    ], tables.err


async def test_a_bad_line_ends_the_command_while_more_may_come(tmp_path: Path) -> None:
    """Lines are sent as they come, and the first that does not fit ends the command though its input is still open."""
    console = write_project(tmp_path, "bank", "deposits")
    process = await asyncio.create_subprocess_exec(
        *(*STREAM, "-q", "-A", "proj", "send", "@count", "-"),
        cwd=console.directory,
        env=console.environment | {"BROKER_URL": "memory://"},
        stdin=PIPE,
        stderr=PIPE,
    )
    assert process.stdin is not None
    assert process.stderr is not None
    process.stdin.write(b'{"account": "ann", "amount": 1}\nfive\n')
    async with asyncio.timeout(PATIENCE):
        said = (await process.stderr.read()).decode()
        assert await process.wait() == 1
    process.stdin.close()
    assert said.startswith("Error: line 2: the value does not fit Deposit")
    assert len(said.splitlines()) == 1


MISTAKES: dict[str, tuple[tuple[str, ...], int, str]] = {
    "module": (("-A", "pro", "agents"), 1, "did you mean -A proj?"),
    "agent": (("-A", "proj", "send", "@cuont", "x"), 1, "did you mean @count?"),
    "no broker": (("-A", "proj", "send", "@count", "-k", "joe"), 1, "stream broker"),
    "no app": (("agents",), 2, "stream -A bank agents"),
    "value": (("-A", "proj", "send", "@count", "five"), 1, "the value does not fit Deposit"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
async def test_mistakes(tmp_path: Path, mistake: str) -> None:
    """Each is answered with what was meant, without a traceback and with nothing on standard output."""
    arguments, code, hint = MISTAKES[mistake]
    answer = await write_project(tmp_path, "bank", "deposits").type("stream", *arguments)
    assert (answer.code, answer.out) == (code, "")
    assert hint in answer.err
    assert "Traceback" not in answer.err
