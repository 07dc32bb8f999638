"""The web server of a worker: health and status over HTTP."""

from stream_web.health import Status
from stream_web.middlewares import Limits
from stream_web.server import WebServer

__all__ = ["Limits", "Status", "WebServer"]
