"""Pages of the documentation as programs: reads their blocks, runs them, and compares what they print with what the page shows.

How to write a page so that it is tested:

- A ``python`` block is run, in the order of the page and with the names of the blocks before it; ``await`` may stand outside of functions.
- An ``output`` block shows lines that the page's code prints; together they show all that it prints.
- After the last block, every app that the page defined and did not start itself is started, on a ``memory://`` broker and store whatever
  the page says; ``feed()`` is awaited if the page defines it; and when all that the page shows was printed the apps are stopped.
  Waiting takes no time: the clock jumps.
- A block that cannot run has a line before it that says why, which readers do not see: ``% not run: it needs a second broker``.
- A ``console`` block holds commands behind ``$``, and what they print.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import io
import re
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import looptime
from markdown_it import MarkdownIt

from stream_app import App
from stream_core.memory import MemoryCluster

__all__ = ["Block", "PageError", "commands", "read_blocks", "run_page"]

NOT_RUN = re.compile(r"% not run: (.+)")
PATIENCE = 20.0
"""Seconds, on a clock that jumps, to wait for what a page shows."""


class PageError(AssertionError):
    """A page is not true."""


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Attributes:
        language: ``python``, ``output``, ``console`` and so on; empty for an indented block.
        text: its content.
        line: number of its first line, from 1.
        not_run: why it is not run.
    """

    language: str
    text: str
    line: int
    not_run: str | None = None


def read_blocks(page: Path) -> list[Block]:
    """The blocks of a page, in order."""
    blocks: list[Block] = []
    reason = None
    for token in MarkdownIt("commonmark").parse(page.read_text(encoding="utf-8")):
        if token.type == "inline":
            found = NOT_RUN.fullmatch(token.content.splitlines()[-1]) if token.content else None
            reason = found[1] if found else None
        elif token.type in ("fence", "code_block"):
            first = (token.map or [0])[0] + (2 if token.type == "fence" else 1)
            blocks.append(Block(token.info.strip(), token.content, first, reason))
            reason = None
    return blocks


def commands(blocks: list[Block]) -> list[str]:
    """What ``console`` blocks, and indented ones, tell to type, without comments."""
    lines = [
        line.removeprefix("$ ")
        for block in blocks
        if block.language in ("console", "")
        for line in block.text.splitlines()
        if not block.language or line.startswith("$ ")
    ]
    return [re.sub(r"\s+#.*", "", line) for line in lines]


def run_page(page: Path) -> None:
    """Run the blocks of a page, and compare what they print with what it shows.

    Raises:
        PageError: it printed something else, or did not print all of it in time.
    """
    blocks = read_blocks(page)
    shown = [block for block in blocks if block.language == "output"]
    count = sum(len(block.text.splitlines()) for block in shown)
    printed = io.StringIO()
    apps: list[App] = []
    with (
        _module(f"page_{page.stem}") as names,
        redirect_stdout(printed),
        asyncio.Runner(loop_factory=looptime.new_event_loop) as runner,
    ):
        for block in blocks:
            if block.language == "python" and block.not_run is None:
                _execute(block, page, names, runner)
                apps += [value for value in names.values() if isinstance(value, App) and value not in apps]
        runner.run(_live(apps, names.get("feed"), lambda: printed.getvalue().count("\n") >= count))
    for app in apps:
        MemoryCluster.discard(app.conf.broker_url.removeprefix("memory://"))
    _compare(page, shown, printed.getvalue().splitlines())


def _execute(block: Block, page: Path, names: dict[str, Any], runner: asyncio.Runner) -> None:
    source = "\n" * (block.line - 1) + block.text  # errors then name the line of the page
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    code = compile(source, str(page), "exec", flags=flags, dont_inherit=True)
    result = eval(code, names)
    if inspect.iscoroutine(result):
        runner.run(result)


async def _live(apps: list[App], feed: Callable[[], Awaitable[None]] | None, complete: Callable[[], bool]) -> None:
    """Start the apps that are not started yet, feed them, and stop them when all is printed, or nothing more comes."""
    fresh = [app for app in apps if not app.conf.frozen]
    async with AsyncExitStack() as stack:
        for app in fresh:
            app.conf.broker, app.conf.store = ["memory://page"], "memory://"
            stack.push_async_callback(app.stop)
            await app.start()
        if fresh and feed is not None:
            await feed()
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                while fresh and not complete():
                    for app in fresh:
                        if app.engine.failure.done():
                            raise app.engine.failure.result()
                    await asyncio.sleep(0.01)


def _compare(page: Path, shown: list[Block], printed: list[str]) -> None:
    for block in shown:
        rest = iter(printed)
        missing = [
            line for line in block.text.splitlines() if line not in rest
        ]  # a search in an iterator goes on behind it
        if missing:
            raise PageError(f"{page.name}:{block.line} shows {missing[0]!r}, and the page printed {printed}")
    lines = [line for block in shown for line in block.text.splitlines()]
    if sorted(lines) != sorted(printed):
        raise PageError(f"{page.name} shows {sorted(lines)}, and printed {sorted(printed)}")


@contextmanager
def _module(name: str) -> Iterator[dict[str, Any]]:
    """A module to run in: classes look their annotations up in one."""
    module = sys.modules[name] = ModuleType(name)
    try:
        yield vars(module)
    finally:
        del sys.modules[name]
