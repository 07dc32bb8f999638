"""What a worker prints when it starts: which app, which broker, where its state is."""

from __future__ import annotations

import os
import platform
import re
import socket
from importlib.metadata import version

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from stream_cli.locate import Application

__all__ = ["facts", "mask", "show"]


def show(app: Application, console: Console) -> None:
    """Print the banner of ``app``: a box on a terminal, plain lines elsewhere."""
    rows = facts(app)
    if not console.is_terminal:
        for name, value in rows:
            console.print(f"{name}: {value}", markup=False, highlight=False, soft_wrap=True)
        return
    table = Table(title="stream worker", title_justify="left", box=box.ROUNDED, show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for row in rows:
        table.add_row(*map(escape, row))
    console.print(table)


def facts(app: Application) -> list[tuple[str, str]]:
    """Return the names and values of the banner; credentials are masked."""
    conf = app.conf
    return [
        ("id", app.id),
        ("transport", ",".join(mask(str(url)) for url in conf.broker)),
        ("store", mask(str(conf.store))),
        ("guarantee", str(conf.processing_guarantee)),
        ("datadir", str(conf.datadir)),
        ("pid", str(os.getpid())),
        ("host", socket.gethostname()),
        ("versions", f"Stream {version('stream-core')}, Python {platform.python_version()}, {platform.system()}"),
    ]


def mask(url: str) -> str:
    """Replace the credentials of ``url`` by stars; rather too much than too little."""
    return re.sub(r"^((?:[\w+.-]+://)?).*@", r"\1***@", url)
