"""The command line, in the modules in which Faust has it."""

from typing import TYPE_CHECKING

from stream_app.absent import answers

__all__: list[str] = []

if not TYPE_CHECKING:
    __getattr__ = answers(__name__, __all__, ("faust", "worker"))
