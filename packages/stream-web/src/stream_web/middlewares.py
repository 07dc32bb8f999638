"""What holds for every request: who is answered, for how long, and what an error looks like."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from uuid import uuid4
from weakref import WeakSet

from aiohttp import WSCloseCode, hdrs, web
from aiohttp.typedefs import Middleware

from stream_core.stacks import for_its_author
from stream_web.listening import is_loopback

__all__ = ["SOCKETS", "Limits", "close_sockets", "is_websocket", "middlewares", "protect"]

logger = logging.getLogger(__name__)

STARTED = web.RequestKey("started", web.StreamResponse)
"""Where a request keeps the answer that has begun to leave."""

BUDGET = web.RequestKey("budget", asyncio.Timeout)
"""Where a request keeps the deadline of its answer."""

SOCKETS = web.AppKey("sockets", WeakSet[web.WebSocketResponse])
"""Where a server keeps the WebSockets that are open."""

SAFE = frozenset((hdrs.METH_GET, hdrs.METH_HEAD, hdrs.METH_OPTIONS))
"""Methods that change nothing; with OPTIONS a browser asks what it may do."""

FAREWELL = 1.0
"""Seconds for the clients of open WebSockets to close them when the server stops."""

_OF_BODIES = frozenset((hdrs.CONTENT_TYPE, hdrs.CONTENT_LENGTH))

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Limits:
    """What one client may take.

    Attributes:
        head: seconds for the head of a request to arrive, on a new connection or after the last answer.
        request: seconds for the rest, the body included.
        body: bytes of a body.
        line: bytes of the request line (and so of the URL), and of each header.
        connections: open connections; more are closed at once.
    """

    head: float = 10.0
    request: float = 30.0
    body: int = 1024 * 1024
    line: int = 8190
    connections: int = 512


def middlewares(
    bind: str | None, limits: Limits, hosts: Collection[str] = (), origins: Collection[str] = ()
) -> list[Middleware]:
    """Make the middlewares of a server that listens on ``bind``, the outermost first.

    Args:
        bind: the address; ``None`` for a socket in a directory, which no page of a browser reaches.
        limits: what one client may take.
        hosts: further names that it is asked by, where only this machine reaches it: those of a proxy in front, for instance.
        origins: sites that may do more than read, such as ``https://shop.example``; ``*`` for all.
    """
    known = {"localhost", "127.0.0.1", "[::1]", bind, *hosts} if bind is not None and is_loopback(bind) else set()
    allowed = {name.lower() for name in known}
    guards = [_allow_hosts(allowed), _allow_origins(allowed, origins)] if allowed else []
    return [_json_errors, *guards, _deadline(limits.request)]


async def protect(request: web.Request, response: web.StreamResponse) -> None:
    """Add the headers that every answer has."""
    response.headers[hdrs.SERVER] = "stream"
    response.headers.setdefault(
        hdrs.CACHE_CONTROL, "no-cache" if isinstance(response, web.FileResponse) else "no-store"
    )
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    request[STARTED] = response
    if isinstance(response, web.WebSocketResponse):  # it lasts as long as both sides want
        request[BUDGET].reschedule(None)
        request.app[SOCKETS].add(response)


async def close_sockets(app: web.Application) -> None:
    """Tell the clients of open WebSockets that the server goes away; within :data:`FAREWELL` seconds."""
    closing = [asyncio.ensure_future(one.close(code=WSCloseCode.GOING_AWAY)) for one in app[SOCKETS]]
    if closing:
        _, waiting = await asyncio.wait(closing, timeout=FAREWELL)
        for one in waiting:
            one.cancel()


@web.middleware
async def _json_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer errors as JSON; what went wrong inside is logged under an id, which is all that is sent of it."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        if (begun := _broken_off(request)) is not None:
            return begun
        headers = {name: value for name, value in error.headers.items() if name not in _OF_BODIES}
        return web.json_response({"error": error.reason}, status=error.status, headers=headers)
    except Exception as error:
        if isinstance(error, ConnectionError) and (request.transport is None or request.transport.is_closing()):
            logger.debug("the client of %s %s has broken off", request.method, request.path)
            return web.Response(status=400)  # that nobody gets
        number = uuid4().hex
        shown = for_its_author(error, logger)
        logger.error("%s %s failed (error %s)", request.method, request.path, number, exc_info=shown)
        if (begun := _broken_off(request)) is not None:
            return begun
        return web.json_response({"error": "Internal Server Error", "id": number}, status=500)


def _broken_off(request: web.Request) -> web.StreamResponse | None:
    """Close the connection of an answer that has begun, so that its client does not take it for whole; ``None`` when none has."""
    begun = request.get(STARTED)
    if begun is not None and request.transport is not None:
        request.transport.abort()
    return begun


def _allow_hosts(hosts: set[str]) -> Middleware:
    """Refuse names that are not ours: a page of a foreign site could have its name resolve to this machine (DNS rebinding)."""

    @web.middleware
    async def allow_hosts(request: web.Request, handler: Handler) -> web.StreamResponse:
        if _name_of(request.headers.get(hdrs.HOST, "")) not in hosts:
            raise web.HTTPForbidden(reason="This server answers to localhost only")
        return await handler(request)

    return allow_hosts


def _name_of(host: str) -> str:
    """Give the name in ``name:port``, in small letters."""
    host = host.lower()
    return host if host.endswith("]") else host.rpartition(":")[0] or host


def _allow_origins(hosts: set[str], origins: Collection[str]) -> Middleware:
    """Refuse what a page of a foreign site lets a browser on this machine do: it may send forms, and open WebSockets, to any address."""

    @web.middleware
    async def allow_origins(request: web.Request, handler: Handler) -> web.StreamResponse:
        origin = request.headers.get(hdrs.ORIGIN)
        foreign = origin is not None and _name_of(origin.partition("://")[2]) not in hosts
        safe = request.method in SAFE and not is_websocket(request)
        if foreign and not safe and not {"*", origin} & set(origins):
            raise web.HTTPForbidden(reason="Pages of other sites may not do this")
        return await handler(request)

    return allow_origins


def is_websocket(request: web.Request) -> bool:
    """Tell whether a request asks for a WebSocket."""
    return request.headers.get(hdrs.UPGRADE, "").lower() == "websocket"


def _deadline(seconds: float) -> Middleware:
    @web.middleware
    async def deadline(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            async with asyncio.timeout(seconds) as budget:
                request[BUDGET] = budget
                return await handler(request)
        except TimeoutError:
            if budget.expired():
                raise web.HTTPRequestTimeout from None
            raise

    return deadline
