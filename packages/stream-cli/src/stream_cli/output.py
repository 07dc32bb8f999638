"""What commands print on standard output: tables for people, JSON for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from stream_core.values.codecs import json_dumps

__all__ = ["format_table", "print_json", "print_rows", "print_table"]

WIDEST = 100_000
"""Columns of what is no terminal: nothing is wrapped, so that each row is one line."""


def print_json(value: Any) -> None:
    """Print a value as one line of JSON."""
    click.echo(json_dumps(value))


def print_rows(title: str, columns: Sequence[str], rows: Sequence[Mapping[str, str]], *, as_json: bool) -> None:
    """Print rows as a table, or whole as one line of JSON.

    Args:
        title: one word, over the table.
        columns: the keys of the rows that the table shows, in order.
        rows: what to print.
        as_json: print JSON, for programs.
    """
    if as_json:
        print_json(rows)
    else:
        print_table(title, columns, rows)


def print_table(
    title: str, columns: Sequence[str], rows: Sequence[Mapping[str, str]], console: Console | None = None
) -> None:
    """Print rows in a box whose upper edge has the title.

    Args:
        title: one word.
        columns: the keys of the rows to show, in order.
        rows: what to show.
        console: where to; standard output when left out. What is no terminal is as wide as the rows are.
    """
    console = console or Console()
    text = format_table(title, columns, [[row[column] for column in columns] for row in rows], console)
    click.echo(text, file=console.file, nl=False)


def format_table(
    title: str, columns: Sequence[str] | None, rows: Sequence[Sequence[str]], console: Console | None = None
) -> str:
    """Return rows in a box whose upper edge has the title.

    Args:
        title: one word.
        columns: the names of the columns; ``None`` for none.
        rows: the cells.
        console: where the table is to be shown; standard output when left out. What is no terminal is as wide as the rows are.
    """
    console = console or Console()
    if not console.is_terminal:
        console = Console(file=console.file, width=WIDEST)
    table = Table(box=box.SQUARE, show_header=columns is not None)
    for column in columns if columns is not None else ("",) * max(map(len, rows), default=0):
        table.add_column(Text(column), overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    with console.capture() as capture:
        console.print(table)
    edge, _, rest = capture.get().partition("\n")
    if title and len(title) + 2 < len(edge):
        edge = f"{edge[0]}{title}{edge[len(title) + 1 :]}"
    return f"{edge}\n{rest}"
