"""The page with what flows where in an app: as a picture, in the language of Mermaid, or as JSON."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Sequence

from aiohttp import hdrs, web

from stream_core.engine.graph import Edge, graph_json, mermaid
from stream_web.dashboard.drawing import STYLE, drawn
from stream_web.dashboard.markup import el, svg_of

__all__ = ["GraphPage"]

_CSP = f"default-src 'none'; style-src 'sha256-{base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()}'"
"""A picture that is opened by itself has its own style sheet, and nothing else."""

_FORMATS = {"application/json": "json", "text/plain": "mermaid", "text/vnd.mermaid": "mermaid"}


class GraphPage:
    """The page ``/graph``. ``?format=svg``, ``mermaid`` or ``json`` says what it is, else the header ``Accept``; a picture by default."""

    def __init__(self, app_id: str, edges: Callable[[], Sequence[Edge]]) -> None:
        self._app_id = app_id
        self._edges = edges

    def routes(self) -> list[web.RouteDef]:
        """Give the routes of this page."""
        return [web.get("/graph", self._graph), web.get("/graph/", self._graph)]

    async def _graph(self, request: web.Request) -> web.Response:
        edges = self._edges()
        accepted = request.headers.get(hdrs.ACCEPT, "").partition(",")[0].partition(";")[0].strip()
        match request.query.get("format", _FORMATS.get(accepted, "svg")):
            case "json":
                answer = web.json_response(graph_json(edges))
            case "mermaid":
                answer = web.Response(text=mermaid(edges), content_type="text/plain")
            case "svg":
                picture = drawn(edges, f"What flows where in {self._app_id}")
                picture.insert(0, el("style", STYLE))
                headers = {"Content-Security-Policy": _CSP}
                answer = web.Response(text=svg_of(picture), content_type="image/svg+xml", headers=headers)
            case _:
                raise web.HTTPBadRequest(reason="The parameter format is svg, mermaid or json")
        answer.headers[hdrs.VARY] = hdrs.ACCEPT
        return answer
