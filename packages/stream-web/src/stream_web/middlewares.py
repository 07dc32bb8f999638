"""What holds for every request: who is answered, for how long, and what an error looks like."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from ipaddress import ip_address

from aiohttp import hdrs, web
from aiohttp.typedefs import Middleware

__all__ = ["Limits", "is_loopback", "middlewares", "protect"]

logger = logging.getLogger(__name__)

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


def is_loopback(bind: str) -> bool:
    """Whether only this machine reaches what listens on ``bind``."""
    try:
        return ip_address(bind).is_loopback
    except ValueError:
        return bind == "localhost"


def middlewares(bind: str, limits: Limits, hosts: Collection[str] = ()) -> list[Middleware]:
    """The middlewares of a server that listens on ``bind``, the outermost first.

    Args:
        bind: the address.
        limits: what one client may take.
        hosts: further names that it is asked by, where only this machine reaches it: those of a proxy in front, for instance.
    """
    known = {"localhost", "127.0.0.1", "[::1]", bind, *hosts} if is_loopback(bind) else set()
    allowed = {name.lower() for name in known}
    return [_json_errors, *([_allow_hosts(allowed)] if allowed else []), _deadline(limits.request)]


async def protect(request: web.Request, response: web.StreamResponse) -> None:
    """Add the headers that every answer has."""
    response.headers[hdrs.SERVER] = "stream"
    response.headers[hdrs.CACHE_CONTROL] = "no-store"
    response.headers["X-Content-Type-Options"] = "nosniff"


@web.middleware
async def _json_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer errors as JSON; what went wrong inside is logged, never sent."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        allow = {name: value for name, value in error.headers.items() if name == hdrs.ALLOW}
        return web.json_response({"error": error.reason}, status=error.status, headers=allow)
    except Exception:
        logger.exception("%s %s failed", request.method, request.path)
        return web.json_response({"error": "Internal Server Error"}, status=500)


def _allow_hosts(hosts: set[str]) -> Middleware:
    """Refuse names that are not ours: a page of a foreign site could have its name resolve to this machine (DNS rebinding)."""

    @web.middleware
    async def allow_hosts(request: web.Request, handler: Handler) -> web.StreamResponse:
        host = request.headers.get(hdrs.HOST, "").lower()
        name = host if host.endswith("]") else host.rpartition(":")[0] or host
        if name not in hosts:
            raise web.HTTPForbidden(reason="This server answers to localhost only")
        return await handler(request)

    return allow_hosts


def _deadline(seconds: float) -> Middleware:
    @web.middleware
    async def deadline(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            async with asyncio.timeout(seconds) as budget:
                return await handler(request)
        except TimeoutError:
            if budget.expired():
                raise web.HTTPRequestTimeout from None
            raise

    return deadline
