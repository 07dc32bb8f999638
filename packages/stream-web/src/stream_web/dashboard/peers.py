"""Asks the other workers of an app how they do."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import aiohttp
import msgspec

from stream_web.dashboard.views import WorkerView

__all__ = ["Peers"]

logger = logging.getLogger(__name__)

DEADLINE = 3.0
"""Seconds for another worker to answer."""

PATIENCE = 0.5
"""Seconds that whoever looks waits for answers; those that come later are shown by the next look."""

STALE = 8.0
"""Seconds after which an answer counts no more."""

AT_ONCE = 16
"""How many are asked at a time."""

LARGEST = 8 * 1024 * 1024
"""Bytes of the largest answer that is read."""

NO_URL = "tells no URL: web_bind, web_host or canonical_url make one"

_DECODER = msgspec.json.Decoder(WorkerView)


@dataclass
class _Known:
    """What is known of one worker: what it said last and when, why it did not the last time, and who asks it now."""

    view: WorkerView | None = None
    heard: float = 0.0
    trouble: str = "has not answered yet"
    asking: asyncio.Task[None] | None = None


class Peers:
    """Asks other workers at the path ``dashboard/worker``; each answer is about that worker only, so that no question goes in a circle.

    Args:
        app: id of the app: what another one answers counts for nothing.
        neighbour: gives the URL of a worker of this machine by its id, where that worker publishes none; empty when there is none.
        deadline: seconds for a worker to answer.
    """

    def __init__(
        self, app: str, neighbour: Callable[[str], str] = lambda instance: "", *, deadline: float = DEADLINE
    ) -> None:
        self._app = app
        self._neighbour = neighbour
        self._deadline = deadline
        self._known: dict[str, _Known] = {}
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._session: aiohttp.ClientSession | None = None

    async def ask(self, urls: Mapping[str, str]) -> dict[str, tuple[str, WorkerView | str]]:
        """Ask workers, and give by their ids their URLs, and what they say or why they were not heard.

        It waits half a second at most: a worker that hangs holds up nobody, and is not asked twice at a time.

        Args:
            urls: by the id of the worker where it is reached; empty when that is not known.
        """
        for instance in [one for one in self._known if one not in urls]:
            if (task := self._known.pop(instance).asking) is not None:
                task.cancel()
        found = {instance: url or self._neighbour(instance) for instance, url in urls.items()}
        waiting = []
        for instance, url in found.items():
            known = self._known.setdefault(instance, _Known())
            if not url:
                known.trouble = NO_URL
            elif known.asking is None or known.asking.done():
                known.asking = asyncio.create_task(self._ask(instance, url, known), name=f"ask worker {instance}")
            if known.asking is not None:
                waiting.append(known.asking)
        if waiting:
            await asyncio.wait(waiting, timeout=PATIENCE)
        now = time.monotonic()
        return {
            instance: (url, known.view if known.view is not None and now - known.heard < STALE else known.trouble)
            for instance, url in found.items()
            for known in (self._known[instance],)
        }

    async def _ask(self, instance: str, url: str, known: _Known) -> None:
        try:
            async with self._turns, asyncio.timeout(self._deadline):
                view = await self._get(url)
        except Exception as error:  # whatever it is, the page is about all the others, too
            known.trouble = _reason(error)
            logger.debug("worker %s is not heard at %s: %r", instance, url, error)
            return
        if view.instance != instance or view.app != self._app:
            known.trouble, known.view = "another worker answers in its place", None
        else:
            known.view, known.heard, known.trouble = view, time.monotonic(), "has not answered lately"

    async def _get(self, url: str) -> WorkerView:
        if urlsplit(url).scheme not in ("http", "https"):
            raise ValueError("its URL is none of a web server")
        if self._session is None:
            self._session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
        async with self._session.get(f"{url.rstrip('/')}/dashboard/worker", allow_redirects=False) as answer:
            if answer.status != 200:
                raise ValueError(f"answers with status {answer.status}")
            data = bytearray()
            async for chunk in answer.content.iter_any():
                data += chunk
                if len(data) > LARGEST:
                    raise ValueError("tells too much")
        return _DECODER.decode(data)

    async def close(self) -> None:
        """Ask nobody any more."""
        tasks = [known.asking for known in self._known.values() if known.asking is not None]
        self._known.clear()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=1.0)
        session, self._session = self._session, None
        if session is not None:
            await session.close()


def _reason(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "does not answer in time"
    if isinstance(error, msgspec.MsgspecError | RecursionError):
        return "has another version: it answers in a way that is not understood"
    if isinstance(error, aiohttp.ClientSSLError):
        return "has a certificate that is not trusted here"
    if isinstance(error, aiohttp.ClientConnectorError | OSError):
        return "cannot be reached"
    return str(error) if isinstance(error, ValueError) else f"breaks off: {type(error).__name__}"
