"""Every page of the documentation is true: its code runs and prints what the page shows, and its commands exist."""

from __future__ import annotations

import re
import shlex
from itertools import dropwhile
from pathlib import Path

import click
import pytest

from stream_cli.main import cli

from .pages import PageError, commands, read_blocks, run_page

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "examples" / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory for what pages write; their apps open no port."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("APP_WEB_ENABLED", "false")
    return tmp_path


def name(page: Path) -> str:
    """A page in the name of a test."""
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name)
@pytest.mark.usefixtures("elsewhere")
def test_code_does_what_the_page_shows(page: Path) -> None:
    """All Python of a page runs in order, and prints what the page says it prints."""
    run_page(page)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_no_code_is_left_out_by_its_language(page: Path) -> None:
    """Python stands in blocks that are run, and a block that is not run is one of Python."""
    blocks = read_blocks(page)
    aliases = [block.line for block in blocks if re.fullmatch(r"py|py3|python3|pycon|\{code.*python", block.language)]
    assert aliases == []
    assert [block.line for block in blocks if block.not_run and block.language != "python"] == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_commands_exist(page: Path) -> None:
    """What a page tells to type exists: commands of ``stream`` with their options, recipes, and files."""
    assert [problem for command in commands(read_blocks(page)) if (problem := wrong(command))] == []


def wrong(command: str) -> str | None:
    """What is wrong with a command, or ``None``."""
    match list(dropwhile(lambda word: re.match(r"\w+=", word), shlex.split(command))):  # VARIABLE=value program
        case ["uv", "run", *rest] if rest and rest[0] != "python":
            return wrong(shlex.join(rest))
        case ["uv", "run", "python", path, *_] | ["python", path, *_] if path.startswith("examples/"):
            return None if (ROOT / path).exists() else f"there is no {path}"
        case ["just", recipe, *_]:
            recipes = re.findall(r"^([a-z-]+)[^:\n]*:(?!=)", (ROOT / "Justfile").read_text(), re.MULTILINE)
            return None if recipe in recipes else f"there is no recipe {recipe}"
        case ["stream", *arguments]:
            return wrong_arguments(arguments)
    return None


def wrong_arguments(arguments: list[str]) -> str | None:
    """What ``stream`` would refuse of these arguments, or ``None``; nothing is run."""
    try:
        with click.Context(cli, info_name="stream") as context:
            command: click.Command = cli
            _, rest, _ = command.make_parser(context).parse_args(arguments)
            while isinstance(command, click.Group) and rest:
                found = command.get_command(context, rest[0])
                if found is None:
                    return f"there is no command {rest[0]}"
                command = found
                _, rest, _ = command.make_parser(click.Context(command, context)).parse_args(rest[1:])
    except click.UsageError as error:
        return error.format_message()
    return None


# -- the checks themselves


def write(directory: Path, text: str) -> Path:
    """A page with this text."""
    page = directory / "page.md"
    page.write_text(text)
    return page


GOOD = """
```python
import stream_app as faust

app = faust.App("shop", broker="kafka://nowhere:1", store="rocksdb://")
numbers = app.topic("numbers", value_type=int, partitions=1)


@app.agent(numbers)
async def double(stream):
    async for number in stream:
        print(2 * number)


async def feed():
    for number in 1, 2:
        await numbers.send(number)
```

```output
2
4
```
"""


def test_a_true_page(elsewhere: Path) -> None:
    """An app of a page is run on memory, fed, and shown to print what the page says."""
    run_page(write(elsewhere, GOOD))


@pytest.mark.parametrize(
    ("old", "new"),
    [("4\n", "5\n"), ("4\n", ""), ("2\n4\n", "4\n2\n"), ("4\n", "4\n6\n")],
    ids=["other", "too little", "other order", "too much"],
)
def test_a_false_output(elsewhere: Path, old: str, new: str) -> None:
    """A page that shows something else than is printed fails."""
    before, fence, after = GOOD.rpartition("```output\n")
    with pytest.raises(PageError, match=r"page\.md"):
        run_page(write(elsewhere, before + fence + after.replace(old, new, 1)))


def test_an_agent_that_fails(elsewhere: Path) -> None:
    """The error of an agent is that of the page."""
    with pytest.raises(Exception, match="unsupported operand"):
        run_page(write(elsewhere, GOOD.replace("2 * number", "number + None")))


def test_a_block_that_is_not_run(elsewhere: Path) -> None:
    """A comment with a reason keeps the block behind it from being run, and no other."""
    page = write(elsewhere, "% not run: it is wrong\n```python\nwrong(\n```\nText.\n```python\n1 / 0\n```\n")
    with pytest.raises(ZeroDivisionError):
        run_page(page)
    assert [block.not_run for block in read_blocks(page)] == ["it is wrong", None]


def test_await_outside_of_functions(elsewhere: Path) -> None:
    """All blocks of a page share their names and one event loop."""
    text = "```python\nimport asyncio\nevent = asyncio.Event()\nawait asyncio.sleep(1000)\n```\n"
    run_page(write(elsewhere, text + "```python\nevent.set()\nawait event.wait()\nprint(1)\n```\n```output\n1\n```\n"))


@pytest.mark.parametrize(
    "command",
    [
        "stream -A bank wroker",
        "stream --aap bank worker",
        "uv run stream -A bank worker --no-such-option",
        "uv run just no-such-recipe",
        "VARIABLE=value python examples/nothing.py",
    ],
)
def test_a_wrong_command(tmp_path: Path, command: str) -> None:
    """A command, option, recipe or example that does not exist is found."""
    (found,) = commands(read_blocks(write(tmp_path, f"```console\n$ {command}   # a comment\nwhat it prints\n```\n")))
    assert wrong(found)
