"""The program: a group of click."""

from stream_app.cli.faust import *  # noqa: F403 - this module is that list of names
from stream_app.cli.faust import __all__ as __all__
