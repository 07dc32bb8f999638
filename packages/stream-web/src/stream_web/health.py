"""The pages that say how a worker does, in a word: cheap, and answered from memory."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib.metadata import version
from typing import Any

from aiohttp import hdrs, web

from stream_core.engine.snapshot import Status

__all__ = ["Health"]


class Health:
    """The pages ``/``, ``/health/live`` and ``/health/ready``.

    Args:
        app_id: id of the app.
        status: asked at each request; it must not wait.
        page: answers at ``/`` whoever takes HTML: a browser.
    """

    def __init__(
        self,
        app_id: str,
        status: Callable[[], Status],
        page: Callable[[web.Request], Awaitable[web.StreamResponse]] | None = None,
    ) -> None:
        self._app_id = app_id
        self._status = status
        self._page = page
        self._version = version("stream-web")

    def routes(self) -> list[web.RouteDef]:
        """Give the routes of these pages."""
        return [
            web.get("/", self._index),
            web.get("/health/live", self._live),
            web.get("/health/ready", self._ready),
        ]

    async def _index(self, request: web.Request) -> web.StreamResponse:
        if self._page is not None and "text/html" in request.headers.get(hdrs.ACCEPT, ""):
            answer = await self._page(request)
        else:
            status = self._status()
            shown = "ready" if status.ready else status.reason
            answer = web.json_response({"app": self._app_id, "version": self._version, "status": shown})
        answer.headers[hdrs.VARY] = hdrs.ACCEPT
        return answer

    async def _live(self, request: web.Request) -> web.Response:
        if self._status().failed:
            return web.json_response({"status": "failed"}, status=503)
        return web.json_response({"status": "live"})

    async def _ready(self, request: web.Request) -> web.Response:
        status = self._status()
        if status.ready:
            return web.json_response({"status": "ready"})
        body: dict[str, Any] = {"status": "not ready", "reason": status.reason}
        if (recovery := status.recovery) is not None:
            body["recovery"] = {
                "partitions": recovery.partitions,
                "done": recovery.done,
                "total": recovery.total,
                "per_second": round(recovery.rate),
                "seconds_left": None if recovery.left is None else round(recovery.left, 1),
            }
        return web.json_response(body, status=503)
