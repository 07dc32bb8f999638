"""The command line, and what commands of one's own are made of."""

from typing import TYPE_CHECKING

from stream_app.absent import answers
from stream_app.cli import *  # noqa: F403 - this module is that list of names
from stream_app.cli import __all__ as __all__

if not TYPE_CHECKING:
    __getattr__ = answers(__name__, __all__, ("faust", "worker"))
