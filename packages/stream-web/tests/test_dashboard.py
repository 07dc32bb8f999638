"""The dashboard over real sockets: its page, what it is told while somebody looks, and what it makes of other workers."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web

from stream_core.counters import Failure
from stream_core.engine.graph import Edge, Node
from stream_core.engine.snapshot import (
    AgentSnapshot,
    DurationsSnapshot,
    IntervalSnapshot,
    MemberSnapshot,
    OwnerSnapshot,
    PartitionSnapshot,
    Snapshot,
    Status,
    TablePartitionSnapshot,
    TrafficSnapshot,
)
from stream_core.errors import DeadlineError
from stream_core.primitives import TP, RawRecord, StoredRecord
from stream_core.sending.dead_letters import PREFIX
from stream_web import Dashboard, Health, Limits, Peers, Web, WebServer
from stream_web.dashboard import dashboard as module
from stream_web.dashboard.dashboard import FindLetter
from stream_web.dashboard.samples import KEPT, PERIOD, Sample, Samples
from stream_web.dashboard.views import Cluster, Worker, WorkerView, natural, view_of

HOSTILE = "<script>alert(1)</script>\"'&\0"
READY = Status("running", ready=True, reason="", failed=False)
BROWSER = {"Accept": "text/html"}


def taken(
    instance: str = "one",
    *,
    name: str = "orders",
    agents: int = 1,
    partitions: int = 4,
    owners: Mapping[str, str] | None = None,
    status: Status = READY,
    time: float = 1_000_000.0,
    counted: int = 0,
) -> Snapshot:
    """A snapshot; the partitions go round the owners, which are instances with their URLs."""
    hosts = list((owners or {instance: ""}).items())
    owned = [OwnerSnapshot(name, number, *hosts[number % len(hosts)]) for number in range(partitions)]
    mine = [one.partition for one in owned if one.instance == instance]
    return Snapshot(
        app="shop",
        instance=instance,
        url="",
        time=time,
        status=status,
        member="",
        generation=1,
        agents=tuple(AgentSnapshot(f"{name}.{n}", (name,), 1, 1, 0, 0, counted, 0, 0, 0) for n in range(agents)),
        partitions=tuple(PartitionSnapshot(name, number, "running", 0, 0, 0, 3, 3, None, "", ()) for number in mine),
        tables=(TablePartitionSnapshot(name, 0, f"{name}-changelog", "replaying", 1, 10, 40, 30, 120),),
        interval=IntervalSnapshot("open", 0.5, 0, 0, 0),
        owners=tuple(owned),
        owners_settled=True,
        checkpoints=DurationsSnapshot(1, 0.1, 0.1, 0.1, ()),
        drops={},
        rebalances={},
        asks={},
        received=(TrafficSnapshot(name, counted, 10, 1, 0),),
        sent=(),
        recovered_records=0,
        failures=(Failure(name, name, 0, 7, time, f"ValueError: {name}", "dead_letter", "letters", 1),),
    )


@asynccontextmanager
async def showing(
    snapshot: Callable[[], Snapshot] = taken,
    *,
    peers: Peers | None = None,
    edges: Sequence[Edge] = (),
    pages: Web | None = None,
    app_id: str = "shop",
    limits: Limits | None = None,
    watchers: int = 50,
    letter: FindLetter | None = None,
) -> AsyncIterator[WebServer]:
    """A server with a dashboard that listens until the end of the block."""
    dashboard = Dashboard(
        app_id, snapshot, peers or Peers("shop"), edges=lambda: edges, watchers=watchers, letter=letter
    )
    server = WebServer(
        bind="127.0.0.1",
        port=0,
        explicit_port=True,
        app_id="shop",
        routes=[*Health("shop", lambda: READY, dashboard.page).routes(), *dashboard.routes()],
        joining=[dashboard.join],
        pages=None if pages is None else pages.routes(),
        limits=limits,
    )
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    """A client."""
    async with aiohttp.ClientSession() as session:
        yield session


async def text(client: aiohttp.ClientSession, url: str, **headers: str) -> str:
    """What is answered with 200."""
    async with client.get(url, headers=headers) as answer:
        assert answer.status == 200, await answer.text()
        return await answer.text()


async def told(answer: aiohttp.ClientResponse) -> dict[str, str]:
    """The parts of the next event of a stream."""
    while not (line := await answer.content.readline()).startswith(b"data: "):
        assert line, "the stream is over"
    parts: dict[str, str] = json.loads(line.removeprefix(b"data: "))
    return parts


class Reading(HTMLParser):
    """The elements and the text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.ids: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        self.ids += [value for name, value in attrs if name == "id" and value]

    def handle_data(self, data: str) -> None:
        self.text += data


# -- the page


async def test_a_browser_gets_the_page_and_programs_the_words(client: aiohttp.ClientSession) -> None:
    """What scripts and probes read at / stays JSON; the page loads its own files only, wherever a proxy puts it."""
    async with showing() as server:
        assert json.loads(await text(client, f"{server.url}/"))["status"] == "ready"
        page = Reading(await text(client, f"{server.url}/", **BROWSER))
        own = Reading(await text(client, f"{server.url}/dashboard", **BROWSER))
        async with client.get(f"{server.url}/", headers=BROWSER) as answer:
            assert "'unsafe-inline'" not in answer.headers["Content-Security-Policy"]
            assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
            assert answer.headers["Vary"] == "Accept"
        for found, base in ((page, "dashboard/"), (own, "")):
            files = [
                value for name, value in found.attributes if name in ("src", "href") and value and value[0] not in "#?"
            ]
            assert sorted(files) == sorted(
                ["data:,", f"{base}dashboard.css", f"{base}graph.css", f"{base}dashboard.js"]
            )
        for file in ("dashboard.css", "graph.css", "dashboard.js"):
            assert await text(client, f"{server.url}/dashboard/{file}")
        for path in ("/dashboard/views.py", "/dashboard/../health.py", "/dashboard/%2e%2e/health.py"):
            async with client.get(aiohttp.client.URL(f"{server.url}{path}", encoded=True)) as answer:
                assert answer.status == 404


async def test_a_page_of_the_program_at_the_same_path_goes_first(client: aiohttp.ClientSession) -> None:
    """The dashboard is then at its own path only."""
    pages = Web(None)

    @pages.page("/")
    async def index(view: Any, request: Any) -> str:
        return "ours"

    async with showing(pages=pages) as server:
        assert await text(client, f"{server.url}/", **BROWSER) == "ours"
        assert "<!doctype html>" in await text(client, f"{server.url}/dashboard/")


async def test_names_and_messages_are_text(client: aiohttp.ClientSession) -> None:
    """Whatever an app, a topic, an agent or an error is called, no element and no attribute comes of it."""
    edges = [Edge(Node("topic", HOSTILE), Node("agent", HOSTILE), HOSTILE)]
    async with (
        showing(edges=edges) as plain,
        showing(lambda: taken(HOSTILE, name=HOSTILE), edges=edges, app_id=HOSTILE) as hostile,
    ):
        expected = Reading(await text(client, f"{plain.url}/", **BROWSER))
        found = Reading(await text(client, f"{hostile.url}/", **BROWSER))
        assert found.tags == expected.tags
        assert [name for name, _ in found.attributes] == [name for name, _ in expected.attributes]
        assert found.text.count("<script>alert(1)</script>") > 10
        assert "\0" not in found.text
        assert len(set(found.ids)) == len(found.ids)


async def test_it_shows_everything(client: aiohttp.ClientSession) -> None:
    """Agents, topics, partitions with their owners, recovery, failures with their place and dead letters."""
    edges = [Edge(Node("topic", "orders"), Node("agent", "count"))]
    async with showing(edges=edges) as server:
        page = await text(client, f"{server.url}/", **BROWSER)
    read = Reading(page).text
    assert "orders 0 offset 7" in read
    assert "ValueError: orders" in read
    assert 'href="#topic-letters"' in page
    assert "?agent=orders&amp;topic=orders&amp;partition=0&amp;offset=7" in page
    assert "25 %, 90 records left" in read
    assert "topic orders \u2192 agent count" in read
    assert "Partitions of orders: 0\u20133 on worker 1" in page


# -- a dead letter


def finding(
    key: bytes | None, value: bytes | None, *headers: tuple[str, bytes | None]
) -> Callable[[Failure], Awaitable[tuple[TP, RawRecord] | None]]:
    """Finds one letter."""

    async def find(failure: Failure) -> tuple[TP, RawRecord] | None:
        return TP(failure.letters, 3), StoredRecord(12, 1_000_000, key, value, list(headers))

    return find


LETTER = "?agent=orders&topic=orders&partition=0&offset=7"


@pytest.mark.parametrize("path", ["/", "/dashboard/"])
async def test_a_dead_letter_is_shown(client: aiohttp.ClientSession, path: str) -> None:
    """The record as it was, why its event failed, and how it is tried again, wherever the dashboard is."""
    told = [
        (PREFIX + "error-type", b"ValueError"),
        (PREFIX + "error-message", b"no stock"),
        (PREFIX + "traceback", b'  File "shop.py", line 7, in sell\n    raise ValueError("no stock")'),
        ("trace", b"\xff\x01"),
    ]
    async with (
        showing(letter=finding(b"joe", b'{"price":0.10,"price":2}', *told)) as server,
        client.get(f"{server.url}{path}{LETTER}", headers=BROWSER) as answer,
    ):
        assert answer.status == 200
        assert answer.headers["Content-Security-Policy"] == module.CSP
        page = await answer.text()
    read = Reading(page)
    assert "ValueError: no stock" in read.text
    assert 'File "shop.py", line 7, in sell\n' in read.text
    assert '{\n  "price": 0.10,\n  "price": 2\n}' in read.text  # nothing is rounded, or put together
    assert "ff 01" in read.text
    assert "stream -A MODULE dlq retry 3:12 --topic letters" in read.text
    assert ("href", "./") in read.attributes


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "none"),
        (b"", "empty"),
        (b"\x00" * 5_000_000, "00 00 00 \u2026 5000000 bytes in all"),
        (b"a" * 5_000_000, "aaa \u2026 5000000 bytes in all"),
        (b"[" * 15_000, "[[["),
        (HOSTILE.encode(), HOSTILE.encode().hex(" ")),
        (HOSTILE.rstrip("\0").encode(), HOSTILE.rstrip("\0")),
    ],
    ids=["none", "empty", "binary", "long", "deep", "hostile bytes", "hostile text"],
)
async def test_what_a_letter_holds_is_bounded_text(
    client: aiohttp.ClientSession, value: bytes | None, expected: str
) -> None:
    """Whatever bytes they are, no element comes of it, and the page stays small."""
    headers = [(f"h{number}", value) for number in range(300)] if value is None else [(HOSTILE, value)]
    async with showing(letter=finding(value, value, *headers)) as server:
        page = await text(client, f"{server.url}/{LETTER}", **BROWSER)
    assert expected in Reading(page).text
    assert len(page) < 200_000
    assert "script" not in Reading(page).tags


async def test_no_other_record_can_be_read(client: aiohttp.ClientSession) -> None:
    """Only letters of the failures that the dashboard shows; anything else is not asked for."""

    async def find(failure: Failure) -> None:
        raise AssertionError(failure)

    async with showing(letter=find) as server:
        for other in ("?topic=orders&partition=0&offset=7", LETTER.replace("=7", "=8"), LETTER + "7", "?offset="):
            async with client.get(f"{server.url}/{other}", headers=BROWSER) as answer:
                assert answer.status == 404
                assert "not among the recent failures" in await answer.text()


async def test_a_letter_that_cannot_be_read_says_why(client: aiohttp.ClientSession) -> None:
    """The broker does not answer, or the letter is gone: the rest of the page is there."""

    async def fail(failure: Failure) -> None:
        raise DeadlineError("no answer within 5 s")

    async def nothing(failure: Failure) -> None:
        return None

    for letter, expected in ((fail, "cannot be read now: no answer within 5 s"), (nothing, "its retention is over")):
        async with showing(letter=letter) as server:
            page = await text(client, f"{server.url}/{LETTER}", **BROWSER)
            assert expected in page
            assert "dlq list --topic letters" in page


# -- live


async def test_a_stream_tells_what_has_changed(client: aiohttp.ClientSession) -> None:
    """All parts come first; then, once in a period, those that differ."""
    status = [READY]
    async with (
        showing(lambda: taken(status=status[0])) as server,
        client.get(f"{server.url}/dashboard/events") as answer,
    ):
        assert answer.headers["Content-Type"] == "text/event-stream"
        first = await told(answer)
        page = Reading(await text(client, f"{server.url}/", **BROWSER))
        assert set(first) <= set(page.ids)
        status[0] = Status("running", ready=False, reason="recovering", failed=False)
        second = await told(answer)
        assert "recovering" in second["status"]
        assert "topics" not in second


async def test_the_server_stops_while_somebody_looks(client: aiohttp.ClientSession) -> None:
    """The stream ends as a whole one, and the stop does not wait for its end by time."""
    async with asyncio.timeout(module.LASTS / 2):
        async with showing() as server:
            answer = await client.get(f"{server.url}/dashboard/events")
            await told(answer)
        assert b"event" not in (await answer.content.read()).replace(b"event: parts", b"")


async def test_who_does_not_read_is_cut_off(client: aiohttp.ClientSession) -> None:
    """Nothing is kept for a client that takes no more: its request ends with its deadline, and another one is answered."""
    times = iter(range(10**9))
    big = 400

    def changing() -> Snapshot:
        return taken(name=f"orders-{next(times)}", agents=big)

    limits = Limits(request=6.0)
    async with asyncio.timeout(60), showing(changing, limits=limits) as server:
        port = int(server.url.rpartition(":")[2])
        slow = socket.socket()
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(slow, ("127.0.0.1", port))
        await loop.sock_sendall(slow, b"GET /dashboard/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert server._runner is not None
        assert server._runner.server is not None
        while not server._runner.server.connections:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0)
        async with client.get(f"{server.url}/dashboard/events") as answer:
            await told(answer)
        while len(server._runner.server.connections) > 1:  # that of the client below stays
            async with client.get(f"{server.url}/health/live") as answer:
                await answer.read()
        slow.close()


async def test_no_more_than_so_many_look_at_once(client: aiohttp.ClientSession) -> None:
    """One more is told to come back."""
    async with showing(watchers=1) as server, client.get(f"{server.url}/dashboard/events") as first:
        await told(first)
        async with client.get(f"{server.url}/dashboard/events") as second:
            assert second.status == 503
            assert second.headers["Retry-After"] == "10"


# -- other workers


@asynccontextmanager
async def worker(answer: Callable[[web.Request], Any]) -> AsyncIterator[str]:
    """A server that answers as another worker would, or would not."""

    async def handle(request: web.Request) -> web.StreamResponse:
        made = answer(request)
        return await made if asyncio.iscoroutine(made) else made  # type: ignore[no-any-return]

    app = web.Application()
    app.router.add_get("/prefix/dashboard/worker", handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    try:
        yield f"http://127.0.0.1:{port}/prefix"
    finally:
        await runner.cleanup()


def view(instance: str, **options: Any) -> WorkerView:
    """What a worker tells."""
    return view_of(taken(instance, **options), "0.1.0", (), {})


async def test_all_workers_are_seen_from_any_of_them(client: aiohttp.ClientSession) -> None:
    """Their numbers are the same everywhere, and what they count is added up."""
    snapshots: dict[str, Callable[[], Snapshot]] = {}
    urls: dict[str, str] = {}

    def look(instance: str) -> Callable[[], Snapshot]:
        return lambda: taken(instance, owners=urls, counted=5)

    snapshots = {instance: look(instance) for instance in ("one", "two")}
    async with showing(snapshots["one"]) as first, showing(snapshots["two"]) as second:
        urls |= {"one": first.url, "two": second.url}
        pages = [Reading(await text(client, f"{url}/", **BROWSER)) for url in (first.url, second.url)]
    for page in pages:
        assert "all workers are ready" in page.text
        assert ("aria-label", "Partitions of orders: 0, 2 on worker 1; 1, 3 on worker 2") in page.attributes
        assert page.text.count(" this one") == 1
    assert pages[0].text.replace(" this one", "") == pages[1].text.replace(" this one", "")


async def test_a_worker_without_partitions_is_seen(client: aiohttp.ClientSession) -> None:
    """It may be the one that waits to take over."""
    members: list[MemberSnapshot] = []

    def look(instance: str) -> Callable[[], Snapshot]:
        return lambda: replace(taken(instance, owners={"one": members[0].url}), members=tuple(members))

    async with showing(look("one")) as first, showing(look("two")) as second:
        members += [MemberSnapshot("one", first.url), MemberSnapshot("two", second.url)]
        for url in (first.url, second.url):
            page = Reading(await text(client, f"{url}/", **BROWSER))
            assert "all workers are ready" in page.text
            assert ("aria-label", "Partitions of orders: 0\u20133 on worker 1") in page.attributes
            assert ("id", "worker-2") in page.attributes


async def hanging(request: web.Request) -> web.StreamResponse:
    """Answer nothing."""
    await asyncio.Event().wait()
    raise AssertionError


def endless(request: web.Request) -> web.Response:
    """Answer more than is read."""
    return web.Response(body=b" " * (9 * 1024 * 1024))


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (hanging, "does not answer in time"),
        (lambda request: web.Response(status=401), "answers with status 401"),
        (lambda request: web.Response(status=302, headers={"Location": "/elsewhere"}), "answers with status 302"),
        (lambda request: web.Response(body=b"{}"), "has another version: it answers in a way that is not understood"),
        (
            lambda request: web.Response(body=b"<html>"),
            "has another version: it answers in a way that is not understood",
        ),
        (lambda request: web.Response(body=msgspec.json.encode(view("three"))), "another worker answers in its place"),
        (endless, "tells too much"),
    ],
    ids=["hangs", "asks for a password", "sends elsewhere", "other fields", "no JSON", "is another", "is endless"],
)
async def test_a_worker_that_is_not_heard_is_marked_with_the_reason(
    answer: Callable[[web.Request], Any], expected: str
) -> None:
    """The others are shown all the same."""
    peers = Peers("shop", deadline=0.3)
    async with worker(answer) as url:
        try:
            async with asyncio.timeout(20):
                while (found := await peers.ask({"two": url}))["two"] != (url, expected):
                    assert found["two"][0] == url
        finally:
            await peers.close()


async def test_a_worker_that_cannot_be_reached_is_marked() -> None:
    """Also one that tells no URL, or one that is none of a web server."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    peers = Peers("shop")
    try:
        answers = await peers.ask({"two": f"http://127.0.0.1:{port}", "three": "", "four": "file:///etc/passwd"})
        while "has not answered yet" in {told for _, told in answers.values()}:
            answers = await peers.ask({"two": f"http://127.0.0.1:{port}", "three": "", "four": "file:///etc/passwd"})
    finally:
        await peers.close()
    assert answers["two"][1] == "cannot be reached"
    assert answers["four"][1] == "its URL is none of a web server"
    assert str(answers["three"][1]).startswith("tells no URL")


async def test_a_worker_that_hangs_is_asked_once_and_holds_up_nobody() -> None:
    """Who looks gets what the others say, again and again, while one of them does not answer."""
    asked = 0

    async def hang(request: web.Request) -> web.StreamResponse:
        nonlocal asked
        asked += 1
        await asyncio.Event().wait()
        raise AssertionError

    peers = Peers("shop", deadline=600.0)
    async with worker(hang) as slow, worker(lambda _: web.Response(body=msgspec.json.encode(view("two")))) as fast:
        try:
            async with asyncio.timeout(60):
                for _ in range(3):
                    found = await peers.ask({"two": fast, "three": slow})
                    assert isinstance(found["two"][1], WorkerView)
                    assert found["three"][1] == "has not answered yet"
            assert asked == 1
            assert set(await peers.ask({"two": fast})) == {"two"}
        finally:
            await peers.close()


async def test_whatever_a_worker_tells_is_shown(client: aiohttp.ClientSession) -> None:
    """Numbers and moments that cannot be, and names that are none, break nothing."""
    strange = view("two", name="9" * 5000, time=1e300, counted=2**62)
    async with worker(lambda _: web.Response(body=msgspec.json.encode(strange))) as url:
        owners = {"one": "", "two": url}
        async with showing(lambda: taken(owners=owners)) as server:
            page = Reading(await text(client, f"{server.url}/", **BROWSER))
    assert "9" * 5000 in page.text
    assert "all workers are ready" in page.text


async def test_a_neighbour_of_this_machine_is_found_without_a_published_url() -> None:
    """Two workers of a laptop see each other."""
    async with worker(lambda _: web.Response(body=msgspec.json.encode(view("two")))) as url:
        peers = Peers("shop", lambda instance: url if instance == "two" else "")
        try:
            assert isinstance((await peers.ask({"two": ""}))["two"][1], WorkerView)
        finally:
            await peers.close()


def test_numbers_of_workers_are_added_up_by_their_periods() -> None:
    """The last one is that of which all have told; a worker that has stopped telling is not waited for."""

    def told(instance: str, slots: Sequence[int], finished: int) -> Worker:
        samples = [Sample(slot, 0, finished * slot, 0, 1) for slot in slots]
        return Worker(1, instance, "", view_of(taken(instance), "0", samples, {}), "", here=instance == "one")

    def cluster(*workers: Worker) -> Cluster:
        assert workers[0].view is not None
        return Cluster("shop", workers, {}, settled=True, here=workers[0].view)

    both = cluster(told("one", range(100, 111), 20), told("two", range(100, 109), 40))
    assert both.moment == 108
    series = both.series()
    assert {series.finished[slot] for slot in range(101, 109)} == {30.0}
    assert series.lag[108] == 2
    gap = cluster(told("one", [100, 101, 104], 20))
    assert gap.series().finished[104] == 10.0
    assert cluster(told("one", range(100, 111), 20), told("two", range(50, 60), 40)).moment == 110
    assert cluster(told("one", [], 20)).moment == int(1_000_000.0 // PERIOD)


# -- bounds


async def test_many_partitions_and_agents_are_shown(client: aiohttp.ClientSession) -> None:
    """1000 partitions and 200 agents: all of them."""
    async with showing(lambda: taken(partitions=1000, agents=200)) as server:
        page = Reading(await text(client, f"{server.url}/", **BROWSER))
    assert page.tags.count("rect") == 1000
    assert {("title", f"orders.{number}") for number in range(200)} <= set(page.attributes)


def test_names_are_sorted_as_people_do() -> None:
    """Numbers in them count as numbers."""
    names = ["a-10", "a-2", "b", "a", "10", "9", "a-2-1"]
    assert sorted(names, key=natural) == ["9", "10", "a", "a-2", "a-2-1", "a-10", "b"]


def test_samples_are_bounded_and_give_rates() -> None:
    """One in each period is kept, and rates are those of the last ten seconds."""
    samples = Samples()
    for number in range(2 * KEPT):
        samples.add(taken(time=1000.0 + number * PERIOD, counted=100 * number))
        samples.add(taken(time=1000.5 + number * PERIOD, counted=100 * number))
    assert len(samples.all) == KEPT
    assert samples.rates()["agent", "orders.0"] == 50.0
    assert samples.rates()["received", "orders"] == 50.0
    samples.add(taken(time=500.0))
    assert len(samples.all) == 1
