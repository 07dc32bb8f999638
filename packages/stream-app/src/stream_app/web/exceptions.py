"""What a page raises to answer with an error."""

from typing import TYPE_CHECKING

from stream_app.absent import answers
from stream_web.exceptions import (
    AuthenticationFailed,
    MethodNotAllowed,
    NotAcceptable,
    NotAuthenticated,
    NotFound,
    ParseError,
    PermissionDenied,
    ServerError,
    ServiceUnavailable,
    Throttled,
    UnsupportedMediaType,
    ValidationError,
    WebError,
)

__all__ = [
    "AuthenticationFailed",
    "MethodNotAllowed",
    "NotAcceptable",
    "NotAuthenticated",
    "NotFound",
    "ParseError",
    "PermissionDenied",
    "ServerError",
    "ServiceUnavailable",
    "Throttled",
    "UnsupportedMediaType",
    "ValidationError",
    "WebError",
]

if not TYPE_CHECKING:
    __getattr__ = answers(__name__, __all__)
