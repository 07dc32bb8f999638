"""The entry point of the program: it loads the rest, so that Ctrl+C meanwhile is answered as later, by a word."""

from __future__ import annotations

import sys
from typing import NoReturn

__all__ = ["main"]


def main() -> NoReturn:
    """Run the ``stream`` program."""
    try:
        from stream_cli.main import run  # noqa: PLC0415 - what takes long is loaded here
    except KeyboardInterrupt:
        sys.exit("Aborted!")
    run(None, sys.argv[1:])
