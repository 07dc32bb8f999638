"""What commands print on standard output: tables for people, JSON for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import click
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from stream_core.values.codecs import json_dumps
from stream_core.values.record import Record

__all__ = ["format_table", "in_units", "moment", "print_json", "print_rows", "shown"]

WIDEST = 100_000
"""Columns of what is not a terminal: nothing is wrapped, so that each row is one line."""


def print_json(value: Any) -> None:
    """Print a value as one line of JSON; bytes are text, and what is not text in them is escaped."""
    click.echo(json_dumps(_plain(value)))


def print_rows(title: str, columns: Sequence[str], rows: Sequence[Mapping[str, Any]], *, as_json: bool) -> None:
    """Print rows as a table, or whole as one line of JSON.

    Args:
        title: one word, over the table.
        columns: the keys of the rows that the table shows, in order.
        rows: what to print; ``None`` is an empty cell.
        as_json: print JSON, for programs.
    """
    if as_json:
        print_json(rows)
    else:
        cells = [["" if row[column] is None else shown(row[column]) for column in columns] for row in rows]
        click.echo(format_table(title, columns, cells), nl=False)


def shown(value: Any) -> str:
    """Return a key or value as one line: text as it is, everything else as JSON; nothing is ``-``.

    Text that is more than one line, or would tell a terminal to do something, is JSON as well: records come from anybody.
    """
    if value is None:
        return "-"
    plain = _plain(value)
    return plain if isinstance(plain, str) and plain.isprintable() else json_dumps(plain).decode()


def in_units(count: float) -> str:
    """Return a number of bytes as people read it."""
    for unit in "B", "KiB", "MiB":
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


def moment(millis: int, precision: str = "milliseconds") -> str:
    """Return a time as people read it; a number that is not a time, which a record may have, as it is.

    Args:
        millis: milliseconds since the epoch.
        precision: the last part that is shown, as ``datetime.isoformat`` calls it.
    """
    try:
        return datetime.fromtimestamp(millis / 1000, UTC).isoformat(timespec=precision).replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return str(millis)


def _plain(value: Any) -> Any:
    """Return plain data with text for bytes, as JSON can have it."""
    match value:
        case bytes():
            return value.decode(errors="backslashreplace")
        case Record():
            # Without what names the class on the topic.
            return {name: _plain(one) for name, one in value.asdict().items()}
        case Mapping():
            return {_plain(key): _plain(one) for key, one in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_plain(one) for one in value]
    return value


def format_table(
    title: str, columns: Sequence[str] | None, rows: Sequence[Sequence[str]], console: Console | None = None
) -> str:
    """Return rows in a box whose upper edge has the title.

    Args:
        title: one word.
        columns: the names of the columns; ``None`` for none.
        rows: the cells.
        console: where the table is to be shown; standard output when left out. What is not a terminal is as wide as the rows are.
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
