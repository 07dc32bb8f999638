"""Pages over real sockets: functions, views, what they return and raise, blueprints, files, and other sites."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import UUID

import aiohttp
import pytest
import trustme
from aiohttp import web as aiohttp_web

from stream_core.errors import ConfigurationError
from stream_core.runs import Run
from stream_core.values.record import Record
from stream_web import (
    Blueprint,
    Forwarder,
    Health,
    Limits,
    ResourceOptions,
    View,
    Web,
    WebServer,
    gives_model,
    takes_model,
)


class Order(Record, include_metadata=False):
    """What pages take and give."""

    account: str
    amount: int = 1


@asynccontextmanager
async def serving(pages: Web, **options: Any) -> AsyncIterator[str]:
    """The URL of a server of these pages, until the end of the block."""
    given = {"bind": "127.0.0.1", "port": 0, "explicit_port": True, "app_id": "shop", "routes": []}
    server = WebServer(**{**given, "pages": pages.routes(), "forwarder": Forwarder("here"), **options})
    await server.start()
    run = Run("shop")
    server.answer_for(run, "")
    try:
        yield server.url
    finally:
        run.end()
        await server.stop()


async def ask(url: str, method: str = "GET", **options: Any) -> tuple[int, str]:
    """One request: the status and the text of the answer."""
    async with aiohttp.ClientSession() as session, session.request(method, url, **options) as response:
        return response.status, await response.text()


async def heads(url: str, method: str = "GET", **options: Any) -> tuple[int, Any]:
    """One request: the status and the headers of the answer."""
    async with aiohttp.ClientSession() as session, session.request(method, url, **options) as response:
        await response.read()
        return response.status, response.headers


@pytest.fixture
def pages() -> Web:
    """The pages of an app that has none yet."""
    return Web(object())


# -- what pages return


@pytest.mark.parametrize(
    ("value", "kind", "body"),
    [
        ("naïve", "text/plain; charset=utf-8", "naïve"),
        (b"raw", "application/octet-stream", "raw"),
        ({"a": [1, None]}, "application/json; charset=utf-8", '{"a":[1,null]}'),
        ([Order("ann", 3)], "application/json; charset=utf-8", '[{"account":"ann","amount":3}]'),
        (Order("ann"), "application/json; charset=utf-8", '{"account":"ann","amount":1}'),
        (True, "application/json; charset=utf-8", "true"),
        (0, "application/json; charset=utf-8", "0"),
        (aiohttp_web.Response(text="own", status=202), "text/plain; charset=utf-8", "own"),
    ],
    ids=str,
)
async def test_what_a_page_returns_is_the_answer(pages: Web, value: Any, kind: str, body: str) -> None:
    """Text, bytes, what can be JSON, records, and answers as they are."""

    @pages.page("/it")
    async def it(view: View, request: aiohttp_web.Request) -> Any:
        return value

    async with serving(pages) as url, aiohttp.ClientSession() as session, session.get(f"{url}/it") as response:
        assert (response.headers["Content-Type"], await response.text()) == (kind, body)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "has returned nothing: return text, bytes"),
        (object(), "has returned object, which cannot be written as JSON"),
    ],
)
async def test_what_is_no_answer_is_an_error_that_names_the_page(
    pages: Web, value: Any, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The client gets an id, under which the log has the reason once; the next request is answered."""

    @pages.page("/it/")
    async def it(view: View, request: aiohttp_web.Request) -> Any:
        return value

    async with serving(pages) as url:
        status, body = await ask(f"{url}/it/")
        assert (await ask(f"{url}/none"))[0] == 404
    assert status == 500
    (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert record.getMessage() == f"GET /it/ failed (error {body.split(chr(34))[7]})"
    assert record.exc_info is not None
    assert f"page /it/ ({__name__}.{it.__qualname__}) {reason}" in str(record.exc_info[1])


async def test_a_view_makes_answers_with_status_type_and_headers(pages: Web) -> None:
    """The first argument of a page makes them."""

    @pages.page("/{kind}")
    async def it(view: View, request: aiohttp_web.Request, kind: str) -> Any:
        make = getattr(view, kind)
        return make(
            b"x" if kind == "bytes" else "x", status=201, reason="Why", content_type="text/x", headers={"X-A": "b"}
        )

    async with serving(pages) as url, aiohttp.ClientSession() as session:
        for kind in ("text", "html", "json", "bytes", "response"):
            async with session.get(f"{url}/{kind}") as response:
                assert (response.status, response.reason, response.headers["X-A"]) == (201, "Why", "b")
                assert response.content_type == "text/x"
                assert await response.text() == ('"x"' if kind == "json" else "x")


async def test_a_page_decides_whether_its_answer_is_kept(pages: Web) -> None:
    """By default nothing keeps it."""

    @pages.page("/it")
    async def it(view: View, request: aiohttp_web.Request) -> Any:
        return view.html("<p>", headers={"Cache-Control": "max-age=60"} if request.query else None)

    async with serving(pages) as url:
        assert (await heads(f"{url}/it"))[1]["Cache-Control"] == "no-store"
        assert (await heads(f"{url}/it?kept"))[1]["Cache-Control"] == "max-age=60"


# -- what pages raise


async def test_an_error_of_a_page_is_told_to_the_client(pages: Web) -> None:
    """As JSON, with what else it has."""

    @pages.page("/{name}")
    async def it(view: View, request: aiohttp_web.Request, name: str) -> Any:
        if name == "notfound":
            return view.notfound(account="ann")
        if name == "error":
            return view.error(418, "Teapot", {"X-Tea": "green"}, cups=2)
        raise getattr(view, name)("Because", code=499 if name == "ServerError" else None, headers={"X-A": "b"}, more=1)

    async with serving(pages) as url:
        assert await ask(f"{url}/notfound") == (404, '{"error":"Not Found","account":"ann"}')
        assert await ask(f"{url}/error") == (418, '{"error":"Teapot","cups":2}')
        expected = {"ServerError": 499, "ValidationError": 400, "ParseError": 400, "NotAuthenticated": 401}
        expected |= {"AuthenticationFailed": 401, "PermissionDenied": 403, "NotFound": 404, "MethodNotAllowed": 405}
        expected |= {"NotAcceptable": 406, "UnsupportedMediaType": 415, "Throttled": 429, "ServiceUnavailable": 503}
        for name, status in expected.items():
            assert await ask(f"{url}/{name}") == (status, '{"error":"Because","more":1}')
            assert (await heads(f"{url}/{name}"))[1]["X-A"] == "b"


async def test_errors_and_redirections_of_aiohttp_pass(pages: Web) -> None:
    """With their headers."""

    @pages.page("/{name}")
    async def it(view: View, request: aiohttp_web.Request, name: str) -> Any:
        if name == "moved":
            raise aiohttp_web.HTTPFound("/there")
        raise aiohttp_web.HTTPUnauthorized(headers={"WWW-Authenticate": "Basic"})

    async with serving(pages) as url:
        status, headers = await heads(f"{url}/moved", allow_redirects=False)
        assert (status, headers["Location"]) == (302, "/there")
        status, headers = await heads(f"{url}/secret")
        assert (status, headers["WWW-Authenticate"], headers["Content-Type"]) == (
            401,
            "Basic",
            "application/json; charset=utf-8",
        )


@pytest.mark.parametrize("body", [b"{", b"\xff\xfe\xff", b""])
async def test_a_body_that_cannot_be_read_is_the_error_of_the_client(pages: Web, body: bytes) -> None:
    """It is not one of the page, whose own mistakes with JSON are."""

    @pages.page("/it")
    class It(View):
        async def post(self, request: aiohttp_web.Request) -> Any:
            return await request.json()

        async def put(self, request: aiohttp_web.Request) -> Any:
            await request.read()
            return json.loads("[")

    async with serving(pages) as url:
        status, text = await ask(f"{url}/it", "POST", data=body)
        assert (status, "The body cannot be read" in text) == (400, True)
        assert (await ask(f"{url}/it", "PUT", data=body))[0] == 500


async def test_a_body_that_is_garbled_is_the_error_of_the_client(pages: Web, caplog: pytest.LogCaptureFixture) -> None:
    """It fills no log."""

    @pages.page("/it")
    class It(View):
        async def post(self, request: aiohttp_web.Request) -> Any:
            return len(await request.read())

    async with serving(pages) as url:
        status, text = await ask(f"{url}/it", "POST", data=b"garbage", headers={"Content-Encoding": "gzip"})
        assert (status, text.startswith('{"error":"The body cannot be read: ')) == (400, True)
        packed = gzip.compress(b"x" * 100)
        assert await ask(f"{url}/it", "POST", data=packed, headers={"Content-Encoding": "gzip"}) == (200, "100")
        bomb = gzip.compress(b"x" * 10 * 1024 * 1024)
        assert (await ask(f"{url}/it", "POST", data=bomb, headers={"Content-Encoding": "gzip"}))[0] == 413
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_clients_that_break_off_fill_no_log(pages: Web, caplog: pytest.LogCaptureFixture) -> None:
    """Within a body; an error of a connection that the page itself has is logged."""
    begun, ended = asyncio.Event(), asyncio.Event()

    @pages.page("/it")
    class It(View):
        async def post(self, request: aiohttp_web.Request) -> Any:
            begun.set()
            try:
                return len(await request.read())
            finally:
                ended.set()

        async def get(self, request: aiohttp_web.Request) -> Any:
            raise ConnectionResetError("of a database")

    async with serving(pages) as url:
        _, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        writer.write(b"POST /it HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nx")
        await begun.wait()
        writer.transport.abort()
        await ended.wait()
        assert (await ask(f"{url}/it"))[0] == 500
    (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert record.getMessage().startswith("GET /it failed (error ")


async def test_an_answer_that_breaks_off_is_not_taken_for_whole(pages: Web) -> None:
    """A page that fails within its answer closes the connection."""

    @pages.page("/it")
    async def it(view: View, request: aiohttp_web.Request) -> Any:
        response = aiohttp_web.StreamResponse()
        await response.prepare(request)
        await response.write(b"x" * 10)
        raise RuntimeError("within")

    async with serving(pages) as url:
        with pytest.raises(aiohttp.ClientError):
            await ask(f"{url}/it")
        assert (await ask(f"{url}/none"))[0] == 404


# -- requests


async def test_a_page_reads_all_of_a_request(pages: Web) -> None:
    """Query, headers, cookies, forms and files."""

    @pages.page("/it")
    class It(View):
        async def post(self, request: aiohttp_web.Request) -> Any:
            form = await request.post()
            file = form["file"]
            assert isinstance(file, aiohttp_web.FileField)
            return [
                request.query["a"],
                request.headers["X-B"],
                request.cookies["c"],
                form["d"],
                file.filename,
                file.file.read().decode(),
            ]

    async with serving(pages) as url:
        form = aiohttp.FormData({"d": "4"})
        form.add_field("file", b"content", filename="e.txt")
        status, text = await ask(f"{url}/it?a=1", "POST", headers={"X-B": "2"}, cookies={"c": "3"}, data=form)
        assert (status, text) == (200, '["1","2","3","4","e.txt","content"]')


async def test_parts_of_a_path_have_the_types_of_their_annotations(pages: Web) -> None:
    """What is no such value has no page."""

    @pages.page(r"/{number}/{id}/{rest:[a-z/]+}")
    async def it(view: View, request: aiohttp_web.Request, number: int, id: UUID, rest: str) -> Any:  # noqa: A002
        return [number + 1, id.hex, rest]

    async with serving(pages) as url:
        assert await ask(f"{url}/3/{UUID(int=5)}/a/b") == (200, f'[4,"{UUID(int=5).hex}","a/b"]')
        for path in (f"x/{UUID(int=5)}/a", "3/y/a", f"3/{UUID(int=5)}/B"):
            assert (await ask(f"{url}/{path}"))[0] == 404


async def test_each_method_of_a_view_is_answered(pages: Web) -> None:
    """HEAD is GET without a body unless the view has its own; the others are not allowed."""

    class All(View):
        async def get(self, request: aiohttp_web.Request) -> Any:
            return "get"

        async def post(self, request: aiohttp_web.Request) -> Any:
            return "post"

        put = patch = delete = search = options = post

    pages.page("/all")(All)

    @pages.page("/one")
    class One(View):
        def __post_init__(self) -> None:
            self.seen = 0

        async def head(self, request: aiohttp_web.Request) -> Any:
            self.seen += 1
            return self.response(headers={"X-Seen": str(self.seen)})

    async with serving(pages) as url:
        for method in ("POST", "PUT", "PATCH", "DELETE", "SEARCH", "OPTIONS"):
            assert await ask(f"{url}/all", method) == (200, "post")
        assert await ask(f"{url}/all", "HEAD") == (200, "")
        assert (await heads(f"{url}/one", "HEAD"))[1]["X-Seen"] == "1"
        status, headers = await heads(f"{url}/one")
        assert (status, headers["Allow"]) == (405, "HEAD")


async def test_a_page_takes_and_gives_records(pages: Web) -> None:
    """What does not fit is answered with the reason."""

    @pages.page("/{n}")
    class It(View):
        @takes_model(Order)
        @gives_model(Order)
        async def post(self, request: aiohttp_web.Request, order: Order, n: int) -> Any:
            return Order(order.account, order.amount * n)

    async with serving(pages) as url:
        assert await ask(f"{url}/2", "POST", json={"account": "a", "amount": 4}) == (200, '{"account":"a","amount":8}')
        for body in (b'{"account": 3}', b"{", b"\xff", b""):
            status, text = await ask(f"{url}/2", "POST", data=body)
            assert (status, text.startswith('{"error":"The body is no Order:')) == (400, True)


async def test_a_body_above_the_bound_is_refused_before_it_has_come(pages: Web) -> None:
    """A gigabyte that is announced is not waited for, and one that is sent is not kept."""

    @pages.page("/it")
    class It(View):
        async def post(self, request: aiohttp_web.Request) -> Any:
            return len(await request.read())

    async def gigabyte() -> AsyncIterator[bytes]:
        for _ in range(1024):
            yield b"x" * 1024 * 1024

    async with serving(pages, limits=Limits(head=0.5)) as url:
        assert await ask(f"{url}/it", "POST", data=b"x" * 1024 * 1024) == (200, str(1024 * 1024))
        with suppress(aiohttp.ClientError):  # closed while it still sent
            assert (await ask(f"{url}/it", "POST", data=gigabyte()))[0] == 413
        assert await ask(f"{url}/it", "POST", data=b"x") == (200, "1")


# -- definitions


async def page(view: Any, request: Any) -> Any:
    """A page."""


@pytest.mark.parametrize(
    ("path", "what", "reason"),
    [
        ("path", page, r"its path begins with a slash: write '/path'"),
        ("/{a", page, r"parts of a path are written \{name\}"),
        ("/{a}", page, r"page cannot be called with \(view, request, a\)"),
        ("/", lambda view, request: "x", r"<lambda> is not asynchronous: write it as `async def`"),
        ("/", type("Empty", (View,), {}), r"Empty\) answers nothing: give it `async def get"),
        ("/", type("Plain", (), {}), r"is a class, and no View: write `class Plain\(View\)`"),
        ("/", type("Sync", (View,), {"get": lambda self, request: 1}), r"is not asynchronous"),
        ("/", type("Short", (View,), {"get": Health._index}), r""),
    ],
)
def test_what_cannot_be_a_page_is_refused_where_it_is_defined(pages: Web, path: str, what: Any, reason: str) -> None:
    """The message names the page and says what to write."""
    if not reason:
        pages.page(path)(what)
        return
    with pytest.raises(ConfigurationError, match=reason):
        pages.page(path)(what)
    assert not pages


def test_two_pages_of_one_path_are_refused(pages: Web) -> None:
    """Also when the parts have other names; patterns that differ make other paths."""

    async def other(view: Any, request: Any, **parts: Any) -> Any:
        """A page."""

    pages.page("/users/{name}/")(other)
    with pytest.raises(ConfigurationError, match=r"page /users/\{id\}/ .* has the path of page /users/\{name\}/"):
        pages.page("/users/{id}/")(other)
    pages.page(r"/users/{id:\d+}/")(other)
    pages.page("/users/")(page)
    with pytest.raises(ConfigurationError, match=r"has the name 'page' of page /users/ "):
        pages.page("/again/", name="page")(page)


async def test_a_page_that_comes_too_late_is_refused(pages: Web) -> None:
    """Also one of a blueprint."""
    pages.page("/it")(_it)
    async with serving(pages):
        with pytest.raises(ConfigurationError, match=r"page /users/\{name\}/ .* is defined while the web server runs"):
            pages.blueprints.add("/users", users)
    pages.blueprints.add("/users", users)


async def test_a_type_that_cannot_be_evaluated_is_named_at_the_start(pages: Web) -> None:
    """The server does not start."""

    async def it(view: Any, request: Any, n: Missing) -> Any:  # type: ignore[name-defined]  # noqa: F821
        """A page."""

    pages.page("/{n}")(it)
    with pytest.raises(ConfigurationError, match=r"page /\{n\} .*: the type of n cannot be evaluated: name 'Missing'"):
        pages.routes()


# -- names


async def test_names_give_paths_and_urls(pages: Web) -> None:
    """Parts are quoted, so that what comes back is what was given."""

    @pages.page("/users/{name}/", name="user")
    async def it(view: View, request: aiohttp_web.Request, name: str) -> Any:
        return [name, view.view_name, view.path_for("user", name=name), view.url_for("user", "http://base/", name="b")]

    pages.page(r"/files/{path:.*}", name="file")(type("F", (View,), {"get": _file}))
    assert pages.url_for("file", path="a/b c") == "/files/a/b%20c"
    with pytest.raises(ConfigurationError, match="the URL of the worker is not known: the app is not started"):
        _ = pages.url
    async with serving(pages) as url:
        path = pages.url_for("user", name="a/ä b%")
        assert await ask(f"{url}{path}") == (200, f'["a/ä b%","user","{path}","http://base/users/b/"]')
        assert View(None, pages).url_for("user", name="b") == f"{url}/users/b/"


async def _file(view: View, request: aiohttp_web.Request, path: str) -> str:
    return path


def test_a_name_that_gives_no_path_is_explained(pages: Web) -> None:
    """An unknown one, one of two pages, and parts that are not those of the path."""
    pages.page("/a/")(page)
    with pytest.raises(ConfigurationError, match="there is no page named 'b'; those of the app are: page"):
        pages.url_for("b")
    with pytest.raises(ConfigurationError, match=r"page /a/ .* needs no parts, and is given x"):
        pages.url_for("page", x=1)
    pages.page("/b/")(page)
    with pytest.raises(
        ConfigurationError, match=r"there are several pages named 'page': page /a/ .*, page /b/ .*name="
    ):
        pages.url_for("page")


# -- pages of which other workers have a part


async def test_a_request_that_nobody_can_answer_now_may_be_tried_again(pages: Web) -> None:
    """The answer says when."""

    @pages.page("/it")
    async def it(view: View, request: aiohttp_web.Request) -> Any:
        return await view.web.elsewhere(request, None)

    async with serving(pages) as url:
        status, headers = await heads(f"{url}/it")
        assert (status, headers["Retry-After"]) == (503, "1")
        assert await ask(f"{url}/it") == (503, '{"error":"The partition of this is on the move; try again"}')


# -- blueprints and files

users = Blueprint("users", url_prefix="/people")


@users.route("/{name}/", name="detail")
class Detail(View):
    """A page of a blueprint."""

    async def get(self, request: aiohttp_web.Request, name: str) -> Any:
        """Say who it is, and where."""
        return [name, self.path_for("users:detail", name=name)]


@users.route("")
async def everybody(view: View, request: aiohttp_web.Request) -> Any:
    """A page at the path of the blueprint."""
    return "all"


async def test_a_blueprint_is_put_below_a_path() -> None:
    """That of the registration, else its own; by object or by where it is."""
    for add, prefix in (
        (lambda pages: pages.blueprints.add("/users/", users), "/users"),
        (lambda pages: pages.blueprints.add("/users", f"{__name__}:users"), "/users"),
        (lambda pages: users.register(type("App", (), {"web": pages})), "/people"),
        (lambda pages: users.register(type("App", (), {"web": pages}), url_prefix="/p"), "/p"),
    ):
        pages = Web(object())
        add(pages)
        assert pages.blueprints["users"].name == "users"
        async with serving(pages) as url:
            assert await ask(f"{url}{prefix}") == (200, "all")
            assert await ask(f"{url}{prefix}/ann/") == (200, f'["ann","{prefix}/ann/"]')


def test_a_blueprint_that_cannot_be_added_is_explained(pages: Web) -> None:
    """Twice, of a path that is taken, or of a name that leads nowhere."""
    pages.blueprints.add("/users", users)
    with pytest.raises(ConfigurationError, match="there are two blueprints named 'users'"):
        pages.blueprints.add("/others", users)
    other = Blueprint("other")
    other.route("/{name}/")(Detail)
    with pytest.raises(ConfigurationError, match=r"page /users/\{name\}/ .* has the path of"):
        pages.blueprints.add("/users", other)
    with pytest.raises(ConfigurationError, match=r"'nowhere:users' cannot be imported .*write package.module:name"):
        pages.blueprints.add("/", "nowhere:users")
    with pytest.raises(ConfigurationError, match="is not a blueprint, but"):
        pages.blueprints.add("/", f"{__name__}:Order")


async def test_files_are_served_and_nothing_beside_them(pages: Web, tmp_path: Path) -> None:
    """Those of a directory and single ones, and no path leaves the directory."""
    (tmp_path / "secret").write_text("secret")
    static = tmp_path / "static"
    static.mkdir()
    (static / "app.css").write_text("p {}")
    (static / "link").symlink_to(tmp_path / "secret")
    files = Blueprint("files")
    files.static("/static/", static)
    files.static("/one", static / "app.css", name="one")
    pages.blueprints.add("/files", files)
    pages.static("/top", static)
    assert pages.url_for("files:static", filename="app.css") == "/files/static/app.css"
    async with serving(pages) as url:
        for path in ("files/static/app.css", "files/one", "top/app.css"):
            status, headers = await heads(f"{url}/{path}")
            assert (status, headers["Content-Type"], headers["Cache-Control"]) == (200, "text/css", "no-cache")
        host, port = url.removeprefix("http://").split(":")
        for path in ("../secret", "..%2fsecret", "%2e%2e/secret", "link", "static/../../secret", "/etc/passwd", ""):
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(f"GET /top/{path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
            answer = await reader.read()
            assert b"secret" not in answer.partition(b"\r\n\r\n")[2], path
            assert answer.split()[1] in (b"403", b"404"), (path, answer)
            writer.close()
    with pytest.raises(ConfigurationError, match="the files at /x cannot be served: there is no "):
        pages.static("/x", tmp_path / "nothing")


# -- the pages of the worker


async def test_a_page_takes_the_place_of_one_of_the_worker(pages: Web) -> None:
    """Where it has its path; one for all paths hides none of them."""

    @pages.page("/")
    async def index(view: View, request: aiohttp_web.Request) -> Any:
        return "mine"

    @pages.page("/{path:.*}")
    async def others(view: View, request: aiohttp_web.Request, path: str) -> Any:
        return path

    async def live(request: aiohttp_web.Request) -> aiohttp_web.Response:
        return aiohttp_web.Response(text="live")

    routes = [aiohttp_web.get("/", live), aiohttp_web.get("/health/live", live)]
    async with serving(pages, routes=routes) as url:
        assert await ask(url) == (200, "mine")
        assert await ask(f"{url}/health/live") == (200, "live")
        assert await ask(f"{url}/health") == (200, "health")


# -- other sites

ORIGIN = {"Origin": "http://other.example"}


async def test_other_sites_read_what_they_may(pages: Web, tmp_path: Path) -> None:
    """Those that the page says, else those of the app; no others."""
    (tmp_path / "font").write_text("x")
    options = ResourceOptions(allow_headers="*", allow_methods=["GET"], max_age=60)

    @pages.page("/own", cors_options={"http://other.example": options})
    async def own(view: View, request: aiohttp_web.Request) -> Any:
        return "own"

    @pages.page("/none", cors_options={})
    async def none(view: View, request: aiohttp_web.Request) -> Any:
        return "none"

    @pages.page("/all")
    class All(View):
        async def get(self, request: aiohttp_web.Request) -> Any:
            return "all"

    @pages.page("/itself")
    class Itself(View):
        async def options(self, request: aiohttp_web.Request) -> Any:
            return "itself"

        get = options

    pages.static("/static", tmp_path)
    allowed = "Access-Control-Allow-Origin"
    async with serving(pages, cors={"*": {"allow_credentials": True}}) as url:
        for path in ("own", "all", "static/font"):
            status, headers = await heads(f"{url}/{path}", headers=ORIGIN)
            assert (status, headers[allowed]) == (200, "http://other.example"), path
        assert allowed not in (await heads(f"{url}/own", headers={"Origin": "http://third.example"}))[1]
        for path in ("none", "itself"):
            assert allowed not in (await heads(f"{url}/{path}", headers=ORIGIN))[1]
        asked = ORIGIN | {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "x-a"}
        status, headers = await heads(f"{url}/own", "OPTIONS", headers=asked)
        assert (status, headers["Access-Control-Allow-Headers"], headers["Access-Control-Max-Age"]) == (
            200,
            "X-A",
            "60",
        )
        assert (await ask(f"{url}/itself", "OPTIONS", headers=asked))[1] == "itself"


async def test_pages_of_other_sites_change_nothing_on_this_machine(pages: Web) -> None:
    """A browser sends forms wherever a page tells it to: only sites that may do something with a page get there."""

    @pages.page("/it")
    class It(View):
        async def get(self, request: aiohttp_web.Request) -> Any:
            return "got"

        async def post(self, request: aiohttp_web.Request) -> Any:
            return "posted"

    async with serving(pages) as url:
        for origin, status in (("http://other.example", 403), ("null", 403), (url, 200), ("http://localhost:1", 200)):
            assert (await ask(f"{url}/it", "POST", headers={"Origin": origin}))[0] == status
            assert await ask(f"{url}/it", headers={"Origin": origin}) == (200, "got")
        assert await ask(f"{url}/it", "POST") == (200, "posted")
    for origins, status in ((["http://other.example"], 200), (["*"], 200), (["http://third.example"], 403)):
        async with serving(pages, cors={origin: {"allow_methods": ["POST"]} for origin in origins}) as url:
            assert (await ask(f"{url}/it", "POST", headers=ORIGIN))[0] == status


def test_options_for_other_sites_that_do_not_exist_are_refused(pages: Web) -> None:
    """The message names those that do."""
    with pytest.raises(
        ConfigurationError, match=r"page /it .*unexpected keyword argument 'allow'.* allow_credentials, "
    ):
        pages.page("/it", cors_options={"*": {"allow": True}})(page)


# -- TLS and sockets


async def test_pages_are_served_by_tls(pages: Web) -> None:
    """The URL says so; a client that does not speak TLS is told nothing, and the next one is answered."""
    authority = trustme.CA()
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1", "localhost").configure_cert(tls)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    pages.page("/it")(_it)
    async with serving(pages, tls=tls) as url:
        assert url.startswith("https://127.0.0.1:")
        assert await ask(f"{url}/it", ssl=trusting) == (200, "it")
        with pytest.raises(aiohttp.ClientError):
            await ask(f"{url.replace('https', 'http')}/it")
        assert await ask(f"{url}/it", ssl=trusting) == (200, "it")


async def test_a_client_that_does_not_shake_hands_is_not_waited_for(pages: Web) -> None:
    """Its connection is closed at the deadline of a head."""
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("localhost").configure_cert(tls)
    async with serving(pages, tls=tls, limits=Limits(head=0.1)) as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        assert await reader.read() == b""
        writer.close()


async def _it(view: View, request: aiohttp_web.Request) -> str:
    return "it"


async def test_pages_are_served_at_a_socket_in_a_directory(pages: Web, tmp_path: Path) -> None:
    """Any host is answered; what a killed worker has left there is replaced, and it is removed at the end."""
    path = tmp_path / "web.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    pages.page("/it")(_it)
    async with serving(pages, socket=path) as url:
        assert url == f"unix://{path}"
        there = aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path)))
        async with there, there.get("http://any.example/it") as response:
            assert await response.text() == "it"
        with pytest.raises(ConfigurationError, match=f"web_transport=unix://{path} is taken by another program"):
            async with serving(Web(object()), socket=path):
                pass
        assert path.exists()
    assert not path.exists()
    with pytest.raises(ConfigurationError, match=r"cannot listen on web_transport=unix:///nowhere/web\.sock"):
        async with serving(pages, socket=Path("/nowhere/web.sock")):
            pass


async def test_middlewares_are_put_around_pages(pages: Web) -> None:
    """Within the limits, and around what they raise."""

    @aiohttp_web.middleware
    async def loud(request: aiohttp_web.Request, handler: Any) -> aiohttp_web.StreamResponse:
        if request.headers.get("Authorization") != "Bearer s3cret":
            raise aiohttp_web.HTTPUnauthorized
        response: aiohttp_web.StreamResponse = await handler(request)
        response.headers["X-Loud"] = "yes"
        return response

    pages.page("/it")(_it)
    async with serving(pages, middlewares=[loud]) as url:
        assert await ask(f"{url}/it") == (401, '{"error": "Unauthorized"}')
        status, headers = await heads(f"{url}/it", headers={"Authorization": "Bearer s3cret"})
        assert (status, headers["X-Loud"]) == (200, "yes")
