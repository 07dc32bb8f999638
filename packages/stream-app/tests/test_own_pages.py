"""Pages of a worker beside those of its program: tables by key from any worker, who owns what, what flows where, and descriptions."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

import aiohttp
import pytest
from yarl import URL

import stream_app as faust
from stream_core.errors import WorkerError

from .apps import OtherTransport, make, until
from .test_web_server import free_port

KEYS = [f"account-{number}" for number in range(20)]


async def ask(app: faust.App, path: str, **headers: str) -> tuple[int, Any, Any]:
    """What the worker of an app answers: the status, the JSON or text, and the headers."""
    url = URL(f"http://127.0.0.1:{app.conf.web_port}{path}", encoded=True)
    async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as response:
        text = await response.text()
        kind = response.content_type
        return response.status, json.loads(text) if kind == "application/json" else text, response.headers


def shop(**options: Any) -> faust.App:
    """An app whose agent adds up by the key of the event, and counts by the value, a key that lives wherever the event does."""
    app = make(web_enabled=True, web_port=free_port(), **options)
    orders = app.topic("orders", key_type=str, value_type=int, partitions=4)
    totals = app.Table("totals", default=int, key_type=str, value_type=int, help="by account")
    recent = app.Table("recent", default=int, key_type=str, value_type=int).tumbling(60)
    amounts = app.Table("amounts", default=int, key_type=int, value_type=int)

    @app.agent(orders, name="shop.add")
    async def add(stream: faust.Stream[int]) -> None:
        async for key, value in stream.items():
            totals[key] += value
            amounts[value] += 1
            recent[key] += value

    return app


@asynccontextmanager
async def running(*apps: faust.App) -> AsyncIterator[None]:
    """Workers of one group that share the partitions, with an order of each account committed."""
    async with AsyncExitStack() as stack:
        for app in apps:
            await stack.enter_async_context(app)
        share = 4 // len(apps)
        await until(lambda: all(len(app.engine.snapshot().partitions) == share for app in apps))
        for number, key in enumerate(KEYS):
            await apps[0].topics["orders"].send(key=key, value=number)

        def done() -> int:
            snapshots = [app.engine.snapshot() for app in apps]
            return sum(one.committed or 0 for snapshot in snapshots for one in snapshot.partitions)

        await until(lambda: done() == len(KEYS))
        yield


@asynccontextmanager
async def two_workers(tmp_path: Path) -> AsyncIterator[tuple[faust.App, faust.App]]:
    """Two workers of one machine, of which none publishes a URL."""
    url = OtherTransport.url()
    first, second = (shop(broker=url, datadir=tmp_path, store="memory://") for _ in range(2))
    async with running(first, second):
        yield first, second


# -- which there are


PATHS = {
    "web_graph_enabled": ["/graph", "/graph/"],
    "web_tables_enabled": ["/table", "/table/", "/table/totals", "/table/totals/account-1/"],
    "web_router_enabled": ["/router/", "/router/totals", "/router/orders/", "/router/totals/account-1"],
    "web_schemas_enabled": ["/openapi.json", "/asyncapi.json"],
}


async def test_each_has_a_setting(tmp_path: Path) -> None:
    """Where only this machine sees them they are there; on the network those that somebody has switched on."""
    private, public = shop(), shop(web_bind="0.0.0.0", web_tables_enabled=True)
    silent = shop(**dict.fromkeys(PATHS, False))
    for app, expected in ((private, set(PATHS)), (public, {"web_tables_enabled"}), (silent, set())):
        async with running(app):
            for setting, paths in PATHS.items():
                for path in paths:
                    assert (await ask(app, path))[0] == (200 if setting in expected else 404), path


async def test_a_page_of_the_program_goes_first() -> None:
    """Of the same path it takes the place of one of the worker; the others stay."""
    app = shop()

    @app.page("/table/{table}/")
    async def ours(web: Any, request: Any, table: str) -> str:
        return f"ours: {table}"

    async with running(app):
        assert (await ask(app, "/table/totals/"))[1] == "ours: totals"
        assert (await ask(app, "/table/totals/account-1/"))[1]["value"] == 1


async def test_other_sites_do_not_read_them() -> None:
    """What the setting allows for pages of the program is not meant for these."""
    app = shop(web_cors_options={"*": {}})
    async with running(app):
        for path in ("/table/totals/account-1", "/router", "/graph", "/dashboard/worker", "/asyncapi.json"):
            headers = (await ask(app, path, Origin="https://evil.example"))[2]
            assert "Access-Control-Allow-Origin" not in headers


# -- tables


async def test_a_key_is_answered_by_its_worker(tmp_path: Path) -> None:
    """Any worker takes the request; a key that an event of another key has put somewhere is found, too."""
    async with two_workers(tmp_path) as apps:
        for app in apps:
            assert len({one["instance"] for one in (await ask(app, "/router/totals"))[1]["workers"]}) == 2
            for number, key in enumerate(KEYS):
                expected = {"table": "totals", "key": key, "value": number}
                assert (await ask(app, f"/table/totals/{key}"))[:2] == (200, expected)
                status, answer, _ = await ask(app, f"/table/amounts/{number}/")
                assert (status, answer["value"]) == (200, 1)


async def test_any_key_can_be_asked_for() -> None:
    """Slashes, braces and all else are quoted; values are what JSON makes of them."""
    app = make(web_enabled=True, web_port=free_port())
    notes = app.topic("notes", key_type=str, value_type=str, partitions=2)
    words = app.Table("words", key_type=str, value_type=set[str])
    visits = app.Table("visits", default=int, key_type=str, value_type=int).tumbling(60)
    keys = ["a/b", "x/", "{y}", "\u00fc &?#%", "..", " "]

    @app.agent(notes, name="note")
    async def note(stream: faust.Stream[str]) -> None:
        async for key, value in stream.items():
            words[key] = {value}
            visits[key] += 1

    async with app:
        for key in keys:
            await notes.send(key=key, value=key, timestamp=90.0)
        await until(lambda: sum(one.committed or 0 for one in app.engine.snapshot().partitions) == len(keys))
        for key in keys:
            quoted = quote(key, safe="").replace(".", "%2E")
            for end in ("", "/"):
                expected = {"table": "words", "key": key, "value": [key]}
                assert (await ask(app, f"/table/words/{quoted}{end}"))[:2] == (200, expected)
            status, answer, _ = await ask(app, f"/table/visits/{quoted}")
            assert (status, [one["value"] for one in answer["windows"]]) == (200, [1])
            assert answer["windows"][0]["start"] == 60.0
        assert (await ask(app, "/table/visits/nobody"))[0] == 404


async def test_what_is_not_there_is_404_and_only_that(tmp_path: Path) -> None:
    """A table that is unknown, and a key that no worker has; a key that is none is the fault of the client."""
    async with two_workers(tmp_path) as apps:
        for app in apps:
            assert (await ask(app, "/table/nothing/x"))[:2] == (404, {"error": "unknown table", "name": "nothing"})
            assert (await ask(app, "/table/totals/nobody"))[:2] == (
                404,
                {"error": "unknown key", "table": "totals", "key": "nobody"},
            )
            assert (await ask(app, "/table/amounts/1000"))[0] == 404
            assert (await ask(app, "/table/amounts/many"))[0] == 400
            assert (await ask(app, "/table/totals/x?topic=nothing"))[0] == 400


async def test_a_worker_that_cannot_be_asked_is_503() -> None:
    """It may have the key: nobody is told that there is none."""
    first = shop()
    second = shop(broker=first.conf.broker_url)
    async with running(first, second):
        answers = [await ask(first, f"/table/totals/{key}") for key in [*KEYS, "nobody"]]
    assert {answer[0] for answer in answers} == {200, 503}
    assert answers[-1][0] == 503
    for status, answer, headers in answers:
        if status == 503:
            assert headers["Retry-After"] == "1"
            assert "cannot be read now" in answer["error"]


def mislead(directory: Path, url: str) -> None:
    """Let all workers of a directory be found at one URL."""
    files = list(directory.rglob("instances/*/url"))
    assert len(files) == 2
    for file in files:
        file.write_text(url)


async def test_who_answers_in_place_of_another_is_not_believed(tmp_path: Path) -> None:
    """Workers of several machines that share a directory may find themselves at the URL of another: that says nothing of its keys."""
    async with two_workers(tmp_path) as (first, _):
        mislead(tmp_path, f"http://127.0.0.1:{first.conf.web_port}")
        answers = [await ask(first, f"/table/totals/{key}") for key in KEYS]
        assert {status for status, _, _ in answers} == {200, 503}
        assert all(headers["Retry-After"] for status, _, headers in answers if status == 503)
        assert "X-Stream-Answered-By" not in answers[0][2]


async def test_what_is_not_committed_is_not_shown() -> None:
    """It may be taken back."""
    app = shop(broker_commit_interval=600.0)
    totals = app.tables["totals"]
    async with app:
        await app.topics["orders"].send(key="ann", value=5)
        await until(lambda: totals.get("ann") == 5)
        assert (await ask(app, "/table/totals/ann"))[0] == 404
        await app.engine.checkpoint()
        assert (await ask(app, "/table/totals/ann"))[1]["value"] == 5


async def test_tables_are_described() -> None:
    """What they are, and how their partitions are."""
    app = shop()
    async with running(app):
        assert (await ask(app, "/table/"))[1] == [
            {"table": "amounts", "help": ""},
            {"table": "recent", "help": ""},
            {"table": "totals", "help": "by account"},
        ]
        info = (await ask(app, "/table/totals/"))[1]
        assert (info["changelog"], len(info["partitions"])) == ("shop-totals-changelog", 4)
        assert {one["state"] for one in info["partitions"]} == {"running"}


async def test_before_a_broker_answers_nothing_is_said_of_keys(tmp_path: Path) -> None:
    """All of it is 503: what is not known yet is neither missing nor wrong."""
    app = shop(broker="kafka://127.0.0.1:1", store="memory://", datadir=tmp_path)
    starting = asyncio.ensure_future(app.start())
    async with asyncio.timeout(20):
        while not await listens(app):
            pass
    for path in ("/table/totals/ann", "/table/totals/ann?topic=orders", "/router/totals/ann", "/router/orders/ann"):
        status, answer, headers = await ask(app, path)
        assert (status, headers["Retry-After"]) == (503, "1"), answer
    await app.stop()
    with pytest.raises(WorkerError, match="was stopped before it had started"):
        await starting


async def listens(app: faust.App) -> bool:
    """Whether the web server of an app answers."""
    try:
        return (await ask(app, "/health/live"))[0] == 200
    except aiohttp.ClientConnectorError:
        return False


# -- who owns what


async def test_the_owner_of_a_key_is_told(tmp_path: Path) -> None:
    """By the bytes that the topic has for it; of a topic, too."""
    async with two_workers(tmp_path) as (first, second):
        found: dict[str, set[str]] = {}
        for key in KEYS:
            told = (await ask(first, f"/router/totals/{key}"))[1]
            assert told == (await ask(second, f"/router/orders/{key}"))[1]
            found.setdefault(told["instance"], set()).add(key)
        for app in (first, second):
            here = app.tables["totals"]
            with app.engine.run.entered():
                held = {key for key in KEYS if key in here}
            assert found[app.engine.snapshot().instance] == held
        everything = (await ask(first, "/router"))[1]
        assert everything["settled"]
        assert set(everything["tables"]) == {"totals", "amounts", "recent"}
        assert sorted(n for one in everything["topics"]["orders"] for n in one["partitions"]) == [0, 1, 2, 3]
        assert (await ask(first, "/router/nothing"))[0] == 404
        assert (await ask(first, "/router/amounts/many"))[0] == 400


# -- what flows where


async def test_the_graph_has_three_forms() -> None:
    """A picture, Mermaid and JSON, by the parameter or by what the client accepts."""
    app = shop()
    async with running(app):
        status, picture, headers = await ask(app, "/graph")
        assert (status, headers["Content-Type"]) == (200, "image/svg+xml; charset=utf-8")
        assert "style-src 'sha256-" in headers["Content-Security-Policy"]
        names = {one.text for one in ElementTree.fromstring(picture.partition("\n")[2]).iter() if one.text}
        assert {"orders", "add", "totals", "recent", "shop-totals-changelog"} <= names
        assert (await ask(app, "/graph?format=mermaid"))[1].startswith("flowchart LR")
        assert (await ask(app, "/graph/", Accept="text/plain"))[1].startswith("flowchart LR")
        for answer in (await ask(app, "/graph?format=json"), await ask(app, "/graph", Accept="application/json")):
            edge = {
                "from": {"kind": "agent", "name": "add"},
                "to": {"kind": "table", "name": "totals"},
                "label": "uses",
            }
            assert edge in answer[1]
        assert (await ask(app, "/graph?format=png"))[0] == 400
