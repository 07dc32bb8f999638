"""Every command that prints a table prints JSON on request."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

import stream_app as faust
from stream_cli.main import cli
from stream_core.memory import MemoryCluster

CLUSTER = "json"

CALLS = {
    "agents": "agents",
    "clean-versions": "clean-versions --dry-run",
    "dlq drop": "dlq drop --all --yes",
    "dlq list": "dlq list",
    "dlq retry": "dlq retry --all --dry-run",
    "dlq show": "dlq show {letter}",
    "graph": "graph",
    "lag": "lag",
    "model": "model json.Deposit",
    "models": "models",
    "new": "new shop --directory {directory}/shop",
    "offsets reset": "offsets reset --to-earliest --dry-run",
    "offsets show": "offsets show",
    "reset": "reset --dry-run",
    "send": "send deposits 5 --repeat 2",
    "settings": "settings",
    "table": "table totals",
    "tables": "tables",
    "tail": "tail deposits --from-beginning --no-follow",
    "topics": "topics",
}
"""What is typed for each command that has ``--json``, so that it has something to print."""

LINES = {"dlq show", "send", "tail"}
"""Those that print one object, or one a line; all others but ``graph`` print a table: a list of objects."""


class Deposit(faust.Record, namespace="json.Deposit"):
    """An amount."""

    amount: int


@pytest.fixture
def app(tmp_path: Path) -> Iterator[faust.App]:
    """A bank that has counted a deposit and failed at another, with stores of this version and a directory of an old one."""
    for name in ("v1", "v2/tables/totals-0.db"):
        (tmp_path / name).mkdir(parents=True)
    app = faust.App("bank", version=2, broker=f"memory://{CLUSTER}", datadir=tmp_path, web_enabled=False)
    deposits = app.topic("deposits", key_type=str, value_type=int, partitions=1)
    totals = app.Table("totals", default=int, key_type=str, value_type=int)

    @app.agent(deposits, on_failure="dead_letter")
    async def count(stream: Any) -> None:
        """Count deposits."""
        async for event in stream.events():
            if event.value < 0:
                raise ValueError("less than nothing")
            totals[event.key] += event.value

    async def work() -> None:
        await app.start()
        for amount in (-1, 1):
            await (await deposits.send(key="joe", value=amount))
        async with asyncio.timeout(20):
            while "joe" not in totals:  # noqa: ASYNC110 - a table has no event for it
                await asyncio.sleep(0.001)
        await app.stop()

    asyncio.run(work())
    yield app
    MemoryCluster.discard(CLUSTER)


def run(app: faust.App, *arguments: str) -> Result:
    """Run the program of an app."""
    return CliRunner().invoke(cli, arguments, obj=app)


def with_json(group: click.Group = cli, *before: str) -> Iterator[str]:
    """The commands of the program that have ``--json``, those below a word included."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from with_json(command, *before, name)
        elif any("--json" in parameter.opts for parameter in command.params):
            yield " ".join((*before, name))


def typed(app: faust.App, command: str, directory: Path) -> list[str]:
    """The words of a call."""
    letter = ""
    if "{letter}" in CALLS[command]:
        letter = json.loads(run(app, "-q", "dlq", "list", "--json").stdout)[0]["letter"]
    return [word.format(letter=letter, directory=directory) for word in CALLS[command].split()]


def test_each_command_with_json_is_called() -> None:
    """A command that gets ``--json`` gets a call here, too."""
    assert set(with_json()) == set(CALLS)


@pytest.mark.parametrize("command", CALLS)
def test_json_of_a_command(app: faust.App, tmp_path: Path, command: str) -> None:
    """With ``--json`` there is nothing but JSON on the standard output: for a table one line, with an object for each row."""
    words = typed(app, command, tmp_path)
    result = run(app, *words, "--json")
    assert result.exit_code == 0, result.stderr
    if command == "graph":
        assert json.loads(result.stdout)
        return
    if command in LINES:
        printed = [json.loads(line) for line in result.stdout.splitlines()]
    else:
        assert result.stdout.count("\n") == 1
        printed = json.loads(result.stdout)
    assert printed
    assert all(isinstance(row, dict) and row for row in printed)


@pytest.mark.parametrize("command", sorted(CALLS.keys() - LINES - {"dlq drop", "graph", "new"}))
def test_json_has_the_columns_of_the_table(app: faust.App, tmp_path: Path, command: str) -> None:
    """What a table shows has the same name in JSON, and ``--json`` may stand in front of the command as well."""
    words = typed(app, command, tmp_path)
    head = next(line for line in run(app, "-q", *words).stdout.splitlines() if line.startswith("│"))
    columns = {cell.strip() for cell in head.strip("│").split("│")}
    rows = json.loads(run(app, "-q", "--json", *words).stdout)
    assert columns - {"on disk", "positions"} <= rows[0].keys()  # these two are sums of what "stores" has in JSON
