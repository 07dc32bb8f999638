"""Facts in a box, as a worker shows them on a terminal."""

from __future__ import annotations

from collections.abc import Iterable

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

__all__ = ["draw"]


def draw(title: str, rows: Iterable[tuple[str, str]], console: Console | None = None) -> None:
    """Print names and values in a box; what is too long for the terminal goes on in the next line."""
    table = Table(title=title, title_justify="left", box=box.ROUNDED, show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for row in rows:
        table.add_row(*map(escape, row))
    (console or Console()).print(table)
