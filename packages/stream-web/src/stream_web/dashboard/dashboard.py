"""The routes of the dashboard: the page, its files, what it is told while it is looked at, and what other workers ask for."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from typing import Any

import msgspec
from aiohttp import hdrs, web

from stream_core.counters import Failure
from stream_core.engine.graph import Edge
from stream_core.engine.snapshot import Snapshot
from stream_core.errors import StreamError
from stream_core.primitives import TP, RawRecord
from stream_web.dashboard.letter import letter_document
from stream_web.dashboard.peers import Peers
from stream_web.dashboard.samples import PERIOD, Samples
from stream_web.dashboard.sections import FAILURES, document, parts_of
from stream_web.dashboard.views import Cluster, Worker, WorkerView, view_of

__all__ = ["CSP", "Dashboard"]

logger = logging.getLogger(__name__)

CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""What a browser may load for the page: its own style sheets and script, and nothing from elsewhere."""

LASTS = 20.0
"""Seconds after which a stream of events ends, and the browser asks for the next one: shorter than the deadline of a request."""

WATCHERS = 50
"""How many may be told at a time."""

LATER = {"Retry-After": "10"}

FindLetter = Callable[[Failure], Awaitable[tuple[TP, RawRecord] | None]]
"""Finds the letter of an event that failed, and where it is."""

_TYPES = {"css": "text/css", "js": "text/javascript"}


@dataclass(frozen=True)
class _Look:
    """What was written at one moment."""

    at: float
    parts: dict[str, str]


class Dashboard:
    """Shows what all workers of an app do.

    Args:
        app_id: id of the app.
        snapshot: gives the snapshot of this worker; it must not wait.
        peers: asks the others.
        edges: gives what flows where.
        settings: gives rows with ``name``, ``value`` and ``source``, in which credentials are masked.
        url: gives where this worker listens, which is shown where it publishes nothing.
        letter: finds the dead letter of an event that failed.
        watchers: how many may be told at a time.
        samples: the last minutes of this worker, where somebody has kept them before.
    """

    def __init__(
        self,
        app_id: str,
        snapshot: Callable[[], Snapshot],
        peers: Peers,
        *,
        edges: Callable[[], Sequence[Edge]] = tuple,
        settings: Callable[[], Iterable[Any]] = tuple,
        url: Callable[[], str] = str,
        letter: FindLetter | None = None,
        watchers: int = WATCHERS,
        samples: Samples | None = None,
    ) -> None:
        self._app_id = app_id
        self._snapshot = snapshot
        self._peers = peers
        self._edges = edges
        self._settings = settings
        self._url = url
        self._letter = letter
        self._version = version("stream-web")
        self._samples = Samples() if samples is None else samples
        self._closing = asyncio.Event()
        self._turn = asyncio.Lock()
        self._last: _Look | None = None
        self._watchers = 0
        self._most = watchers

    def routes(self) -> list[web.RouteDef]:
        """Give the routes of the dashboard, but for ``/``."""
        return [
            web.get("/dashboard", self._to_page),
            web.get("/dashboard/", self._at_its_own_path),
            web.get("/dashboard/events", self._events, allow_head=False),
            web.get("/dashboard/worker", self._worker),
            web.get("/dashboard/{file:dashboard.css|graph.css|dashboard.js}", self._file),
        ]

    def join(self, app: web.Application) -> None:
        """Run as long as the application of a server does."""
        app.cleanup_ctx.append(self._run)
        app.on_shutdown.append(self._close)

    async def _run(self, app: web.Application) -> AsyncIterator[None]:
        """Take samples while the server runs."""
        sampling = asyncio.create_task(self._samples.keep(self._snapshot), name="samples of the dashboard")
        yield
        sampling.cancel()
        with suppress(asyncio.CancelledError):
            await sampling
        await self._peers.close()

    async def _close(self, app: web.Application) -> None:
        """End the streams of events, so that the stop of the server does not wait for them."""
        self._closing.set()

    async def page(self, request: web.Request, base: str = "dashboard/") -> web.Response:
        """Answer with the page.

        Args:
            request: the request.
            base: where its files are, seen from the page.
        """
        if "offset" in request.query:
            return await self._letter_page(request, base)
        look = await self._look()
        text = await asyncio.to_thread(document, self._app_id, look.parts, list(self._settings()), base)
        return web.Response(text=text, content_type="text/html", headers=_protected())

    async def _letter_page(self, request: web.Request, base: str) -> web.Response:
        """Show the dead letter of an event that is among the recent failures: no other record can be read by this page."""
        asked = request.query
        place = tuple(asked.get(name) for name in ("agent", "topic", "partition", "offset"))
        failures = (await self._cluster()).failures(FAILURES)
        failure = next(
            (
                one
                for _, one in failures
                if one.action == "dead_letter" and (one.reader, one.topic, str(one.partition), str(one.offset)) == place
            ),
            None,
        )
        found, trouble = None, ""
        if failure is None:
            trouble = "This event is not among the recent failures; the command below lists all letters."
        elif self._letter is not None:
            try:
                found = await self._letter(failure)
            except StreamError as error:
                trouble = f"The letter cannot be read now: {error}"
        text = await asyncio.to_thread(letter_document, self._app_id, failure, found, trouble, base)
        return web.Response(
            text=text, status=404 if failure is None else 200, content_type="text/html", headers=_protected()
        )

    async def _to_page(self, request: web.Request) -> web.Response:
        return web.Response(status=308, headers={hdrs.LOCATION: "dashboard/"})

    async def _at_its_own_path(self, request: web.Request) -> web.Response:
        return await self.page(request, "")

    async def _file(self, request: web.Request) -> web.Response:
        name = request.match_info["file"]
        text = files("stream_web.dashboard").joinpath(f"static/{name}").read_text(encoding="utf-8")
        return web.Response(text=text, content_type=_TYPES[name.rpartition(".")[2]])

    async def _worker(self, request: web.Request) -> web.Response:
        return web.Response(body=msgspec.json.encode(self._view(self._snapshot())), content_type="application/json")

    async def _events(self, request: web.Request) -> web.StreamResponse:
        """Tell which parts of the page have changed, until the time of one stream is over.

        A client that does not read holds up this stream only, in which nothing is kept for it: it is told what is true when it reads
        again, or its connection ends with the deadline of requests.
        """
        if self._watchers >= self._most:
            raise web.HTTPServiceUnavailable(reason="Too many look at the dashboard; try again", headers=LATER)
        self._watchers += 1
        try:
            response = web.StreamResponse(headers={**_protected(), hdrs.CONTENT_TYPE: "text/event-stream"})
            response.headers["X-Accel-Buffering"] = "no"  # a proxy must not wait for more
            await response.prepare(request)
            await response.write(b"retry: 1000\n\n")
            known: dict[str, str] = {}
            clock = asyncio.get_running_loop().time
            end = clock() + LASTS
            while not self._closing.is_set() and clock() < end:
                parts = (await self._look()).parts
                changed = {name: part for name, part in parts.items() if known.get(name) != part}
                known = parts
                await response.write(f"event: parts\ndata: {json.dumps(changed)}\n\n".encode())
                with suppress(TimeoutError):
                    async with asyncio.timeout(PERIOD):
                        await self._closing.wait()
            return response
        finally:
            self._watchers -= 1

    def _view(self, snapshot: Snapshot) -> WorkerView:
        return view_of(snapshot, self._version, self._samples.all, self._samples.rates())

    async def _look(self) -> _Look:
        """Write the parts of the page, at most once in a period however many look at it."""
        clock = asyncio.get_running_loop().time
        async with self._turn:
            if self._last is None or clock() - self._last.at >= PERIOD * 0.9:
                cluster = await self._cluster()
                # In a thread: with many partitions it takes a while, and agents share the event loop.
                parts = await asyncio.to_thread(parts_of, cluster, tuple(self._edges()))
                self._last = _Look(clock(), parts)
            return self._last

    async def _cluster(self) -> Cluster:
        snapshot = self._snapshot()
        here = self._view(snapshot)
        urls = {one.instance: one.url for one in snapshot.owners if one.instance}
        urls |= {one.instance: one.url for one in snapshot.members if one.instance}
        own = urls.pop(snapshot.instance, "") or snapshot.url or self._url()
        others = await self._peers.ask(urls)
        instances = sorted({snapshot.instance, *others})
        numbers = {instance: number for number, instance in enumerate(instances, 1)}
        workers = []
        for instance, number in numbers.items():
            if instance == snapshot.instance:
                workers.append(Worker(number, instance, own, here, "", here=True))
                continue
            url, told = others[instance]
            view, trouble = (None, told) if isinstance(told, str) else (told, "")
            workers.append(Worker(number, instance, url, view, trouble, here=False))
        owners: dict[str, dict[int, int]] = {}
        for one in snapshot.owners:
            owners.setdefault(one.topic, {})[one.partition] = numbers.get(one.instance, 0)
        return Cluster(self._app_id, tuple(workers), owners, snapshot.owners_settled, here)


def _protected() -> dict[str, str]:
    return {
        "Content-Security-Policy": CSP,
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Opener-Policy": "same-origin",
    }
