"""Caches of pages over real sockets: what is kept, for whom, for how long, and what becomes of pages and backends that fail."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from itertools import count
from typing import Any

import aiohttp
import pytest
from aiohttp import web as aiohttp_web

from stream_core.errors import ConfigurationError
from stream_core.runs import Run
from stream_core.testing import ManualClock
from stream_core.values.record import Record
from stream_web import Blueprint, Cache, CacheBackend, CacheUnavailable, View, Web, WebServer, gives_model


class Total(Record, include_metadata=False):
    """What a page gives."""

    number: int


class Shop:
    """An app, as far as pages know it, whose pages count how often they were asked."""

    def __init__(self, cache: CacheBackend | None = None) -> None:
        self.cache = CacheBackend() if cache is None else cache
        self.web = Web(self)
        self.clock = ManualClock()
        self.numbers = count(1)

    def counted(self, path: str, cache: Cache, answer: Callable[..., Any] = str, **options: Any) -> None:
        """Define a page at ``path`` that answers with what ``answer`` makes of its number."""

        @self.web.page(path)
        @cache.view(**options)
        async def counted(web: Any, request: Any, **parts: str) -> Any:
            return answer(next(self.numbers))


@asynccontextmanager
async def served(*shops: Shop, look: Any = None) -> AsyncIterator[Any]:
    """Serve shops, each in a run of its own; gives what asks one of them for a path. ``look`` is shown each answer."""
    trace = aiohttp.TraceConfig()
    if look is not None:
        trace.on_request_end.append(look)
    runs = [Run(f"shop-{number}", shop.clock) for number, shop in enumerate(shops)]
    servers = [
        WebServer(
            bind="127.0.0.1",
            port=0,
            explicit_port=True,
            app_id="shop",
            routes=[],
            pages=shop.web.routes(run.entered),
        )
        for run, shop in zip(runs, shops, strict=True)
    ]
    async with aiohttp.ClientSession(trace_configs=[trace]) as session:

        async def ask(path: str, method: str = "GET", shop: int = 0, **options: Any) -> str:
            async with session.request(method, f"{servers[shop].url}{path}", **options) as answer:
                return f"{answer.status} {await answer.text()}"

        try:
            for server in servers:
                await server.start()
            yield ask
        finally:
            for server, run in zip(servers, runs, strict=True):
                run.end()
                await server.stop()


async def test_an_answer_is_given_again() -> None:
    """By the URL with its query, until the time of the engine has passed."""
    shop = Shop()
    shop.counted("/total/{name}/", Cache(timeout=10))
    async with served(shop) as ask:
        assert [await ask("/total/a/"), await ask("/total/a/")] == ["200 1", "200 1"]
        assert [await ask("/total/b/"), await ask("/total/a/?x=1"), await ask("/total/a/")] == [
            "200 2",
            "200 3",
            "200 1",
        ]
        shop.clock.advance(9.5)
        assert await ask("/total/a/") == "200 1"
        shop.clock.advance(0.5)
        assert await ask("/total/a/") == "200 4"


async def test_without_a_timeout_an_answer_is_kept() -> None:
    """Until it is deleted, or everything is; outside of the run of the app, too."""
    shop = Shop()
    shop.counted("/", Cache())
    async with served(shop) as ask:
        await ask("/")
        shop.clock.advance(1e6)
        assert await ask("/") == "200 1"
        await shop.cache.clear()
        assert await ask("/") == "200 2"


async def test_what_is_said_at_the_page_goes_first() -> None:
    """A timedelta is a timeout, and headers of the page are those that count."""
    shop = Shop()
    shop.counted("/", Cache(timeout=10, include_headers="X-A"), timeout=timedelta(seconds=20), include_headers=["x-b"])
    async with served(shop) as ask:
        assert await ask("/", headers={"X-A": "1"}) == await ask("/", headers={"X-A": "2"}) == "200 1"
        assert await ask("/", headers={"X-B": "1"}) == "200 2"
        shop.clock.advance(15)
        assert await ask("/", headers={"x-b": "1"}) == "200 2"


async def test_all_headers() -> None:
    """``include_headers=True``."""
    shop = Shop()
    shop.counted("/", Cache(include_headers=True))
    async with served(shop) as ask:
        assert [await ask("/", headers={"X-A": one}) for one in "122"] == ["200 1", "200 2", "200 2"]


async def test_the_whole_answer_is_given_again() -> None:
    """Its reason and headers, and records as the JSON that they become."""
    shop = Shop()
    cache = Cache(include_headers="Accept")

    @shop.web.page("/html/")
    @cache.view()
    async def html(web: Any, request: Any) -> Any:
        own = {"X-Number": str(next(shop.numbers)), "Vary": "Accept"}
        return web.html("<p>naïve</p>", reason="Fine", headers=own)

    @shop.web.page("/model/")
    @cache.view()
    @gives_model(Total)
    async def model(web: Any, request: Any) -> Total:
        return Total(next(shop.numbers))

    seen = []

    async def look(session: Any, context: Any, params: aiohttp.TraceRequestEndParams) -> None:
        headers = params.response.headers
        seen.append((params.response.reason, headers["Content-Type"], headers.get("X-Number"), headers["Server"]))

    async with served(shop, look=look) as ask:
        assert await ask("/html/") == await ask("/html/") == "200 <p>naïve</p>"
        assert seen == [("Fine", "text/html; charset=utf-8", "1", "stream")] * 2
        assert await ask("/model/") == await ask("/model/") == '200 {"number":2}'
        assert seen[2] == seen[3] == ("OK", "application/json; charset=utf-8", None, "stream")


async def test_methods_have_answers_of_their_own() -> None:
    """HEAD does not answer GET, and what changes something always reaches the view."""
    shop = Shop()
    cache = Cache()

    @shop.web.page("/")
    class Numbers(View):
        @cache.view()
        async def get(self, request: Any) -> Any:
            return self.text(str(next(shop.numbers)), headers={"X-Method": request.method})

        @cache.view()
        async def post(self, request: Any) -> Any:
            return self.text(str(next(shop.numbers)))

    async with served(shop) as ask:
        assert await ask("/", "HEAD") == "200 "
        assert await ask("/") == await ask("/") == "200 2"
        assert [await ask("/", "POST"), await ask("/", "POST")] == ["200 3", "200 4"]
        assert await ask("/", "GET", data="a body") == "200 5"
        assert await ask("/", "HEAD") == "200 "
        assert next(shop.numbers) == 6


def _compressed(number: int) -> aiohttp_web.Response:
    answer = aiohttp_web.Response(text=str(number))
    answer.enable_compression()
    return answer


def _with_cookie(number: int) -> aiohttp_web.Response:
    answer = aiohttp_web.Response(text=str(number))
    answer.set_cookie("session", "secret")
    return answer


def _saying(**headers: str) -> Callable[[int], aiohttp_web.Response]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda number: aiohttp_web.Response(text=str(number), headers=named)


NOT_KEPT = {
    "status": lambda number: aiohttp_web.Response(text=str(number), status=201),
    "cookie": _with_cookie,
    "cookie as a header": _saying(Set_Cookie="a=b"),
    "no-store": _saying(Cache_Control="max-age=5, No-Store"),
    "private": _saying(Cache_Control="private"),
    "private fields": _saying(Cache_Control='private="x-own"'),
    "vary": _saying(Vary="Cookie"),
    "vary by all": _saying(Vary="*"),
    "compressed": _compressed,
    "payload": lambda number: aiohttp_web.Response(body=aiohttp.BytesPayload(str(number).encode())),
}


@pytest.mark.parametrize("kind", NOT_KEPT)
async def test_what_is_not_for_everybody_is_not_kept(kind: str) -> None:
    """Nor what is not a success, or not whole."""
    shop = Shop()
    shop.counted("/", Cache(), NOT_KEPT[kind])
    async with served(shop) as ask:
        assert [(await ask("/"))[4:], (await ask("/"))[4:]] == ["1", "2"]


async def test_a_stream_and_a_websocket_are_not_kept() -> None:
    """A page that writes its answer itself, and one that opens a WebSocket, are asked each time."""
    shop = Shop()
    cache = Cache()

    @shop.web.page("/stream/")
    @cache.view()
    async def stream(web: Any, request: Any) -> Any:
        answer = aiohttp_web.StreamResponse()
        await answer.prepare(request)
        await answer.write(str(next(shop.numbers)).encode())
        return answer

    @shop.web.page("/socket/")
    @cache.view()
    async def socket(web: Any, request: Any) -> Any:
        opened = await web.websocket(request)
        await opened.send_str(str(next(shop.numbers)))
        return opened

    async with served(shop) as ask:
        assert [await ask("/stream/"), await ask("/stream/")] == ["200 1", "200 2"]
        assert shop.cache._kept.only is not None
        assert not shop.cache._kept.only.entries


async def test_a_request_with_credentials_is_not_answered_for_others() -> None:
    """The page answers it, unless ``Authorization`` belongs to the key."""
    shop = Shop()
    shop.counted("/", Cache())
    shop.counted("/own/", Cache(include_headers=["Authorization"]))
    ann, bob = {"Authorization": "Bearer ann"}, {"Authorization": "Bearer bob"}
    async with served(shop) as ask:
        assert [await ask("/", headers=ann), await ask("/", headers=ann), await ask("/")] == ["200 1", "200 2", "200 3"]
        assert [await ask("/own/", headers=one) for one in (ann, bob, ann)] == ["200 4", "200 5", "200 4"]


async def test_names_of_the_server_do_not_share_answers() -> None:
    """What a client says in ``Host`` is in no answer for others."""
    shop = Shop()
    cache = Cache()

    @shop.web.page("/")
    @cache.view()
    async def link(web: Any, request: Any) -> str:
        return f"http://{request.host}/"

    async with served(shop) as ask:
        assert await ask("/", headers={"Host": "localhost:1"}) == "200 http://localhost:1/"
        assert await ask("/", headers={"Host": "localhost:2"}) == "200 http://localhost:2/"


async def test_a_page_that_raises_keeps_nothing() -> None:
    """Its error is answered, and the next request asks it again."""
    shop = Shop()
    cache = Cache()

    @shop.web.page("/")
    @cache.view()
    async def page(web: Any, request: Any) -> str:
        if (number := next(shop.numbers)) < 3:
            raise web.NotFound(f"attempt {number}")
        return str(number)

    async with served(shop) as ask:
        assert await ask("/") == '404 {"error":"attempt 1"}'
        assert await ask("/") == '404 {"error":"attempt 2"}'
        assert await ask("/") == await ask("/") == "200 3"


class Gate:
    """A page that waits until it is let go on."""

    def __init__(self, shop: Shop, cache: Cache) -> None:
        self.asked = asyncio.Queue[int]()
        self.go: dict[int, asyncio.Event] = {number: asyncio.Event() for number in range(1, 10)}

        @shop.web.page("/")
        @cache.view()
        async def page(web: Any, request: Any) -> str:
            number = next(shop.numbers)
            self.asked.put_nowait(number)
            await self.go[number].wait()
            if request.query.get("fail"):
                raise web.NotFound(str(number))
            return str(number)


class Watched(CacheBackend):
    """A backend that tells of each request that looks into it. It goes on to where it waits before anybody else has a turn."""

    def __init__(self) -> None:
        super().__init__()
        self.looks = asyncio.Queue[str]()

    async def get(self, key: str) -> bytes | None:
        """Look, and tell it."""
        self.looks.put_nowait(key)
        return await super().get(key)

    async def seen(self, times: int) -> None:
        """Return when so many requests have looked."""
        for _ in range(times):
            await self.looks.get()


async def test_the_page_is_asked_once() -> None:
    """Requests that come while the first one is answered wait for its answer."""
    backend, cache = Watched(), Cache()
    shop = Shop(backend)
    gate = Gate(shop, cache)
    async with served(shop) as ask, asyncio.timeout(30):
        first = asyncio.create_task(ask("/"))
        await gate.asked.get()
        others = [asyncio.create_task(ask("/")) for _ in range(3)]
        await backend.seen(4)
        gate.go[1].set()
        assert await asyncio.gather(first, *others) == ["200 1"] * 4
        assert not cache._asked


async def test_others_ask_for_themselves_when_the_first_one_fails() -> None:
    """Nobody is answered with the error of somebody else."""
    backend, cache = Watched(), Cache()
    shop = Shop(backend)
    gate = Gate(shop, cache)
    async with served(shop) as ask, asyncio.timeout(30):
        first = asyncio.create_task(ask("/?fail=1"))
        await gate.asked.get()
        other = asyncio.create_task(ask("/?fail=1"))
        await backend.seen(2)
        gate.go[1].set()
        assert await gate.asked.get() == 2
        gate.go[2].set()
        assert await first == '404 {"error":"1"}'
        assert await other == '404 {"error":"2"}'
        assert not cache._asked


async def test_others_ask_for_themselves_when_the_first_one_is_cancelled() -> None:
    """A request that is given up lets nobody wait for ever."""
    backend, cache = Watched(), Cache()
    shop = Shop(backend)
    asked = asyncio.Queue[int]()
    never = asyncio.Event()

    @cache.view()
    async def page(web: Any, request: Any) -> str:
        number = next(shop.numbers)
        asked.put_nowait(number)
        if number == 1:
            await never.wait()
        return str(number)

    tasks: list[asyncio.Task[Any]] = []

    @shop.web.page("/")
    async def outer(web: Any, request: Any) -> Any:
        task = asyncio.ensure_future(page(web, request))
        tasks.append(task)
        try:
            return await task
        except asyncio.CancelledError:
            return "given up"

    async with served(shop) as ask, asyncio.timeout(30):
        first = asyncio.create_task(ask("/"))
        await asked.get()
        other = asyncio.create_task(ask("/"))
        await backend.seen(2)
        tasks[0].cancel()
        assert [await first, await other] == ["200 given up", "200 2"]
        assert not cache._asked


async def test_what_was_not_asked_for_the_longest_goes_first() -> None:
    """A cache has room for so many entries, and for so many bytes; what is larger than all of it is not kept."""
    run = Run("shop", ManualClock())
    with run.entered():
        few = CacheBackend(entries=2)
        for key in ("a", "b"):
            await few.set(key, b"1")
        assert await few.get("a") == b"1"
        await few.set("c", b"1")
        assert [await few.get(key) for key in "abc"] == [b"1", None, b"1"]
        small = CacheBackend(size=2000)
        for key in "abc":
            await small.set(key, bytes(500))
        assert [await small.get(key) is None for key in "abc"] == [True, False, False]
        await small.set("b", bytes(1999))
        assert [await small.get(key) is None for key in "abc"] == [True, True, False]
        await small.set("c", b"shorter")
        await small.set("d", bytes(1000))
        assert await small.get("c") == b"shorter"
        await small.delete("c")
        await small.delete("c")
        assert await small.get("c") is None


async def test_each_run_keeps_its_own() -> None:
    """Two workers of one app in one process, and two apps with one blueprint, do not answer for each other; the end forgets all."""
    backend = CacheBackend()
    shops = [Shop(backend), Shop(backend)]
    blueprint = Blueprint("numbers")
    cache = blueprint.cache(timeout=60)
    numbers = count(1)

    @blueprint.route("/")
    @cache.view()
    async def page(web: Any, request: Any) -> str:
        return str(next(numbers))

    assert cache.key_prefix == "numbers"
    for shop in shops:
        shop.web.blueprints.add("/numbers", blueprint)
    async with served(*shops) as ask:
        assert [await ask("/numbers/", shop=number) for number in (0, 1, 0, 1)] == ["200 1", "200 2", "200 1", "200 2"]
    assert not backend._kept
    assert await backend.get("anything") is None
    await backend.delete("anything")
    with pytest.raises(ConfigurationError, match="cannot keep anything in the cache: the app is not started"):
        await backend.set("anything", b"1")


class Failing(CacheBackend):
    """A backend that cannot be used."""

    patience = 0.01

    def __init__(self, **failures: Any) -> None:
        super().__init__()
        self.failures = failures

    async def get(self, key: str) -> bytes | None:
        """Fail, if told to."""
        return await self.fail("get") or await super().get(key)

    async def set(self, key: str, value: bytes, timeout: Any = None) -> None:
        """Keep it, and fail, if told to."""
        await super().set(key, value, timeout)
        await self.fail("set")

    async def fail(self, what: str) -> Any:
        """Raise, hang, or give what is not an answer."""
        failure = self.failures.get(what)
        if isinstance(failure, Exception):
            raise failure
        if failure == "hangs":
            await asyncio.Event().wait()
        return failure


@pytest.mark.parametrize(
    ("failures", "said"),
    [
        ({"get": CacheUnavailable("redis is away")}, "the cache of pages cannot be used.*: redis is away"),
        ({"get": OSError("broken pipe")}, r"the cache of pages has failed.*: OSError\('broken pipe'\)"),
        ({"get": "hangs"}, r"the cache of pages has failed.*: TimeoutError\(\)"),
        ({"get": b"garbage"}, "what the cache of pages gave is not an answer"),
    ],
)
async def test_pages_answer_without_a_backend(
    failures: dict[str, Any], said: str, caplog: pytest.LogCaptureFixture
) -> None:
    """One that raises, hangs, or gives what is not an answer costs the pages their cache only; the log says it."""
    shop = Shop(Failing(**failures))
    shop.counted("/", Cache())
    with caplog.at_level(logging.WARNING, "stream_web.caches"):
        async with served(shop) as ask:
            assert [await ask("/"), await ask("/")] == ["200 1", "200 2"]
    assert re.search(said, caplog.text)


async def test_a_backend_that_keeps_and_fails(caplog: pytest.LogCaptureFixture) -> None:
    """What took effect is used."""
    shop = Shop(Failing(set=CacheUnavailable("the answer was lost")))
    shop.counted("/", Cache())
    async with served(shop) as ask:
        assert [await ask("/"), await ask("/")] == ["200 1", "200 1"]
    assert "the answer was lost" in caplog.text


async def test_a_backend_of_its_own() -> None:
    """``backend=`` takes the place of that of the app."""
    shop, own = Shop(), CacheBackend()
    shop.counted("/", Cache(backend=own))
    async with served(shop) as ask:
        await ask("/")
        assert own._kept
        assert not shop.cache._kept


@pytest.mark.parametrize("timeout", [0, -1, timedelta(0), float("nan")])
def test_a_timeout_that_keeps_nothing(timeout: Any) -> None:
    """Is refused, as are a class, a function that is not async, and a cache without room."""
    with pytest.raises(ConfigurationError, match="would keep nothing: give a positive number of seconds, or none"):
        Cache(timeout=timeout)
    with pytest.raises(ConfigurationError, match="would keep nothing"):
        Cache().view(timeout=timeout)
    with pytest.raises(ConfigurationError, match="keeps nothing: give more of both"):
        CacheBackend(entries=0)
    for page in (View, print):
        with pytest.raises(
            ConfigurationError, match="a cache is put on an async function, or on the methods of a view"
        ):
            Cache().view()(page)
