"""The web server of a worker: health, status and metrics over HTTP."""

from stream_web.health import Health
from stream_web.middlewares import Limits, is_loopback
from stream_web.server import WebServer
from stream_web.stats import Stats

__all__ = ["Health", "Limits", "Stats", "WebServer", "is_loopback"]
