"""Pages of running apps: what they do with the app, and how they find the worker that has a key."""

from __future__ import annotations

import asyncio
import gzip
import logging
import re
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count as count_from
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import pytest
import trustme
from aiohttp.web import middleware

import stream_app as faust
from stream_app.running.routing import Destination, Router, key_of
from stream_app.web import Blueprint, View
from stream_app.web.cache import Cache, CacheBackend
from stream_core.errors import ConfigurationError
from stream_core.primitives import TP
from stream_core.testing import ManualClock
from stream_web import Forwarder
from stream_web.forwarding import FORWARDED

from .apps import make, until


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


async def ask(url: str, method: str = "GET", **options: Any) -> tuple[int, Any]:
    """One request: the status and the JSON of the answer."""
    async with aiohttp.ClientSession() as session, session.request(method, url, **options) as response:
        return response.status, await response.json()


def counting(**options: Any) -> faust.App:
    """An app that counts words, with pages."""
    app = make(**{"web_enabled": True, "web_port": free_port(), **options})
    words = app.topic("words", key_type=str, value_type=str, partitions=4)
    counts = app.Table("counts", default=int, key_type=str, value_type=int)

    @app.agent(words, name="count")
    async def count(stream: Any) -> AsyncIterator[int]:
        async for word in stream:
            counts[word] += 1
            yield counts[word]

    @app.page("/count/{word}/")
    @app.table_route(counts, match_info="word")
    async def get_count(web: View, request: Any, word: str) -> Any:
        return {"word": word, "count": counts[word], "port": app.engine.host.url}

    @app.page("/count/")
    class Count(View):
        """Counts by a parameter, and by a body."""

        @app.table_route(counts, query_param="word")
        async def get(self, request: Any) -> Any:
            return counts[request.query["word"]]

        @app.topic_route(words, "word")
        async def post(self, request: Any) -> Any:
            return [
                await request.json(),
                request.headers["X-Mine"],
                request.headers.getall("X-Two"),
                app.engine.host.url,
            ]

    @app.page("/add/{word}/")
    async def add(web: View, request: Any, word: str) -> Any:
        return await count.ask(word, key=word)

    @app.page("/send/{word}/")
    async def send(web: View, request: Any, word: str) -> Any:
        return (await (await words.send(word, key=word))).partition

    return app


# -- what pages do


async def test_a_page_sends_asks_and_reads_tables() -> None:
    """It belongs to the worker that serves it."""
    app = counting()
    async with app:
        assert await ask(f"{app.web.url}/add/rose/") == (200, 1)
        partition = (await ask(f"{app.web.url}/send/rose/"))[1]
        assert partition in range(4)
        await until(lambda: app.tables["counts"]["rose"] == 2)
        assert await ask(f"{app.web.url}/count/rose/") == (200, {"word": "rose", "count": 2, "port": ""})
        assert await ask(f"{app.web.url}/count/?word=rose") == (200, 2)


async def test_a_page_that_raises_or_writes_a_table_fails_alone(caplog: pytest.LogCaptureFixture) -> None:
    """Its client gets an id, the log one record with it, and events go on."""
    app = counting()

    @app.page("/write/")
    async def write(web: View, request: Any) -> Any:
        app.tables["counts"]["rose"] = 1
        return "done"

    async with app:
        code, answer = await ask(f"{app.web.url}/write/")
        assert (code, answer) == (500, {"error": "Internal Server Error", "id": answer["id"]})
        assert await ask(f"{app.web.url}/add/rose/") == (200, 1)
    (record,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert answer["id"] in record.getMessage()
    assert "cannot be changed outside of an event" in caplog.text


async def test_slow_clients_hold_up_neither_events_nor_pages() -> None:
    """Hundreds of them that send half a head, or half a body."""
    app = counting()
    async with app, AsyncExitStack() as stack:
        for number in range(400):
            _, writer = await asyncio.open_connection("127.0.0.1", app.conf.web_port)
            stack.callback(writer.close)
            head = b"POST /count/?word=rose HTTP/1.1\r\nHost: localhost\r\n"
            writer.write(head + (b"Content-Length: 1000000\r\n\r\nx" if number % 2 else b"X-Slow: "))
        for count in range(1, 20):
            assert await ask(f"{app.web.url}/add/rose/") == (200, count)


async def test_pages_are_not_defined_while_the_app_runs() -> None:
    """They would have no effect."""
    app = counting()
    async with app:
        with pytest.raises(ConfigurationError, match="page /late/ is defined while app shop runs"):
            app.page("/late/")(_page)


async def _page(web: Any, request: Any) -> Any:
    """A page."""


async def test_pages_without_a_web_server_are_said_to_be_unserved(caplog: pytest.LogCaptureFixture) -> None:
    """The app runs all the same."""
    caplog.set_level(logging.INFO)
    async with counting(web_enabled=False):
        pass
    assert "the pages of shop are not served: web_enabled is false" in caplog.text


async def test_a_client_serves_no_pages() -> None:
    """It only sends and asks."""
    app = counting()
    await app.start_client()
    with pytest.raises(ConfigurationError, match="the URL of the worker is not known"):
        _ = app.web.url
    await app.stop()


async def test_an_app_serves_its_pages_again_after_a_stop() -> None:
    """At its port, and with what is canonical in URLs."""
    app = counting(canonical_url="https://proxy.example/shop")
    for _ in range(2):
        async with app:
            assert app.web.url == "https://proxy.example/shop"
            assert (await ask(f"http://127.0.0.1:{app.conf.web_port}/send/rose/"))[0] == 200


# -- settings


async def test_settings_reach_the_server(tmp_path: Path) -> None:
    """Bodies, middlewares, other sites and a socket."""
    path = tmp_path / "web.sock"

    @middleware
    async def named(request: Any, handler: Any) -> Any:
        response = await handler(request)
        response.headers["X-Named"] = "yes"
        return response

    app = make(
        web_enabled=True,
        web_transport=f"unix://{path}",
        web_cors_options='{"*": {"allow_credentials": true}}',
        web_application_options={"client_max_size": 10, "middlewares": [named]},
    )

    @app.page("/it")
    class It(View):
        """Reads a body."""

        async def post(self, request: Any) -> Any:
            """Give its size."""
            return len(await request.read())

    async with app, aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as session:
        for size, status in ((10, 200), (11, 413)):
            async with session.post("http://shop/it", data=b"x" * size, headers={"Origin": "http://a"}) as response:
                assert response.status == status
                assert response.headers["Access-Control-Allow-Origin"] == "http://a"
                assert ("X-Named" in response.headers) == (status == 200)


async def test_who_reaches_the_socket_sees_what_this_machine_sees(tmp_path: Path) -> None:
    """Nobody on the network does, whatever web_bind says: the pages of a worker are there, and no setting has to ask for them."""
    path = tmp_path / "web.sock"
    app = counting(web_transport=f"unix://{path}", web_bind="0.0.0.0")
    async with app, aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as session:
        for page in ("/table", "/router", "/stats", "/dashboard/"):
            async with session.get(f"http://shop{page}") as response:
                assert response.status == 200, page


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("web_transport", "http://", "write tcp://, with web_bind and web_port beside it, or unix:///path"),
        ("web_transport", "unix://web.sock", "write tcp://"),
        ("web_transport", "tcp://0.0.0.0:80", "write tcp://"),
        ("web_application_options", {"debug": True}, "debug cannot be set: it takes client_max_size and middlewares"),
        ("web_application_options", {"client_max_size": 0}, "client_max_size is a number of bytes, 1 or more"),
        ("web_ssl_context", "cert.pem", "it is not an ssl.SSLContext"),
        ("web_cors_options", "[", ""),
    ],
)
def test_settings_that_cannot_be_used_are_refused(name: str, value: Any, reason: str) -> None:
    """The message names the setting."""
    with pytest.raises(ConfigurationError, match=f"{name}=.* cannot be used: .*{reason}"):
        make(**{name: value})


async def test_options_for_other_sites_are_checked_at_the_start() -> None:
    """Names that do not exist would allow nothing."""
    app = counting(web_cors_options={"*": {"allow": True}})
    with pytest.raises(ConfigurationError, match="web_cors_options: the options for other sites cannot be used"):
        await app.start()


async def test_workers_that_speak_tls_tell_https() -> None:
    """Others pass requests on by it."""
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("localhost").configure_cert(tls)
    app = counting(web_ssl_context=tls, web_host="localhost")
    async with app:
        assert app.web.url == app.engine.host.url == f"https://localhost:{app.conf.web_port}"


# -- who has a key


@asynccontextmanager
async def two() -> AsyncIterator[list[faust.App]]:
    """Two workers of one group that have shared out its partitions."""
    broker = f"memory://{uuid4().hex}"
    apps = [counting(broker=broker, web_host="localhost") for _ in range(2)]
    async with apps[0], apps[1]:
        await until(lambda: all(len(app.engine.snapshot().partitions) == 2 for app in apps))
        yield apps


WORDS = [f"word-{number}" for number in range(12)]


async def test_each_worker_answers_for_every_key() -> None:
    """One passes on what the other has, with body and headers, and the answer comes back as it is."""
    async with two() as apps:
        for word in WORDS:
            assert (await ask(f"{apps[0].web.url}/add/{word}/"))[1] == 1
        answers = [[await ask(f"{app.web.url}/count/{word}/") for word in WORDS] for app in apps]
        assert answers[0] == answers[1]
        assert [code for code, _ in answers[0]] == [200] * len(WORDS)
        assert {answer["port"] for _, answer in answers[0]} == {app.web.url for app in apps}
        assert all(answer["count"] == 1 for _, answer in answers[0])
        for word in WORDS:
            headers = [("X-Mine", "a"), ("X-Two", "b"), ("X-Two", "c")]
            posted = [
                await ask(f"{app.web.url}/count/?word={word}", "POST", json=[word], headers=headers) for app in apps
            ]
            owner = next(answer["port"] for _, answer in answers[0] if answer["word"] == word)
            assert posted == [(200, [[word], "a", ["b", "c"], owner])] * 2
            packed = gzip.compress(b"[1]")
            given = {"X-Mine": "a", "X-Two": "b", "Content-Encoding": "gzip"}
            for app in apps:
                posted = [await ask(f"{app.web.url}/count/?word={word}", "POST", data=packed, headers=given)]
                assert posted == [(200, [[1], "a", ["b"], owner])]


async def test_a_request_is_passed_on_once() -> None:
    """A second worker that does not have the key says so, instead of passing it on in a circle."""
    async with two() as apps:
        answers = [await ask(f"{apps[0].web.url}/count/{word}/", headers={FORWARDED: "other"}) for word in WORDS]
        assert {code for code, _ in answers} == {200, 503}


async def test_a_request_without_a_key_is_the_error_of_the_client() -> None:
    """The answer names what is missing."""
    app = counting()
    async with app:
        assert await ask(f"{app.web.url}/count/") == (400, {"error": "The parameter word is missing"})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "is said by one of query_param=, match_info= and exact_key="),
        ({"match_info": "a", "query_param": "b"}, "is said by one of query_param=, match_info= and exact_key="),
    ],
)
def test_a_route_names_its_key_in_one_way(given: dict[str, str], message: str) -> None:
    """And is put on functions."""
    app = counting()
    with pytest.raises(ConfigurationError, match=f"which key of table counts a page is about {message}"):
        app.table_route(app.tables["counts"], **given)
    with pytest.raises(ConfigurationError, match="the route of topic words is put on an async function"):
        app.topic_route(app.topics["words"], exact_key="a")(type("Some", (View,), {}))


@pytest.mark.parametrize(
    ("text", "type_", "key"),
    [("3", int, 3), ("3", str, "3"), ("3", None, "3"), ("3", Any, "3"), ("ä", bytes, "ä".encode())],
)
def test_a_key_is_made_of_text(text: str, type_: Any, key: Any) -> None:
    """By the type of the keys."""
    assert key_of(text, type_) == key


async def test_a_key_that_is_none_is_the_error_of_the_client() -> None:
    """The answer says why."""
    app = make(web_enabled=True, web_port=free_port())
    numbers = app.topic("numbers", key_type=int, partitions=2)
    app.agent(numbers, name="read")(reading)

    @app.page("/{n}")
    @app.topic_route(numbers, match_info="n")
    async def it(web: View, request: Any, n: str) -> Any:
        return [n]

    @app.page("/")
    @app.topic_route(numbers, exact_key=3)
    async def exact(web: View, request: Any) -> Any:
        return ["exact"]

    async with app:
        assert await ask(f"{app.web.url}/x") == (400, {"error": "'x' is not a key: Expected `int`, got `str`"})
        assert await ask(f"{app.web.url}/3") == (200, ["3"])
        assert await ask(app.web.url) == (200, ["exact"])


async def reading(stream: Any) -> None:
    """Read all events."""
    async for _ in stream:
        pass


async def test_topics_that_disagree_on_a_key_must_be_named(caplog: pytest.LogCaptureFixture) -> None:
    """Their keys have other bytes, so that the partition is not the same."""
    app = make(web_enabled=True, web_port=free_port())
    plain = app.topic("plain", key_type=str, partitions=16)
    quoted = app.topic("quoted", key_type=str, key_serializer="json", partitions=16)
    table = app.Table("totals", default=int, key_type=str, value_type=int)
    for topic in (plain, quoted):
        app.agent(topic, name=topic.name)(reading)

    @app.page("/any/{key}")
    @app.table_route(table, match_info="key")
    async def any_(web: View, request: Any, key: str) -> Any:
        return table[key]

    @app.page("/one/{key}")
    @app.table_route(table, match_info="key", topic=quoted)
    async def one(web: View, request: Any, key: str) -> Any:
        return table[key]

    async with app:
        assert (await ask(f"{app.web.url}/one/rose")) == (200, 0)
        assert (await ask(f"{app.web.url}/any/rose"))[0] == 500
    assert "the topics of the app (plain, quoted) do not agree on it" in caplog.text


async def test_a_topic_that_nobody_reads_has_no_owners(caplog: pytest.LogCaptureFixture) -> None:
    """The error names it."""
    app = make(web_enabled=True, web_port=free_port())
    app.agent(app.topic("read", partitions=2), name="read")(reading)

    @app.page("/{key}")
    @app.topic_route(app.topic("unread", key_type=str), match_info="key")
    async def it(web: View, request: Any, key: str) -> Any:
        return key

    async with app:
        assert (await ask(f"{app.web.url}/rose"))[0] == 500
    assert "topic unread is read by no agent of this app" in caplog.text


# -- owners that are not there


@asynccontextmanager
async def beside(url: str | None) -> AsyncIterator[tuple[faust.App, str]]:
    """A worker, and the path of a page about a key that another one has, which tells this URL."""
    broker = f"memory://{uuid4().hex}"
    app, other = counting(broker=broker), counting(broker=broker, canonical_url=url)
    async with app, other:
        await until(lambda: all(len(one.engine.snapshot().partitions) == 2 for one in (app, other)))
        router = Router(app.engine)
        for word in WORDS:
            found = await router.find(router.partition_of_topic(app.topics["words"], word), None)
            if found is not None and found.host is not None:
                yield app, f"http://127.0.0.1:{app.conf.web_port}/count/{word}/"
                break


async def test_an_owner_that_is_dead_is_told_in_time(caplog: pytest.LogCaptureFixture) -> None:
    """Nobody listens at its URL: the client may come back, and the worker goes on."""
    dead = f"http://127.0.0.1:{free_port()}"
    async with beside(dead) as (_, page), aiohttp.ClientSession() as session, session.get(page) as response:
        assert (response.status, response.headers["Retry-After"]) == (503, "1")
        assert await response.json() == {"error": "The worker that has this does not answer; try again"}
    assert f"the worker at {dead} has not answered GET /count/" in caplog.text


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nx"], ids=["nothing", "half"])
async def test_an_owner_that_hangs_is_given_up(answer: bytes) -> None:
    """It takes the connection, and does not answer, or not to the end."""

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await reader.read()
        writer.close()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, beside(url) as (app, page):
        forwarder = Forwarder("here", deadline=0.3)
        node = app.web.nodes.find("cannot ask")._replace(forwarder=forwarder)
        app.web.nodes.bind(app.engine.run, node)
        assert await ask(page) == (503, {"error": "The worker that has this does not answer; try again"})
        await forwarder.close()


async def test_an_owner_that_tells_no_url_cannot_be_asked() -> None:
    """The answer names the settings that would tell one."""
    async with beside(None) as (_, page):
        reason = "The worker that has this tells no URL: its settings web_bind, web_host or canonical_url make one"
        assert await ask(page) == (503, {"error": reason})


async def test_a_key_is_looked_for_while_partitions_and_tables_move() -> None:
    """Until it is found, or the time is over: half a state would be a wrong answer."""
    app = counting()
    async with app:
        router, table = Router(app.engine), app.tables["counts"]
        tp = router.partition_of_table(table, "rose")
        assert tp == router.partition_of_topic(app.topics["words"], "rose")
        assert await router.find(tp, table) == Destination(tp, None)
        held = table.parts.pop(tp.partition)
        assert await router.find(tp, table, patience=0.0) is None
        assert await router.find(tp, None, patience=0.0) == Destination(tp, None)
        waiting = asyncio.create_task(router.find(tp, table))
        await asyncio.sleep(0)
        assert not waiting.done()
        table.attach(app.engine.run, tp.partition, held)
        assert await waiting == Destination(tp, None)
        assert await router.find(TP("words", 4), None, patience=0.0) is None
    assert await router.find(tp, None, patience=0.0) is None


# -- caches


async def test_apps_have_caches_of_their_own() -> None:
    """Two apps with one blueprint, and one app in its next life, do not answer for each other; with the clock of the app answers age."""
    numbers = count_from(1)
    blueprint = Blueprint("numbers")

    @blueprint.route("/{name}/")
    @blueprint.cache(timeout=60).view()
    async def page(web: View, request: Any, name: str) -> Any:
        return [name, next(numbers)]

    apps = [make(web_enabled=True, web_port=free_port(), cache="memory://?entries=1") for _ in range(2)]
    for app in apps:
        app.web.blueprints.add("/numbers", blueprint)
    urls = [f"http://127.0.0.1:{app.conf.web_port}/numbers" for app in apps]
    apps[0].clock = clock = ManualClock()
    async with apps[0], apps[1]:
        assert [await ask(f"{urls[one]}/a/") for one in (0, 1, 0)] == [
            (200, ["a", 1]),
            (200, ["a", 2]),
            (200, ["a", 1]),
        ]
        clock.advance(61)
        assert [await ask(f"{urls[one]}/a/") for one in (0, 1)] == [(200, ["a", 3]), (200, ["a", 2])]
        await ask(f"{urls[1]}/b/")  # there is room for one
        assert await ask(f"{urls[1]}/a/") == (200, ["a", 5])
    async with apps[1]:
        assert await ask(f"{urls[1]}/a/") == (200, ["a", 6])


async def test_a_cache_above_a_route_keeps_what_the_owner_answers() -> None:
    """Each worker keeps what it has been answered, and the owner below the route what it computes."""
    numbers = count_from(1)
    app = make(web_enabled=True, web_port=free_port())
    words = app.topic("words", key_type=str, value_type=str, partitions=4)
    counts = app.Table("counts", default=int, key_type=str, value_type=int)

    @app.agent(words)
    async def read(stream: Any) -> None:
        async for word in stream:
            counts[word] += 1

    @app.page("/count/{word}/")
    @app.table_route(counts, match_info="word")
    @Cache(timeout=60).view()
    async def get(web: View, request: Any, word: str) -> Any:
        return [counts[word], next(numbers)]

    async with app:
        url = f"http://127.0.0.1:{app.conf.web_port}/count"
        assert [await ask(f"{url}/a/"), await ask(f"{url}/a/"), await ask(f"{url}/b/")] == [
            (200, [0, 1]),
            (200, [0, 1]),
            (200, [0, 2]),
        ]


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis://localhost", "there is only memory://, in each worker: assign a backend of your own to app.cache"),
        ("memory://here", "a cache in memory has no place: leave here out"),
        ("memory://?entris=5", "memory:// has no option 'entris'; did you mean entries?"),
        ("memory://?x=5", "memory:// has no option 'x'; it takes entries and size"),
        ("memory://?entries=many", "invalid literal"),
        ("memory://?size=0", "size is 0: give 1 or more"),
        ("memory://?size", "bad query field"),
        ("memory", "it has no scheme"),
    ],
)
def test_a_cache_that_there_is_not(url: str, said: str) -> None:
    """Is refused when the app is made."""
    with pytest.raises(ConfigurationError, match=re.escape(said)):
        make(cache=url)


def test_the_cache_of_an_app_is_a_backend() -> None:
    """One object, made as the setting says, which cannot be changed behind it; a backend of one's own takes its place."""
    app = make(cache=None)
    assert app.conf.cache == "memory://"
    assert app.cache is app.cache
    with pytest.raises(ConfigurationError, match="cache"):
        app.conf.cache = "memory://?size=1M"
    own = CacheBackend()
    app.cache = own
    assert app.cache is own
