"""Caches: what a page has answered is answered again for a while, without asking the page."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection
from datetime import timedelta
from functools import wraps
from typing import Any, ClassVar, NamedTuple, TypeVar

import msgspec
from aiohttp import hdrs, web

from stream_core.agents.chores import seconds_of
from stream_core.errors import ConfigurationError, StreamError
from stream_core.runs import PerRun, Run, current_clock, current_run
from stream_web.middlewares import is_websocket
from stream_web.responses import answer_of

__all__ = ["Cache", "CacheBackend", "CacheUnavailable"]

logger = logging.getLogger(__name__)

P = TypeVar("P", bound=Callable[..., Any])

Seconds = float | timedelta | None

Named = bool | str | Collection[str]

MIB = 1024 * 1024

OVERHEAD = 256
"""Bytes that an answer is taken to need in memory beside its key and itself."""

_PRIVATE = frozenset(("no-store", "no-cache", "private"))
"""What ``Cache-Control`` says of an answer that is not for everybody, or not for later."""


class CacheUnavailable(StreamError):  # noqa: N818 - the name is Faust's
    """A cache cannot be used now: raised by backends of your own. The page answers by itself."""


class _Entry(NamedTuple):
    value: bytes
    until: float | None
    size: int


class _Kept:
    """What one run keeps."""

    def __init__(self) -> None:
        self.entries: OrderedDict[str, _Entry] = OrderedDict()
        self.size = 0

    def remove(self, key: str) -> None:
        if (entry := self.entries.pop(key, None)) is not None:
            self.size -= entry.size


class CacheBackend:
    """Keeps the answers of pages in the memory of a worker, from its start to its end. When there is no more room, what was not asked for
    the longest goes first.

    Override ``get``, ``set`` and ``delete`` to keep them elsewhere. Whatever these raise, and where they do not answer within a second, the
    page answers by itself.

    Args:
        entries: how many answers are kept.
        size: bytes of all of them.

    Attributes:
        patience: seconds for it to answer: a page does not wait longer for what is to save it time.
    """

    patience: ClassVar[float] = 1.0

    def __init__(self, *, entries: int = 10_000, size: int = 64 * MIB) -> None:
        if entries < 1 or size < 1:
            raise ConfigurationError(f"a cache of {entries} entries and {size} bytes keeps nothing: give more of both")
        self._most, self._largest = entries, size
        self._kept = PerRun[_Kept]()

    async def get(self, key: str) -> bytes | None:
        """Give what is kept under a key; ``None`` when there is nothing, or no longer."""
        kept = self._own()
        entry = None if kept is None else kept.entries.get(key)
        if kept is None or entry is None:
            return None
        if entry.until is not None and current_clock().monotonic() >= entry.until:
            kept.remove(key)
            return None
        kept.entries.move_to_end(key)
        return entry.value

    async def set(self, key: str, value: bytes, timeout: Seconds = None) -> None:
        """Keep something. What is larger than the whole cache is not kept.

        Args:
            key: what it is asked for by.
            value: the bytes.
            timeout: seconds after which it is forgotten; when left out, as soon as its room is needed.

        Raises:
            ConfigurationError: no app runs that it could be kept for.
        """
        if (kept := self._own()) is None:
            kept = self._kept.find("cannot keep anything in the cache")
        kept.remove(key)
        until = None if timeout is None else current_clock().monotonic() + seconds_of(timeout)
        entry = _Entry(value, until, len(key) + len(value) + OVERHEAD)
        if entry.size > self._largest:
            return
        kept.entries[key] = entry
        kept.size += entry.size
        while kept.size > self._largest or len(kept.entries) > self._most:
            kept.remove(next(iter(kept.entries)))

    async def delete(self, key: str) -> None:
        """Forget what is kept under a key."""
        if (kept := self._own()) is not None:
            kept.remove(key)

    async def clear(self) -> None:
        """Forget everything."""
        if (kept := self._own()) is not None:
            kept.entries.clear()
            kept.size = 0

    def _own(self) -> _Kept | None:
        """Give what is kept in the run of this task, else in the only run; ``None`` outside of runs while nothing is."""
        run = current_run()
        if run is None:
            return self._kept.find("cannot use the cache") if self._kept else None
        if (kept := self._kept.of(run)) is None:
            kept = _Kept()
            self._kept.bind(run, kept)
        return kept


class Cache:
    """Lets pages answer from a cache.

    Args:
        timeout: seconds, or a timedelta, for which an answer is kept; as long as there is room for it when left out.
        include_headers: headers of a request whose values make a difference to the answer, or ``True`` for all of them.
        key_prefix: begins the keys, such as the name of a part of the project.
        backend: what keeps the answers; ``app.cache`` when left out.

    Example::

        cache = Cache(timeout=60)

        @app.page("/report/")
        @cache.view()
        async def report(web, request): ...
    """

    def __init__(
        self,
        timeout: Seconds = None,
        include_headers: Named = False,
        key_prefix: str | None = None,
        backend: CacheBackend | None = None,
    ) -> None:
        self.timeout = _checked(timeout)
        self.include_headers = include_headers
        self.key_prefix = key_prefix
        self.backend = backend
        self._asked: dict[tuple[Run | None, str], asyncio.Future[bytes | None]] = {}

    def view(
        self, timeout: Seconds = None, include_headers: Named | None = None, key_prefix: str | None = None
    ) -> Callable[[P], P]:
        """Decorate a page, or a method of a view: below ``@app.page``, so that it is this one that is asked.

        GET and HEAD are answered from the cache, each of its own, by the URL with its query. Kept are answers of status 200 that are
        whole, and for everybody: not those that set a cookie, say ``Cache-Control: no-store``, ``no-cache`` or ``private``, or ``Vary`` by
        a header that is not included. Requests with a body or with ``Authorization`` are answered by the page, the latter unless that
        header is included. Of several requests for what is not kept yet, the first asks the page, and the others wait for its answer.

        Args:
            timeout: as for the class.
            include_headers: as for the class.
            key_prefix: as for the class.

        Raises:
            ConfigurationError: the timeout is not positive, or what is decorated is not an async function.
        """
        kept_for = self.timeout if timeout is None else _checked(timeout)
        names = self.include_headers if include_headers is None else include_headers
        prefix = self.key_prefix if key_prefix is None else key_prefix

        def decorate(page: P) -> P:
            if isinstance(page, type) or not inspect.iscoroutinefunction(page):
                raise ConfigurationError(f"{page!r}: a cache is put on an async function, or on the methods of a view")

            @wraps(page)
            async def cached(view: Any, request: web.Request, *given: Any, **parts: Any) -> Any:
                async def ask() -> web.StreamResponse:
                    return answer_of(await page(view, request, *given, **parts), view, f"page {view.view_path}")

                wanted = _wanted(request, names)
                if wanted is None:
                    return await ask()
                backend = view.app.cache if self.backend is None else self.backend
                return await self._answer(backend, _key(request, prefix, wanted), wanted, kept_for, ask)

            checked: Any = cached
            return checked  # type: ignore[no-any-return]

        return decorate

    async def _answer(
        self,
        backend: CacheBackend,
        key: str,
        wanted: Collection[str],
        timeout: Seconds,
        ask: Callable[[], Awaitable[web.StreamResponse]],
    ) -> web.StreamResponse:
        """Answer from the cache; what is not there is asked once, and by everybody where the first one gets nothing to keep."""
        mark = current_run(), key
        found = await _try(backend, backend.get(key))
        if found is None and (first := self._asked.get(mark)) is not None:
            found = await asyncio.shield(first)
        if (known := _unpacked(found)) is not None:
            return known
        if mark in self._asked:
            return await ask()
        asked = self._asked[mark] = asyncio.get_running_loop().create_future()
        try:
            answer = await ask()
            packed = _packed(answer, wanted)
            asked.set_result(packed)
            if packed is not None:
                await _try(backend, backend.set(key, packed, timeout))
            return answer
        finally:
            del self._asked[mark]
            if not asked.done():
                asked.set_result(None)


async def _try(backend: CacheBackend, call: Awaitable[bytes | None]) -> bytes | None:
    """Await the call of a backend; one that fails gives nothing, and the log says it."""
    try:
        async with asyncio.timeout(backend.patience):
            return await call
    except CacheUnavailable as error:
        logger.warning("the cache of pages cannot be used, and they answer by themselves: %s", error)
    except Exception as error:
        logger.warning("the cache of pages has failed, and they answer by themselves: %r", error, exc_info=error)
    return None


def _checked(timeout: Seconds) -> float | None:
    if timeout is None:
        return None
    if not (seconds := seconds_of(timeout)) > 0:
        raise ConfigurationError(f"timeout={timeout!r} would keep nothing: give a positive number of seconds, or none")
    return seconds


def _wanted(request: web.Request, names: Named) -> Collection[str] | None:
    """Give the headers that belong to the key of a request, in small letters; ``None`` for what is left to its page."""
    if request.method not in (hdrs.METH_GET, hdrs.METH_HEAD) or request.body_exists or is_websocket(request):
        return None
    if isinstance(names, bool):
        names = request.headers if names else ()
    wanted = {name.lower() for name in ((names,) if isinstance(names, str) else names)}
    if hdrs.AUTHORIZATION in request.headers and hdrs.AUTHORIZATION.lower() not in wanted:
        return None
    return wanted


def _key(request: web.Request, prefix: str | None, wanted: Collection[str]) -> str:
    """Make the key: lines, as no part of a request has a line break in it."""
    url = f"{request.scheme}://{request.host}{request.rel_url.raw_path_qs}"
    values = (f"{name}: {value}" for name in sorted(wanted) for value in request.headers.getall(name, ()))
    return "\n".join((prefix or "", request.method, url, *values))


def _packed(answer: web.StreamResponse, wanted: Collection[str]) -> bytes | None:
    """Pack an answer as bytes; ``None`` for one that is not kept."""
    if not isinstance(answer, web.Response) or answer.status != 200 or answer.prepared or answer.compression:
        return None
    body = b"" if answer.body is None else answer.body
    if not isinstance(body, bytes | bytearray) or answer.cookies or hdrs.SET_COOKIE in answer.headers:
        return None
    if _words(answer, hdrs.CACHE_CONTROL) & _PRIVATE or not _words(answer, hdrs.VARY) <= set(wanted):
        return None
    headers = [(str(name), str(value)) for name, value in answer.headers.items()]
    return msgspec.msgpack.encode((answer.reason, headers, body))


def _words(answer: web.Response, header: str) -> set[str]:
    """Give what a header lists, in small letters, without what stands after ``=``."""
    listed = ",".join(answer.headers.getall(header, ())).lower().split(",")
    return {word for part in listed if (word := part.partition("=")[0].strip())}


def _unpacked(packed: bytes | None) -> web.Response | None:
    """Make the answer of :func:`_packed` again; ``None`` where there is none, or what is not an answer."""
    if packed is None:
        return None
    try:
        reason, headers, body = msgspec.msgpack.decode(packed, type=tuple[str, list[tuple[str, str]], bytes])
    except msgspec.DecodeError as error:
        logger.warning("what the cache of pages gave is not an answer, and the page answers by itself: %s", error)
        return None
    return web.Response(body=body, reason=reason, headers=headers)
