"""The commands that say what an app consists of."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
from click.testing import CliRunner
from rich.console import Console

from stream_cli.main import cli
from stream_cli.output import format_table


class Stored(NamedTuple):
    """A store on disk."""

    partition: int
    path: Path
    bytes: int
    state: str
    position: int | None
    keys: int | None


class Project:
    """An app-like object: two agents and a table."""

    id = "stream-example"

    def __init__(self) -> None:
        self.conf = SimpleNamespace()
        self.agents: dict[str, Any] = {
            "examples.agent.myagent": SimpleNamespace(
                topic="stream-example-examples.agent.myagent", help="Example agent."
            ),
            "examples.agent.other": SimpleNamespace(topic="others [x]", help="\nFirst line.\n\nMore."),
        }
        self.tables: dict[str, Any] = {}
        self.stores: list[Stored] = []
        self.local_state = SimpleNamespace(stored=lambda table: SimpleNamespace(partitions=lambda: self.stores))
        self.commands: dict[str, Any] = {}

    def finalize(self) -> None:
        """What autodiscover finds comes in here."""
        self.tables["totals"] = SimpleNamespace(changelog="stream-example-totals-changelog", help="")

    def worker(self, **_: Any) -> Any:
        """Makes it an app."""


def run(*arguments: str, stores: Sequence[Stored] = ()) -> str:
    """What the program prints for the project; it has nothing to say on standard error."""
    project = Project()
    project.stores.extend(stores)
    result = CliRunner().invoke(cli, arguments, obj=project)
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout


def test_agents_in_a_box() -> None:
    """Names as they can be sent to, topics, and the first line of what they do; the title stands in the edge."""
    assert run("agents").splitlines() == [
        "┌Agents────┬───────────────────────────────────────┬────────────────┐",
        "│ name     │ topic                                 │ help           │",
        "├──────────┼───────────────────────────────────────┼────────────────┤",
        "│ @myagent │ stream-example-examples.agent.myagent │ Example agent. │",
        "│ @other   │ others [x]                            │ First line.    │",
        "└──────────┴───────────────────────────────────────┴────────────────┘",
    ]


@pytest.mark.parametrize("arguments", [("--json", "agents"), ("agents", "--json")])
def test_agents_as_json(arguments: tuple[str, ...]) -> None:
    """``--json`` stands before or behind the command, and prints JSON and nothing else."""
    first, second = json.loads(run(*arguments))
    assert first == {
        "name": "@myagent",
        "topic": "stream-example-examples.agent.myagent",
        "help": "Example agent.",
        "full_name": "examples.agent.myagent",
    }
    assert second["help"] == "First line."


def test_tables() -> None:
    """Tables that come with the modules of the project are listed too."""
    assert json.loads(run("tables", "--json")) == [
        {"name": "totals", "changelog": "stream-example-totals-changelog", "help": "", "stores": []}
    ]
    assert run("tables").splitlines()[1:4:2] == [
        "│ name   │ changelog                       │ help │",
        "│ totals │ stream-example-totals-changelog │      │",
    ]


def test_tables_with_stores_on_this_machine() -> None:
    """They are shown with their size, and how far each partition is, or that a worker has it open."""
    stores = [
        Stored(0, Path("/a/totals-0.db"), 3 << 20, "closed", 1200, 7),
        Stored(1, Path("/a/totals-1.db"), 1 << 19, "in use", None, None),
    ]
    (row,) = json.loads(run("tables", "--json", stores=stores))
    assert row["stores"] == [
        {"partition": 0, "path": "/a/totals-0.db", "bytes": 3 << 20, "state": "closed", "position": 1200, "keys": 7},
        {"partition": 1, "path": "/a/totals-1.db", "bytes": 1 << 19, "state": "in use", "position": None, "keys": None},
    ]
    assert "│ 3.5 MiB │ 0: 1200, 1: in use │" in run("tables", stores=stores)


def test_a_narrow_terminal() -> None:
    """On a terminal, what does not fit goes on in the next line."""
    console = Console(force_terminal=True, color_system=None, width=24)
    text = format_table("Agents", ("name", "topic"), [("@myagent", "examples.agent.myagent")], console)
    assert text.splitlines() == [
        "┌Agents────┬───────────┐",
        "│ name     │ topic     │",
        "├──────────┼───────────┤",
        "│ @myagent │ examples. │",
        "│          │ agent.mya │",
        "│          │ gent      │",
        "└──────────┴───────────┘",
    ]


def test_an_output_of_ascii() -> None:
    """An output that takes ASCII only gets a box of ASCII."""
    result = CliRunner(charset="ascii").invoke(cli, ["agents"], obj=Project())
    assert result.exit_code == 0
    assert "| @myagent |" in result.stdout
