"""What ``--help`` shows: each command has examples, and these can be typed."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

import click
import pytest

from stream_cli.main import cli

COMMENT = re.compile(r"\s{2,}.*|\s+[#|<>].*")
"""What stands behind a command: a description, a comment, or what the shell does with it."""


def paths(group: click.Group = cli, *before: str) -> Iterator[tuple[str, ...]]:
    """What is typed for each command, those of other packages and those below a word included."""
    with click.Context(group) as context:
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            assert command is not None
            yield (*before, name)
            if isinstance(command, click.Group):
                yield from paths(command, *before, name)


def examples(path: tuple[str, ...]) -> list[str]:
    """The lines below "Examples:" of the help of a command."""
    command: click.Command = cli
    for name in path:
        assert isinstance(command, click.Group)
        found = command.get_command(click.Context(command), name)
        assert found is not None
        command = found
    _, _, shown = (command.help or "").partition("Examples:\n")
    return [line.strip() for line in shown.splitlines() if line.strip()]


def typed(line: str) -> list[str]:
    """The words of an example behind the name of the program."""
    inner = re.fullmatch(r'eval "\$\((.*)\)".*', line)
    words = shlex.split(COMMENT.sub("", inner[1] if inner else line, count=1))
    return words[2:] if words[0] == "python" else words[1:]


def parse(arguments: list[str]) -> tuple[str, ...]:
    """Let the program parse arguments, values included, and run nothing; returns the names of the commands that were meant."""
    context, found = cli.make_context("stream", list(arguments)), []
    while isinstance(context.command, click.Group):
        name, command, rest = context.command.resolve_command(context, [*context._protected_args, *context.args])
        assert name is not None
        assert command is not None
        found.append(name)
        context = command.make_context(name, rest, parent=context)
    return tuple(found)


@pytest.mark.parametrize("path", list(paths()), ids=" ".join)
def test_examples_of_a_command_can_be_typed(path: tuple[str, ...]) -> None:
    """Each command has at least one example, and each is a call of it, or of one below it."""
    lines = examples(path)
    assert lines, "the help has no examples"
    for line in lines:
        assert parse(typed(line))[: len(path)] == path, line


def test_examples_of_the_program_can_be_typed() -> None:
    """The help of the program itself has examples too."""
    lines = examples(())
    assert len(lines) > 3
    for line in lines:
        if "--help" not in line:
            assert parse(typed(line)), line


@pytest.mark.parametrize(
    "line", ["stream wroker", "stream broker --port many", "stream dlq lst", "stream tail --no-such x"]
)
def test_a_wrong_example_is_found(line: str) -> None:
    """A name, an option or a value that the program would refuse fails the test."""
    with pytest.raises(click.UsageError):
        parse(typed(line))
