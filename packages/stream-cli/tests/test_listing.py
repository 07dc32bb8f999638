"""The commands that say what an app consists of."""

from __future__ import annotations

import io
import json
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner
from rich.console import Console

from stream_cli.main import cli
from stream_cli.output import print_table


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
        self.commands: dict[str, Any] = {}

    def finalize(self) -> None:
        """What autodiscover finds comes in here."""
        self.tables["totals"] = SimpleNamespace(changelog="stream-example-totals-changelog", help="")

    def worker(self, **_: Any) -> Any:
        """Makes it an app."""


def run(*arguments: str) -> str:
    """What the program prints for the project; it has nothing to say on standard error."""
    result = CliRunner().invoke(cli, arguments, obj=Project())
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
        {"name": "totals", "changelog": "stream-example-totals-changelog", "help": ""}
    ]
    assert "│ totals │ stream-example-totals-changelog │" in run("tables")


def test_a_narrow_terminal() -> None:
    """On a terminal, what does not fit goes on in the next line."""
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, color_system=None, width=24)
    print_table("Agents", ("name", "topic"), [{"name": "@myagent", "topic": "examples.agent.myagent"}], console)
    assert out.getvalue().splitlines() == [
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
