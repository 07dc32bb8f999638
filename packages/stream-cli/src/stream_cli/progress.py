"""What long work shows on a terminal, on standard error: how far it is."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

from stream_cli.context import Invocation

__all__ = ["progress"]

OFTEN = 1000
"""Steps between two looks at the bar."""


@contextmanager
def progress(invocation: Invocation, what: str, total: int) -> Iterator[Callable[[], None]]:
    """Show how far a block of code is, where standard error is a terminal.

    Returns:
        what is called for each step.
    """
    if invocation.quiet or total < OFTEN or not sys.stderr.isatty():
        yield lambda: None
        return
    done = 0
    with click.progressbar(length=total, label=what, file=sys.stderr) as bar:

        def step() -> None:
            nonlocal done
            done += 1
            if done % OFTEN == 0:
                bar.update(OFTEN)

        yield step
