"""The web server of a worker: its own pages (health, status and metrics), and those of the app."""

from aiohttp.web import Request, Response, StreamResponse

from stream_web.blueprints import Blueprint
from stream_web.caches import Cache, CacheBackend, CacheUnavailable
from stream_web.clients import make_client
from stream_web.dashboard import Dashboard, Peers
from stream_web.exceptions import WebError
from stream_web.forwarding import Forwarder
from stream_web.graph import GraphPage
from stream_web.health import Health
from stream_web.middlewares import Limits, is_loopback
from stream_web.pages import Node, Page, ResourceOptions, Web
from stream_web.schemas import SchemaPages, asyncapi, openapi
from stream_web.server import WebServer
from stream_web.stats import Stats
from stream_web.views import View, gives_model, takes_model
from stream_web.watching import watching

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
