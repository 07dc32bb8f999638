"""How values become answers of pages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from aiohttp import web

from stream_core.errors import StreamError
from stream_core.values.codecs import get_codec

__all__ = ["Responses", "answer_of"]

Headers = Mapping[str, str]


class Responses:
    """Makes answers. Every method takes ``status``, ``reason`` (the words beside it), ``content_type`` and ``headers``."""

    content_types: ClassVar[Mapping[str, str]] = {
        "text": "text/plain",
        "html": "text/html",
        "json": "application/json",
        "bytes": "application/octet-stream",
    }
    """The type of each kind of answer where none is given."""

    def text(
        self,
        value: str,
        *,
        content_type: str | None = None,
        status: int = 200,
        reason: str | None = None,
        headers: Headers | None = None,
    ) -> web.Response:
        """Answer with plain text."""
        kind = content_type or self.content_types["text"]
        return web.Response(text=value, content_type=kind, status=status, reason=reason, headers=headers)

    def html(
        self,
        value: str,
        *,
        content_type: str | None = None,
        status: int = 200,
        reason: str | None = None,
        headers: Headers | None = None,
    ) -> web.Response:
        """Answer with HTML. What comes from users must be escaped, as by :func:`html.escape`."""
        kind = content_type or self.content_types["html"]
        return web.Response(text=value, content_type=kind, status=status, reason=reason, headers=headers)

    def json(
        self,
        value: Any,
        *,
        content_type: str | None = None,
        status: int = 200,
        reason: str | None = None,
        headers: Headers | None = None,
    ) -> web.Response:
        """Answer with JSON: of records, too, and of all that the codec ``json`` writes.

        Raises:
            EncodeError: it cannot be written as JSON.
        """
        kind = content_type or self.content_types["json"]
        body = get_codec("json").dumps(value)
        return web.Response(
            body=body, content_type=kind, charset="utf-8", status=status, reason=reason, headers=headers
        )

    def bytes(
        self,
        value: bytes,
        *,
        content_type: str | None = None,
        status: int = 200,
        reason: str | None = None,
        headers: Headers | None = None,
    ) -> web.Response:
        """Answer with bytes as they are."""
        kind = content_type or self.content_types["bytes"]
        return web.Response(body=value, content_type=kind, status=status, reason=reason, headers=headers)

    def response(
        self,
        value: Any = b"",
        *,
        content_type: str | None = None,
        status: int = 200,
        reason: str | None = None,
        headers: Headers | None = None,
    ) -> web.Response:
        """Answer with text, bytes or JSON, as the value is one of these; without a value, with an empty body."""
        make: Any = self.text if isinstance(value, str) else self.bytes if isinstance(value, bytes) else self.json
        made: web.Response = make(value, content_type=content_type, status=status, reason=reason, headers=headers)
        return made

    def error(self, status: int, reason: str, headers: Headers | None = None, **extra: Any) -> web.Response:
        """Answer with an error.

        Args:
            status: the status.
            reason: what ``error`` says in the JSON.
            headers: of the answer.
            extra: what the JSON has beside.
        """
        return self.json({"error": reason, **extra}, status=status, headers=headers)

    def notfound(self, reason: str = "Not Found", **extra: Any) -> web.Response:
        """Answer that there is no such thing."""
        return self.error(404, reason, **extra)


def answer_of(value: Any, responses: Responses, where: str) -> web.StreamResponse:
    """Make the answer of what a page returned: an answer as it is, text, bytes, and JSON of all else.

    Args:
        value: what it returned.
        responses: makes it.
        where: names the page, for the message.

    Raises:
        StreamError: it returned nothing, or what cannot be JSON.
    """
    if isinstance(value, web.StreamResponse):
        return value
    if value is None:
        raise StreamError(
            f'{where} has returned nothing: return text, bytes, what can be JSON, or an answer such as web.text("done")'
        )
    try:
        return responses.response(value)
    except (StreamError, TypeError, ValueError) as error:
        raise StreamError(
            f"{where} has returned {type(value).__name__}, which cannot be written as JSON ({error}): return text, bytes, "
            "what can be JSON, or an answer such as web.json(...)"
        ) from error
