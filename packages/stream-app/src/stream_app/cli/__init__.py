"""The command line, and what commands of your own are made of. It loads the terminal libraries, so apps load it when they need it."""

from typing import TYPE_CHECKING

from stream_app.absent import answers
from stream_cli.commands import AppCommand, Command, argument, option
from stream_cli.main import call_command

__all__ = ["AppCommand", "Command", "argument", "call_command", "option"]

if not TYPE_CHECKING:
    __getattr__ = answers(__name__, __all__, ("faust", "worker"))
