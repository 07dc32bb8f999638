"""The client of a schema registry, against servers that answer well, badly, late and not at all."""

from __future__ import annotations

import base64
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from stream_core.errors import (
    AuthenticationError,
    ConfigurationError,
    RegistryError,
    RegistryUnavailableError,
    SchemaRefusedError,
    UnknownSchemaError,
)
from stream_core.ports import SchemaReference, SchemaText
from stream_kafka.registry import HttpRegistry

SCHEMA = SchemaText("AVRO", '"string"')


class Server:
    """A server that gives the answers it was given, one after the other and the last one again, and keeps the requests."""

    def __init__(self, *answers: tuple[int, Any]) -> None:
        self.answers = list(answers)
        self.requests: list[tuple[str, str, Any, str]] = []
        self.url = ""

    async def answer(self, request: web.Request) -> web.Response:
        """Give the next answer."""
        body = await request.json() if request.can_read_body else None
        self.requests.append((request.method, request.raw_path, body, request.headers.get("Authorization", "")))
        status, content = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(content, str):
            return web.Response(status=status, text=content)
        return web.json_response(content, status=status)


@asynccontextmanager
async def serving(*answers: tuple[int, Any]) -> AsyncIterator[Server]:
    """A server over a real socket."""
    server = Server(*answers)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield server
    finally:
        await runner.cleanup()


async def test_requests_are_those_of_the_api() -> None:
    """Paths, bodies and the log-in; a subject is one part of its path, whatever is in it."""
    reference = SchemaReference("In", "in", 2)
    async with serving((200, {"id": 3, "version": 2, "schema": "{}", "schemaType": "JSON"})) as server:
        registry = HttpRegistry(f"{server.url.replace('//', '//user:pass%20word@')}/apis/")
        assert await registry.schema(3) == SchemaText("JSON", "{}")
        assert await registry.register("a/b", SCHEMA) == 3
        assert await registry.find("a", SchemaText("JSON", "{}", (reference,))) == 3
        assert (await registry.version("a", None)).version == 2
        assert (await registry.version("a", 7)).id == 3
    login = "Basic " + base64.b64encode(b"user:pass word").decode()
    assert server.requests == [
        ("GET", "/apis/schemas/ids/3", None, login),
        ("POST", "/apis/subjects/a%2Fb/versions", {"schema": '"string"'}, login),
        (
            "POST",
            "/apis/subjects/a",
            {"schema": "{}", "schemaType": "JSON", "references": [{"name": "In", "subject": "in", "version": 2}]},
            login,
        ),
        ("GET", "/apis/subjects/a/versions/latest", None, login),
        ("GET", "/apis/subjects/a/versions/7", None, login),
    ]


@pytest.mark.parametrize("status", [500, 503, 429])
async def test_what_may_pass_is_asked_again(status: int) -> None:
    """A server that is overloaded, or restarts, answers in the end."""
    async with serving((status, "busy"), (200, {"id": 1})) as server:
        assert await HttpRegistry(server.url).register("a", SCHEMA) == 1
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("answer", "error", "said"),
    [
        ((401, {"error_code": 401, "message": "Unauthorized"}), AuthenticationError, "schema_registry_credentials"),
        ((403, "no"), AuthenticationError, "schema_registry_credentials"),
        (
            (404, {"error_code": 40403, "message": "Schema not found"}),
            UnknownSchemaError,
            "schema id 5.*Schema not found",
        ),
        ((404, "<html>"), RegistryError, "answers 404.*schema_registry_url"),
        ((409, {"error_code": 409, "message": "incompatible"}), SchemaRefusedError, "incompatible"),
        ((422, {"error_code": 42201, "message": "invalid"}), SchemaRefusedError, "invalid"),
        ((200, "<html>"), RegistryError, "what no schema registry does"),
        ((200, {"id": "x"}), RegistryError, "what no schema registry does"),
        ((302, "elsewhere"), RegistryError, "answers 302"),
    ],
)
async def test_each_answer_has_its_error(answer: tuple[int, Any], error: type[Exception], said: str) -> None:
    """At once, with what was asked for, and what to look at."""
    async with serving(answer) as server:
        with pytest.raises(error, match=said) as raised:
            await HttpRegistry(server.url).schema(5)
    assert raised.type is error
    assert len(server.requests) == 1


async def _nobody(server: Server) -> str:
    return "http://127.0.0.1:1"


async def _failing(server: Server) -> str:
    server.answers = [(500, {"message": "out of order"})]
    return server.url


@pytest.mark.parametrize(
    ("where", "said"), [(_nobody, "127.0.0.1:1.*schema id 5.*within 0.3 s"), (_failing, "it answers 500 out of order")]
)
async def test_a_registry_that_is_away_is_given_up(where: Callable[[Server], Awaitable[str]], said: str) -> None:
    """When the deadline is over, with the reason."""
    async with serving((200, {})) as server:
        with pytest.raises(RegistryUnavailableError, match=said):
            await HttpRegistry(await where(server), deadline=0.3).schema(5)


async def test_a_registry_that_hangs_is_given_up() -> None:
    """Accepting a connection is no answer."""

    with socket.create_server(("127.0.0.1", 0)) as server:
        registry = HttpRegistry(f"http://127.0.0.1:{server.getsockname()[1]}", deadline=0.3)
        with pytest.raises(RegistryUnavailableError, match="no answer in time"):
            await registry.schema(5)


async def test_another_url_is_tried() -> None:
    """Of several the next one is asked when one cannot be reached."""
    async with serving((200, {"id": 1})) as server:
        assert await HttpRegistry(f"http://127.0.0.1:1,{server.url}").register("a", SCHEMA) == 1


async def test_passwords_are_in_no_message() -> None:
    """Neither those of the URL nor those given apart."""
    for url, given in (("http://user:hidden@127.0.0.1:1", None), ("http://127.0.0.1:1", "user:hidden")):
        with pytest.raises(RegistryUnavailableError) as raised:
            await HttpRegistry(url, credentials=given, deadline=0.1).schema(5)
        assert "hidden" not in str(raised.value)


def test_what_is_no_url_is_refused() -> None:
    """Before anything is asked, and without showing it."""
    with pytest.raises(ConfigurationError, match="no URL of a schema registry"):
        HttpRegistry("registry:8081")
