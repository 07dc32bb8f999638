"""What is counted of HTTP requests, and what sensors hear of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Middleware

from stream_core.counters import Counters
from stream_core.sensors import Sensors

__all__ = ["watching"]


def watching(counters: Counters, sensors: Sensors, app: Any) -> Middleware:
    """Make the middleware that counts answers and the time they took, and tells sensors."""

    @web.middleware
    async def watch(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        started, view = monotonic(), request.match_info.handler
        begun = sensors.begin("on_web_request_start", app, request, view=view)
        response: web.StreamResponse | None = None
        status = 0  # of one that the client has broken off
        try:
            response = await handler(request)
            status = response.status
            return response
        except web.HTTPException as error:  # a page says so with it
            status = error.status
            raise
        finally:
            counters.requests.add(monotonic() - started)
            counters.answers[status] += 1
            sensors.end("on_web_request_end", begun, lambda state: (app, request, response, state), view=view)

    return watch
