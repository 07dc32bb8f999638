"""The kinds of windows, by their names in Faust."""

from typing import TYPE_CHECKING

from stream_app.absent import answers
from stream_tables.windows.aligned import HoppingWindow, TumblingWindow
from stream_tables.windows.kinds import Window, WindowRange
from stream_tables.windows.session import SessionWindow
from stream_tables.windows.sliding import SlidingWindow

__all__ = ["HoppingWindow", "SessionWindow", "SlidingWindow", "TumblingWindow", "Window", "WindowRange"]

if not TYPE_CHECKING:
    __getattr__ = answers(__name__, __all__)
