"""What a worker prints when it starts."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console

from stream_cli import banner, boxes
from stream_cli.locate import locate
from stream_cli.main import cli

Write = Callable[..., Path]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("kafka://a:9092", "kafka://a:9092"),
        ("kafka://joe:secret@a:9092", "kafka://***@a:9092"),
        ("joe:x@b", "***@b"),
        ("kafka://joe:s@cret@a", "kafka://***@a"),
        ("kafka://joe:se/cr,et@a", "kafka://***@a"),
        ("memory://", "memory://"),
    ],
)
def test_credentials_are_masked(url: str, shown: str) -> None:
    """Nothing of user name and password is left, whatever they are made of."""
    assert banner.mask(url) == shown


def test_plain_lines_when_not_on_a_terminal(write: Write) -> None:
    """Away from a terminal the banner is one line a fact, never wrapped and without credentials."""
    write("bank", 'app = App("bank")')
    result = CliRunner().invoke(cli, ["-A", "bank", "worker"])
    lines = result.stdout.splitlines()
    assert "id: bank" in lines
    assert "transport: kafka://***@a:9092,kafka://b:9092" in lines
    assert f"pid: {os.getpid()}" in lines
    assert "web: http://127.0.0.1:6066, or the next free port" in lines
    assert "log: INFO to standard error" in lines
    assert "secret" not in result.stdout.replace('"broker"', "").split("{")[0]


def test_quiet_prints_no_banner(write: Write) -> None:
    """``-q`` leaves the banner out."""
    write("bank", 'app = App("bank")')
    assert "transport: " not in CliRunner().invoke(cli, ["-q", "-A", "bank", "worker"]).stdout


def test_box_on_a_terminal(write: Write) -> None:
    """On a terminal the facts stand in a box."""
    write("bank", 'app = App("bank")')
    out = io.StringIO()
    boxes.draw(
        "stream worker", banner.facts(locate("bank")), Console(file=out, force_terminal=True, width=60, no_color=True)
    )
    assert "╭" in out.getvalue()
    assert "at_least_once" in out.getvalue()


def test_narrow_terminal(write: Write) -> None:
    """Long facts go on in the next line of a narrow box, without a loss and without a password."""
    write("bank", 'app = App("bank")')
    out = io.StringIO()
    boxes.draw(
        "stream worker",
        banner.facts(locate("bank")),
        Console(file=out, force_terminal=True, width=30, color_system=None),
    )
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= 30
    assert "kafka://***@a:9092,kafka://b:9092" in "".join(line.split("│")[2].strip() for line in lines if "│" in line)
    assert "secret" not in out.getvalue()


def test_no_colours_in_a_pipe(write: Write) -> None:
    """What is not a terminal gets text and nothing else."""
    write("bank", 'app = App("bank")')
    assert "\x1b" not in CliRunner().invoke(cli, ["-A", "bank", "worker"]).stdout
