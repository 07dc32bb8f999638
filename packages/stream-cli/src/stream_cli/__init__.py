"""The ``stream`` program: it runs the workers of an app, a broker for development, and what other packages add to it."""

from __future__ import annotations

from stream_cli.main import main, run

__all__ = ["main", "run"]
