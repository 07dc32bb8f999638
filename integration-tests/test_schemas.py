"""The descriptions of an app, checked by what others check such descriptions with."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import tarfile
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import pytest
from jsonschema import Draft202012Validator
from jsonschema.validators import validator_for
from openapi_spec_validator import OpenAPIV31SpecValidator

import stream_app as faust
from stream_app.web import View, gives_model, takes_model

SPECS = "@asyncapi/specs@6.11.1"
"""The schemas of AsyncAPI, as a package of npm."""


class Colour(Enum):
    """What things look like."""

    RED = "red"
    BLUE = "blue"


class Line(faust.Record):
    """One line of an order."""

    sku: str
    price: Decimal


class Order(faust.Record):
    """What somebody has bought."""

    account: str
    lines: list[Line]
    colour: Colour | None = None
    number: UUID | None = None


def shop() -> faust.App:
    """An app with all that descriptions have."""
    app = faust.App("shop", broker=f"memory://ann:secret@{uuid4().hex}", store="memory://", web_port=free_port())
    orders = app.topic("shop.orders-v1", key_type=str, value_type=Order, partitions=2)
    large = app.topic("large", value_type=Order, partitions=2)
    anything = app.topic("anything", partitions=2)
    raw = app.topic("raw", key_type=bytes, value_type=bytes, partitions=2)
    codes = app.topic("codes", value_type=dict[str, list[int]], partitions=2)

    @app.agent(orders, name="shop.sort", sink=[large, anything])
    async def sort(stream: faust.Stream[Order]) -> Any:
        """Sort orders out.

        Large ones go to another topic.
        """
        async for order in stream:
            yield order

    for number, topic in enumerate((large, anything, raw, codes)):

        @app.agent(topic, name=f"shop.read.{number}")
        async def read(stream: faust.Stream[Any]) -> None:
            async for _ in stream:
                pass

    @app.page(r"/orders/{number:\d{1,3}}/{account}/", name="order")
    class Detail(View):
        """One order."""

        @gives_model(Order)
        async def get(self, request: Any, number: int, account: str) -> Order:
            """Give an order.

            It is made up.
            """
            return Order(account, [])

        @takes_model(Order)
        async def put(self, request: Any, order: Order, number: int, account: str) -> Any:
            return {}

        async def search(self, request: Any, number: int, account: str) -> Any:
            return []

    @app.page("/hello/")
    async def hello(web: Any, request: Any) -> str:
        return "hello"

    @app.page("/other/{name}/", name="get hello")
    async def other(web: Any, request: Any, name: UUID) -> str:
        return "hello"

    return app


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


async def described(path: str) -> dict[str, Any]:
    """What the worker of the app answers."""
    app = shop()
    async with (
        app,
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{app.conf.web_port}{path}") as response,
    ):
        assert response.status == 200
        text = await response.text()
        assert "secret" not in text
        found: dict[str, Any] = json.loads(text)
        return found


async def test_pages_are_described_by_openapi() -> None:
    """A validator has nothing to say; parts of paths have their types, and models are written once."""
    found = await described("/openapi.json")
    OpenAPIV31SpecValidator(found).validate()
    assert list(found["paths"]) == ["/orders/{number}/{account}/", "/hello/", "/other/{name}/"]
    order = found["paths"]["/orders/{number}/{account}/"]
    assert set(order) == {"get", "put"}
    assert (order["get"]["summary"], order["get"]["description"]) == ("Give an order.", "It is made up.")
    assert [one["schema"]["type"] for one in order["get"]["parameters"]] == ["integer", "string"]
    model = {"$ref": "#/components/schemas/Order"}
    assert order["put"]["requestBody"]["content"]["application/json"]["schema"] == model
    assert order["get"]["responses"]["200"]["content"]["application/json"]["schema"] == model
    assert found["paths"]["/other/{name}/"]["get"]["parameters"][0]["schema"] == {"type": "string", "format": "uuid"}
    assert set(found["components"]["schemas"]) == {"Order", "Line", "Colour", "Error"}
    names = [one["operationId"] for path in found["paths"].values() for one in path.values()]
    assert len(set(names)) == len(names)


@pytest.fixture(scope="module")
def specification(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The schema of AsyncAPI 3.0."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed, which has the schemas of AsyncAPI")
    directory = tmp_path_factory.mktemp("npm")
    try:
        subprocess.run(
            [npm, "pack", SPECS, "--silent"], cwd=directory, check=True, timeout=120, capture_output=True, text=True
        )
    except (subprocess.SubprocessError, OSError) as error:
        pytest.skip(f"npm does not give the schemas of AsyncAPI: {error}")
    (archive,) = directory.glob("*.tgz")
    with tarfile.open(archive) as files:
        files.extract("package/schemas/3.0.0.json", directory, filter="data")
    found: dict[str, Any] = json.loads((directory / "package/schemas/3.0.0.json").read_text())
    return found


async def test_topics_and_agents_are_described_by_asyncapi(specification: dict[str, Any]) -> None:
    """The schema of the specification fits; each reference leads somewhere; payloads are schemas that fit what is sent."""
    found = await described("/asyncapi.json")
    validator: Any = validator_for(specification)
    assert [error.message for error in validator(specification).iter_errors(found)] == []
    assert list(validator(specification).iter_errors({**found, "channels": {"x": {"address": 3}}}))
    references = _references(found)
    assert references
    for reference in references:
        place: Any = found
        for part in reference.removeprefix("#/").split("/"):
            place = place[part]
    channels = {channel["address"]: channel for channel in found["channels"].values()}
    assert set(channels) == {"shop.orders-v1", "large", "anything", "raw", "codes"}
    assert channels["large"]["bindings"]["kafka"]["partitions"] == 2
    sort = [one for one in found["operations"].values() if one["title"] == "sort"]
    assert sorted(one["action"] for one in sort) == ["receive", "send", "send"]
    assert sort[0]["summary"] == "Sort orders out."

    payload = channels["shop.orders-v1"]["messages"]["record"]["payload"]
    schema = {**payload, "components": found["components"]}
    Draft202012Validator.check_schema(schema)
    checker = Draft202012Validator(schema)
    checker.validate(json.loads(Order("ann", [Line("tea", Decimal("1.5"))], Colour.RED, uuid4()).dumps()))
    assert not checker.is_valid({"account": "ann"})


def _references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [one for part in value.values() for one in _references(part)]
    return [one for part in value for one in _references(part)] if isinstance(value, list) else []
