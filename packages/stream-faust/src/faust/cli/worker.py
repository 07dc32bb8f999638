"""The command ``worker``, a command of click."""

from stream_app.cli.worker import *  # noqa: F403 - this module is that list of names
from stream_app.cli.worker import __all__ as __all__
