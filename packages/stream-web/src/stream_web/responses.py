"""How values become answers of pages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, TypedDict, Unpack

from aiohttp import web

from stream_core.errors import StreamError
from stream_core.values.codecs import get_codec

__all__ = ["AnswerOptions", "Responses", "answer_of"]

Headers = Mapping[str, str]


class AnswerOptions(TypedDict, total=False):
    """What each kind of answer takes.

    Attributes:
        content_type: the type; that of its kind when left out.
        status: the status, 200 when left out.
        reason: the words beside the status.
        headers: of the answer.
    """

    content_type: str | None
    status: int
    reason: str | None
    headers: Headers | None


class Responses:
    """Makes answers; every method takes what is in :class:`AnswerOptions`."""

    content_types: ClassVar[Mapping[str, str]] = {
        "text": "text/plain",
        "html": "text/html",
        "json": "application/json",
        "bytes": "application/octet-stream",
    }
    """The type of each kind of answer where none is given."""

    def text(self, value: str, **options: Unpack[AnswerOptions]) -> web.Response:
        """Answer with plain text."""
        return web.Response(text=value, **self._typed("text", options))

    def html(self, value: str, **options: Unpack[AnswerOptions]) -> web.Response:
        """Answer with HTML. What comes from users must be escaped, as by :func:`html.escape`."""
        return web.Response(text=value, **self._typed("html", options))

    def json(self, value: Any, **options: Unpack[AnswerOptions]) -> web.Response:
        """Answer with JSON: of records, too, and of all that the codec ``json`` writes.

        Raises:
            EncodeError: it cannot be written as JSON.
        """
        return web.Response(body=get_codec("json").dumps(value), charset="utf-8", **self._typed("json", options))

    def bytes(self, value: bytes, **options: Unpack[AnswerOptions]) -> web.Response:
        """Answer with bytes as they are."""
        return web.Response(body=value, **self._typed("bytes", options))

    def response(self, value: Any = b"", **options: Unpack[AnswerOptions]) -> web.Response:
        """Answer with text, bytes or JSON, as the value is one of these; without a value, with an empty body."""
        make: Any = self.text if isinstance(value, str) else self.bytes if isinstance(value, bytes) else self.json
        made: web.Response = make(value, **options)
        return made

    def _typed(self, kind: str, options: AnswerOptions) -> AnswerOptions:
        """Give the options of an answer with its type, that of its kind where none is given."""
        return {**options, "content_type": options.get("content_type") or self.content_types[kind]}

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
