"""Requests, answers, and the pages of an app, in the module in which Faust has them."""

from typing import TYPE_CHECKING

from stream_app.absent import answers
from stream_web import (
    Request,
    ResourceOptions,
    Response,
    Web,
)

__all__ = [
    "Request",
    "ResourceOptions",
    "Response",
    "Web",
]

if not TYPE_CHECKING:
    __getattr__ = answers(__name__, __all__)
