"""What a page raises to answer with an error, under the names that Faust has for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from stream_core.errors import StreamError

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


class WebError(StreamError):
    """An answer that is an error: JSON with ``error`` and whatever else is told.

    Args:
        detail: what ``error`` says; the text of the class when left out.
        code: the status; that of the class when left out.
        headers: of the answer.
        extra: what the answer has beside ``error``.
    """

    code: int = 500
    text: ClassVar[str] = "Internal Server Error"

    def __init__(
        self,
        detail: str | None = None,
        *,
        code: int | None = None,
        headers: Mapping[str, str] | None = None,
        **extra: Any,
    ) -> None:
        self.detail = self.text if detail is None else detail
        self.code = self.code if code is None else code
        self.headers = headers
        self.extra_context = extra
        super().__init__(self.detail)


class ServerError(WebError):
    """The server failed."""


class ValidationError(WebError):
    """What the client sent does not fit."""

    code = 400
    text = "Invalid input"


class ParseError(WebError):
    """What the client sent cannot be read."""

    code = 400
    text = "Malformed request"


class AuthenticationFailed(WebError):  # noqa: N818 - the name is Faust's
    """Who the client says it is was not shown."""

    code = 401
    text = "Incorrect authentication credentials"


class NotAuthenticated(WebError):  # noqa: N818 - the name is Faust's
    """The client has not said who it is."""

    code = 401
    text = "Authentication credentials were not provided"


class PermissionDenied(WebError):  # noqa: N818 - the name is Faust's
    """The client may not do that."""

    code = 403
    text = "You do not have permission to perform this action"


class NotFound(WebError):  # noqa: N818 - the name is Faust's
    """There is no such thing."""

    code = 404
    text = "Not Found"


class MethodNotAllowed(WebError):  # noqa: N818 - the name is Faust's
    """The page does not have this method."""

    code = 405
    text = "Method Not Allowed"


class NotAcceptable(WebError):  # noqa: N818 - the name is Faust's
    """There is nothing of a type that the client takes."""

    code = 406
    text = "Could not satisfy the request Accept header"


class UnsupportedMediaType(WebError):  # noqa: N818 - the name is Faust's
    """What the client sent is of a type that is not taken."""

    code = 415
    text = "Unsupported media type in request"


class Throttled(WebError):  # noqa: N818 - the name is Faust's
    """The client asks too often."""

    code = 429
    text = "Request was throttled"


class ServiceUnavailable(WebError):  # noqa: N818 - the name is Faust's
    """It may work later."""

    code = 503
    text = "Service Unavailable"
