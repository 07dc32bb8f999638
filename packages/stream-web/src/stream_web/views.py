"""Views: what answers at a path, by the method of the request."""

from __future__ import annotations

import builtins
import inspect
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any, ClassVar, Protocol

from aiohttp import web

from stream_core.errors import StreamError
from stream_web import exceptions
from stream_web.responses import Responses
from stream_web.site import Site

__all__ = ["METHODS", "View", "gives_model", "takes_model"]

METHODS = ("head", "get", "post", "put", "patch", "delete", "options", "search")
"""The methods of HTTP that a view may have."""


class View(Responses):
    """A page as a class: it answers the methods of HTTP that it has, as in ``async def get(self, request)``.

    A page that is a function gets one as its first argument. One object answers all requests: what belongs to a request stands in the
    request.

    Args:
        app: the app.
        web: the pages of the app.

    Attributes:
        app: the same.
        web: the same.
        view_name: the name of the page.
        view_path: its path.
    """

    ServerError: ClassVar[type[exceptions.WebError]] = exceptions.ServerError
    ValidationError: ClassVar[type[exceptions.WebError]] = exceptions.ValidationError
    ParseError: ClassVar[type[exceptions.WebError]] = exceptions.ParseError
    AuthenticationFailed: ClassVar[type[exceptions.WebError]] = exceptions.AuthenticationFailed
    NotAuthenticated: ClassVar[type[exceptions.WebError]] = exceptions.NotAuthenticated
    PermissionDenied: ClassVar[type[exceptions.WebError]] = exceptions.PermissionDenied
    NotFound: ClassVar[type[exceptions.WebError]] = exceptions.NotFound
    MethodNotAllowed: ClassVar[type[exceptions.WebError]] = exceptions.MethodNotAllowed
    NotAcceptable: ClassVar[type[exceptions.WebError]] = exceptions.NotAcceptable
    UnsupportedMediaType: ClassVar[type[exceptions.WebError]] = exceptions.UnsupportedMediaType
    Throttled: ClassVar[type[exceptions.WebError]] = exceptions.Throttled
    ServiceUnavailable: ClassVar[type[exceptions.WebError]] = exceptions.ServiceUnavailable

    view_name: str = ""
    view_path: str = ""

    def __init__(self, app: Any, web: Site) -> None:
        self.app = app
        self.web = web
        self.__post_init__()

    def __post_init__(self) -> None:
        """Override to prepare the view."""

    @classmethod
    def from_handler(cls, function: Callable[..., Awaitable[Any]]) -> type[View]:
        """Make the class of a page that is a function: ``async def page(web, request)``, for GET and HEAD."""
        body = {"get": function, "__doc__": function.__doc__, "__module__": function.__module__}
        return type(function.__name__, (cls,), body)

    @classmethod
    def get_methods(cls) -> set[str]:
        """Give the methods that it answers, in capitals; HEAD wherever it has GET."""
        found = {name.upper() for name in METHODS if getattr(cls, name, None) is not None}
        return found | ({"HEAD"} if "GET" in found else set())

    async def dispatch(self, request: web.Request, **parts: Any) -> Any:
        """Answer a request; override to do something before or after each.

        Args:
            request: the request.
            parts: the parts of the path that have names.
        """
        method = request.method.lower()
        handler = getattr(self, "get" if method == "head" and not hasattr(self, "head") else method)
        try:
            return await handler(request, **parts)
        except exceptions.WebError as error:
            return await self.on_request_error(request, error)

    async def on_request_error(self, request: web.Request, error: exceptions.WebError) -> Any:
        """Make the answer of an error that the page has raised; override to give it another form."""
        return self.error(error.code, error.detail, error.headers, **error.extra_context)

    def path_for(self, view_name: str, **parts: Any) -> str:
        """Give the path of a page; see :meth:`Web.url_for <stream_web.pages.Web.url_for>`."""
        return self.web.url_for(view_name, **parts)

    def url_for(self, view_name: str, _base_url: str | None = None, **parts: Any) -> str:
        """Give the URL of a page.

        Args:
            view_name: the name of the page; one of a blueprint is ``blueprint:name``.
            _base_url: what the path is appended to; the URL at which the worker is reached when left out.
            parts: the parts of its path that have names.

        Raises:
            ConfigurationError: there is no such page, or its path needs other parts.
        """
        base = self.web.url if _base_url is None else str(_base_url)
        return f"{base.rstrip('/')}{self.path_for(view_name, **parts)}"

    async def websocket(
        self, request: web.Request, *, heartbeat: float | None = 30.0, **options: Any
    ) -> web.WebSocketResponse:
        """Open a WebSocket: iterate over its messages with ``async for``, send by it, and return it at the end.

        It has no deadline. When the worker stops it is closed with the code 1001.

        Args:
            request: the request.
            heartbeat: seconds after which a client that is silent is asked whether it is there; ``None`` asks nobody.
            options: more of :class:`aiohttp.web.WebSocketResponse`, such as ``protocols`` and ``max_msg_size``.

        Raises:
            aiohttp.web.HTTPBadRequest: the client asks for no WebSocket.
        """
        socket = web.WebSocketResponse(heartbeat=heartbeat, **options)
        await socket.prepare(request)
        return socket

    async def read_request_content(self, request: web.Request) -> builtins.bytes:
        """Give the body of a request."""
        return await request.read()


class _Model(Protocol):
    """A class of records."""

    @classmethod
    def loads(cls, data: bytes, *, serializer: Any = None, default_serializer: Any = None) -> Any:
        """Make a record from bytes."""


Decorator = Callable[[Callable[..., Awaitable[Any]]], Callable[..., Awaitable[Any]]]


def takes_model(model: type[_Model]) -> Decorator:
    """Decorate a page that takes a record after the request: ``async def post(self, request, order)``.

    It is read from the body, which is JSON; a body that does not fit is answered with 400.

    Args:
        model: the class of the record.
    """

    def decorate(function: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        @wraps(function)
        async def reading(view: View, request: web.Request, **parts: Any) -> Any:
            try:
                given = model.loads(await view.read_request_content(request), serializer="json")
            except (StreamError, ValueError, TypeError) as error:
                raise view.ValidationError(f"The body is no {model.__name__}: {error}") from error
            return await function(view, request, given, **parts)

        return _without_model(reading, function, model)

    return decorate


def gives_model(model: type[_Model]) -> Decorator:
    """Decorate a page that returns a record, or a list of some: it is answered as JSON.

    Args:
        model: the class of the record, for whoever reads the code, and for ``/openapi.json``.
    """

    def decorate(function: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        @wraps(function)
        async def giving(view: View, request: web.Request, *given: Any, **parts: Any) -> Any:
            return view.json(await function(view, request, *given, **parts))

        described: Any = giving
        described.gives_model = model  # all records become JSON in the same way
        return giving

    return decorate


def _without_model(reading: Any, function: Callable[..., Any], model: type[_Model]) -> Callable[..., Awaitable[Any]]:
    """Let ``reading`` have the signature of ``function`` without its third argument, which the server does not give."""
    reading.takes_model = model
    signature = inspect.signature(function)
    parameters = list(signature.parameters.values())
    reading.__signature__ = signature.replace(parameters=parameters[:2] + parameters[3:])
    checked: Callable[..., Awaitable[Any]] = reading
    return checked
