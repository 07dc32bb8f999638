"""The web server of a worker: its own pages (health, status and metrics), and those of the app. It is loaded name by name."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aiohttp.web import Request, Response, StreamResponse

    from stream_web.blueprints import Blueprint
    from stream_web.caches import Cache, CacheBackend, CacheUnavailable
    from stream_web.clients import make_client
    from stream_web.dashboard.dashboard import Dashboard
    from stream_web.dashboard.peers import Peers
    from stream_web.exceptions import WebError
    from stream_web.forwarding import Forwarder
    from stream_web.graph import GraphPage
    from stream_web.health import Health
    from stream_web.listening import is_loopback
    from stream_web.middlewares import Limits
    from stream_web.pages import Node, Page, ResourceOptions, Web
    from stream_web.schemas import SchemaPages, asyncapi, openapi
    from stream_web.server import WebServer
    from stream_web.stats import Stats
    from stream_web.views import View, gives_model, takes_model
    from stream_web.watched import watching

__all__ = [
    "Blueprint",
    "Cache",
    "CacheBackend",
    "CacheUnavailable",
    "Dashboard",
    "Forwarder",
    "GraphPage",
    "Health",
    "Limits",
    "Node",
    "Page",
    "Peers",
    "Request",
    "ResourceOptions",
    "Response",
    "SchemaPages",
    "Stats",
    "StreamResponse",
    "View",
    "Web",
    "WebError",
    "WebServer",
    "asyncapi",
    "gives_model",
    "is_loopback",
    "make_client",
    "openapi",
    "takes_model",
    "watching",
]

_HOMES = {
    "Blueprint": "stream_web.blueprints",
    "Cache": "stream_web.caches",
    "CacheBackend": "stream_web.caches",
    "CacheUnavailable": "stream_web.caches",
    "Dashboard": "stream_web.dashboard.dashboard",
    "Forwarder": "stream_web.forwarding",
    "GraphPage": "stream_web.graph",
    "Health": "stream_web.health",
    "Limits": "stream_web.middlewares",
    "Node": "stream_web.pages",
    "Page": "stream_web.pages",
    "Peers": "stream_web.dashboard.peers",
    "Request": "aiohttp.web",
    "ResourceOptions": "stream_web.pages",
    "Response": "aiohttp.web",
    "SchemaPages": "stream_web.schemas",
    "Stats": "stream_web.stats",
    "StreamResponse": "aiohttp.web",
    "View": "stream_web.views",
    "Web": "stream_web.pages",
    "WebError": "stream_web.exceptions",
    "WebServer": "stream_web.server",
    "asyncapi": "stream_web.schemas",
    "gives_model": "stream_web.views",
    "is_loopback": "stream_web.listening",
    "make_client": "stream_web.clients",
    "openapi": "stream_web.schemas",
    "takes_model": "stream_web.views",
    "watching": "stream_web.watched",
}
"""The modules that have the names: a worker listens, and loads what answers when somebody asks."""


def __getattr__(name: str) -> Any:
    """Load a name with its module."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return __all__
