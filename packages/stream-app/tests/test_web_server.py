"""What of the web server the settings decide: which pages there are, and the URL that other workers are told."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import pytest
from aiohttp import web

import stream_app as faust
from stream_app.running.web_server import published_url
from stream_core.errors import ConfigurationError
from stream_web import WebServer

from .apps import OtherTransport, make, until

PAGES = ("/stats", "/assignment", "/metrics")
HERE = socket.gethostname()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


async def status(app: faust.App, page: str, **headers: str) -> int:
    """With which status the worker answers."""
    url = f"http://127.0.0.1:{app.conf.web_port}{page}"
    async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as response:
        await response.read()
        return response.status


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, [200, 200, 200]),
        ({"web_stats_enabled": False}, [404, 404, 200]),
        ({"web_metrics_enabled": False}, [200, 200, 404]),
        ({"web_bind": "0.0.0.0"}, [404, 404, 404]),
        ({"web_bind": "0.0.0.0", "web_metrics_enabled": True}, [404, 404, 200]),
        ({"web_bind": "0.0.0.0", "web_stats_enabled": "yes"}, [200, 200, 404]),
        ({"web_bind": "0.0.0.0", "debug": True, "web_metrics_enabled": False}, [200, 200, 404]),
    ],
    ids=str,
)
async def test_pages_with_details_are_for_this_machine_unless_they_are_switched_on(
    settings: dict[str, Any], expected: list[int]
) -> None:
    """Nobody has to log in, so what the network sees is what somebody has chosen."""
    app = make(web_enabled=True, web_port=free_port(), **settings)
    async with app:
        assert [await status(app, page) for page in PAGES] == expected
        assert await status(app, "/health/ready") == 200


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, ""),
        ({"web_bind": "::1"}, ""),
        ({"web_bind": "localhost"}, ""),
        ({"web_bind": "192.0.2.7"}, "http://192.0.2.7:7007"),
        ({"web_bind": "2001:db8::7"}, "http://[2001:db8::7]:7007"),
        ({"web_bind": "worker-7.example"}, "http://worker-7.example:7007"),
        ({"web_bind": "0.0.0.0"}, f"http://{HERE}:7007"),
        ({"web_bind": "::"}, f"http://{HERE}:7007"),
        ({"web_bind": ""}, f"http://{HERE}:7007"),
        ({"web_host": "worker-7"}, "http://worker-7:7007"),
        ({"web_host": "2001:db8::7", "web_bind": "0.0.0.0"}, "http://[2001:db8::7]:7007"),
        ({"canonical_url": "https://proxy.example/seven/", "web_host": "worker-7"}, "https://proxy.example/seven"),
    ],
    ids=str,
)
def test_the_url_that_others_are_told(settings: dict[str, Any], expected: str) -> None:
    """It is one at which they can reach this worker: none while only this machine can, unless a setting says it."""
    conf = make(**settings).conf
    server = WebServer(bind=conf.web_bind, port=7007, explicit_port=True, app_id="shop", routes=[])
    assert published_url(conf, server) == expected


def test_without_a_server_only_the_url_of_the_settings_is_told() -> None:
    """A program may answer by a server of its own."""
    assert published_url(make(web_host="worker-7").conf, None) == ""
    assert published_url(make(canonical_url="http://own.example").conf, None) == "http://own.example"


@pytest.mark.parametrize("text", ["worker-7:6066", "ftp://worker-7", "http://", "javascript://x"])
def test_what_is_no_url_of_a_web_server_is_refused(text: str) -> None:
    """Others would show it as a link."""
    with pytest.raises(ConfigurationError, match=r"canonical_url=.* cannot be used: it is not a URL of a web server"):
        make(canonical_url=text)


async def test_the_names_of_the_settings_are_answered() -> None:
    """Also where the server listens to this machine only: a proxy in front passes them on."""
    app = make(web_enabled=True, web_port=free_port(), canonical_url="https://proxy.example/seven", web_host="worker-7")
    async with app:
        assert await status(app, "/", Host="proxy.example") == 200
        assert await status(app, "/", Host="worker-7:6066") == 200
        assert await status(app, "/", Host="evil.example") == 403


async def test_two_apps_of_one_group_know_where_the_other_one_is() -> None:
    """Each tells its URL when it joins; the snapshot and the page of each show both."""
    first = make(web_enabled=True, web_port=free_port(), web_host="localhost")
    settings = {"broker": first.conf.broker_url, "broker_commit_interval": 0.02, "web_enabled": True}
    second = faust.App("shop", web_port=free_port(), web_host="localhost", **settings)
    for app in (first, second):
        app.agent(app.topic("words", partitions=4), name="count")(reading)
    async with first, second:
        await until(lambda: all(len(app.engine.snapshot().partitions) == 2 for app in (first, second)))
        urls = {f"http://localhost:{app.conf.web_port}" for app in (first, second)}
        for app in (first, second):
            snapshot = app.engine.snapshot()
            assert {one.url for one in snapshot.owners} == urls
            mine = {(one.topic, one.partition) for one in snapshot.owners if one.instance == snapshot.instance}
            assert mine == {(one.topic, one.partition) for one in snapshot.partitions}
        async with aiohttp.ClientSession() as session:
            answers = [await (await session.get(f"{url}/assignment")).json() for url in sorted(urls)]
        assert answers[0]["owners"] == answers[1]["owners"]
        assert answers[0]["instance"] != answers[1]["instance"]


async def reading(stream: Any) -> None:
    """Read all events."""
    async for _ in stream:
        pass


# -- the dashboard


async def page(app: faust.App, path: str = "/") -> tuple[int, str]:
    """What a browser gets."""
    url = f"http://127.0.0.1:{app.conf.web_port}{path}"
    async with aiohttp.ClientSession() as session, session.get(url, headers={"Accept": "text/html"}) as response:
        return response.status, await response.text()


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, True),
        ({"web_dashboard_enabled": False}, False),
        ({"web_bind": "0.0.0.0"}, False),
        ({"web_bind": "0.0.0.0", "debug": True}, True),
        ({"web_bind": "0.0.0.0", "web_dashboard_enabled": "yes"}, True),
    ],
    ids=str,
)
async def test_the_dashboard_is_for_this_machine_unless_it_is_switched_on(
    settings: dict[str, Any], expected: bool
) -> None:
    """As the other pages with details; where it is off, a browser gets what programs get."""
    app = make(web_enabled=True, web_port=free_port(), **settings)
    async with app:
        status_, text = await page(app)
        assert status_ == 200
        assert text.startswith("<!doctype html>") == expected
        for path in ("/dashboard/", "/dashboard/worker", "/dashboard/dashboard.js"):
            assert (await page(app, path))[0] == (200 if expected else 404)


async def test_the_dashboard_shows_no_credentials() -> None:
    """Neither on the page, nor in what other workers are told."""
    name = uuid4().hex
    app = make(broker=f"memory://ann:secret@{name}", web_enabled=True, web_port=free_port())
    async with app:
        shown = [text for path in ("/", "/dashboard/worker") for _, text in [await page(app, path)]]
    assert f"memory://***@{name}" in shown[0]
    assert not any("secret" in text for text in shown)


async def test_workers_of_one_machine_see_each_other_without_a_setting(tmp_path: Path) -> None:
    """They publish no URL, since only this machine reaches them; they share the data directory, and find each other there."""
    apps = []
    url = OtherTransport.url()
    for _ in range(2):
        app = make(broker=url, datadir=tmp_path, store="memory://", web_enabled=True, web_port=free_port())
        app.agent(app.topic("words", partitions=4), name="count")(reading)
        apps.append(app)
    first, second = apps
    async with first, second:
        await until(lambda: all(len(app.engine.snapshot().partitions) == 2 for app in apps))
        for app in apps:
            assert {one.url for one in app.engine.snapshot().owners} == {""}
            text = (await page(app))[1]
            assert "all workers are ready" in text
            assert all(f"http://127.0.0.1:{one.conf.web_port}" in text for one in apps)


async def test_the_dashboard_shows_what_bodies_name_and_pipes(tmp_path: Path) -> None:
    """What only a worker that runs knows, beside what definitions say."""
    app = make(web_enabled=True, web_port=free_port())
    words = app.topic("words", key_type=str, value_type=str, partitions=1)
    totals = app.Table("totals", default=int)

    @app.agent(words, name="shop.count")
    async def count(stream: faust.Stream[str]) -> None:
        async for word in stream.group_by(lambda word: word[0], name="initial"):
            totals[word] += 1

    async with app:
        text = (await page(app))[1]
    assert "agent count \u2192 table totals (uses)" in text
    assert "topic words \u2192 agent count" in text
    between = next(name for name in text.split() if name.endswith("initial-repartition"))
    assert f"agent count \u2192 topic {between} (through)" in text
    assert f"topic {between} \u2192 agent count (through)" in text


async def test_a_middleware_of_the_program_decides_who_sees_it() -> None:
    """Also who gets its files, what it is told, and what other workers ask for."""

    @web.middleware
    async def check(request: web.Request, handler: Any) -> web.StreamResponse:
        if request.path.startswith("/health") or request.headers.get("X-User") == "ann":
            answer: web.StreamResponse = await handler(request)
            return answer
        raise web.HTTPUnauthorized

    app = make(web_enabled=True, web_port=free_port(), web_application_options={"middlewares": [check]})
    async with app:
        for path in ("/", "/dashboard/", "/dashboard/events", "/dashboard/worker", "/dashboard/dashboard.js", "/graph"):
            assert await status(app, path) == 401, path
        assert await status(app, "/dashboard/worker", **{"X-User": "ann"}) == 200
        assert await status(app, "/health/live") == 200
