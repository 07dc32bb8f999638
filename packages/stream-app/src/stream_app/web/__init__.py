"""What pages are made of, by the names that Faust has. It loads the web server, so apps load it when they need it."""

from typing import TYPE_CHECKING

from stream_app.absent import answers
from stream_web import (
    Blueprint,
    Request,
    ResourceOptions,
    Response,
    StreamResponse,
    View,
    Web,
    gives_model,
    takes_model,
)

__all__ = [
    "Blueprint",
    "Request",
    "ResourceOptions",
    "Response",
    "StreamResponse",
    "View",
    "Web",
    "gives_model",
    "takes_model",
]

if not TYPE_CHECKING:
    __getattr__ = answers(__name__, __all__, ("base", "blueprints", "cache", "exceptions", "views"))
