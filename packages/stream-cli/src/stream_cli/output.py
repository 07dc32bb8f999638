"""What commands print on standard output: tables for people, JSON for programs."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from traceback import walk_tb
from typing import Any

import click
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from stream_core.values.codecs import json_dumps
from stream_core.values.record import Record

__all__ = ["format_table", "in_units", "is_of_output", "moment", "print_json", "print_rows", "shown"]

_PRINTERS = ("click.utils", "rich.console")
"""The modules that write what commands print."""

WIDEST = 100_000
"""Columns of what is not a terminal: nothing is wrapped, so that each row is one line."""

DEEPEST = 200
"""Lists and mappings inside each other that are printed as JSON; what is still deeper, or inside itself, is the text of Python."""


def is_of_output(error: OSError) -> bool:
    """Tell whether ``error`` says that standard output takes nothing more, and not anything else that a command writes to."""
    *_, (frame, _) = walk_tb(error.__traceback__)
    if frame.f_globals.get("__name__") in _PRINTERS:
        return True
    try:
        sys.stdout.flush()  # what print() could not write is in the buffer still
    except OSError:
        return True
    return False


def print_json(value: Any) -> None:
    """Print a value as one line of JSON; bytes are text, and what is not text in them is escaped."""
    click.echo(_json(value))


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
    if isinstance(value, str | bytes) and (text := _text(value)).isprintable():
        return text
    return _json(value)


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


def _json(value: Any, around: tuple[int, ...] = ()) -> str:
    """Return any value as JSON: what JSON cannot have is the text that Python has for it.

    Nothing is refused: records come from anybody, and one that cannot be printed would keep those behind it from being shown.

    Args:
        value: what a codec has read, or what a command made.
        around: the identities of the values that it is in.
    """
    try:
        if isinstance(value, str | bytes):
            return json_dumps(_text(value)).decode()
        if isinstance(value, int) and not isinstance(value, bool):
            return int.__repr__(value)  # of any size: orjson writes 64 bits
        if isinstance(value, Record):
            value = value.asdict()  # without what names the class on the topic
        if not isinstance(value, Mapping | list | tuple | set | frozenset):
            return json_dumps(value).decode()
        if len(around) == DEEPEST or id(value) in around:
            return _described(value)
        inside = (*around, id(value))
        if isinstance(value, Mapping):
            return "{" + ",".join([f"{_name(key)}:{_json(one, inside)}" for key, one in value.items()]) + "}"
        return "[" + ",".join([_json(one, inside) for one in value]) + "]"
    except Exception:  # whatever the class of the value raises
        return _described(value)


def _name(key: Any) -> str:
    """Return the key of a mapping as JSON has it there: a text, which is the JSON of anything else."""
    written = _json(key)
    return written if written.startswith('"') else json_dumps(written).decode()


def _described(value: Any) -> str:
    """Return, as JSON, the text that Python has for a value; only the name of its class where it has none."""
    try:
        text = repr(value)
    except Exception:
        text = f"<{type(value).__name__}>"
    return json_dumps(_text(text)).decode()


def _text(value: str | bytes) -> str:
    """Return bytes as text, and text as text that can be encoded; what is not text in them is escaped."""
    data = value.encode(errors="backslashreplace") if isinstance(value, str) else value
    return data.decode(errors="backslashreplace")


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
