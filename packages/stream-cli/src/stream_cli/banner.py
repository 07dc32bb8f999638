"""What a worker prints when it starts: which app, which broker, where its state is."""

from __future__ import annotations

import importlib
import os
import platform
import re
import socket
import sys
from importlib.metadata import version
from typing import Any

import click

from stream_cli.locate import Application

__all__ = ["facts", "mask", "show"]


def show(app: Application, *, log: str = "") -> None:
    """Print the banner of ``app``: a box on a terminal, plain lines elsewhere.

    Args:
        app: the app.
        log: from which level on, and where to, the worker logs; empty leaves that out.
    """
    rows = facts(app)
    if log:
        rows.insert(4, ("log", log))
    if sys.stdout.isatty():  # only here a worker needs a library that draws, and it would keep it
        importlib.import_module("stream_cli.boxes").draw("stream worker", rows)
        return
    for name, value in rows:
        click.echo(f"{name}: {value}")


def facts(app: Application) -> list[tuple[str, str]]:
    """Return the names and values of the banner; credentials are masked."""
    conf = app.conf
    return [
        ("id", app.id),
        ("transport", ",".join(mask(str(url)) for url in conf.broker)),
        ("store", mask(str(conf.store))),
        ("guarantee", str(conf.processing_guarantee)),
        ("web", _web(conf)),
        ("datadir", str(conf.datadir)),
        ("pid", str(os.getpid())),
        ("host", socket.gethostname()),
        ("versions", f"Stream {version('stream-core')}, Python {platform.python_version()}, {platform.system()}"),
    ]


def _web(conf: Any) -> str:
    """Tell where the web server is asked to listen; the log tells where it does."""
    if not conf.web_enabled:
        return "off"
    if not conf.web_transport.startswith("tcp"):
        return str(conf.web_transport)
    scheme = "http" if conf.web_ssl_context is None else "https"
    bind = f"[{conf.web_bind}]" if ":" in conf.web_bind else conf.web_bind
    return f"{scheme}://{bind}:{conf.web_port}" + ("" if "web_port" in conf.values else ", or the next free port")


def mask(url: str) -> str:
    """Replace the credentials of ``url`` by stars; rather too much than too little."""
    return re.sub(r"^((?:[\w+.-]+://)?).*@", r"\1***@", url)
