"""Descriptions of an app for other programs: its pages by OpenAPI, its topics and agents by AsyncAPI."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec
from aiohttp import web

from stream_core.agents.agent import Agent
from stream_core.engine.graph import shortest_end
from stream_core.sending.topic import AnyTopic, Topic
from stream_web.pages import Page, Web

__all__ = ["SchemaPages", "asyncapi", "openapi"]

OPENAPI_METHODS = frozenset(("get", "put", "post", "delete", "options", "head", "patch", "trace"))
"""Those that OpenAPI has names for: SEARCH is not among them."""

REFERENCE = "#/components/schemas/{name}"


class SchemaPages:
    """The pages ``/openapi.json`` and ``/asyncapi.json``."""

    def __init__(self, openapi: Callable[[], dict[str, Any]], asyncapi: Callable[[], dict[str, Any]]) -> None:
        self._openapi = openapi
        self._asyncapi = asyncapi

    def routes(self) -> list[web.RouteDef]:
        """Give the routes of these pages."""
        return [web.get("/openapi.json", self._pages), web.get("/asyncapi.json", self._topics)]

    async def _pages(self, request: web.Request) -> web.Response:
        return web.Response(body=msgspec.json.encode(self._openapi()), content_type="application/json")

    async def _topics(self, request: web.Request) -> web.Response:
        return web.Response(body=msgspec.json.encode(self._asyncapi()), content_type="application/json")


class Schemas:
    """JSON schemas of types; those that have names are written once, and referred to."""

    def __init__(self) -> None:
        self.named: dict[str, Any] = {}

    def of(self, type_: Any) -> dict[str, Any]:
        """Give the schema of a type; one that allows everything where it is not known."""
        if type_ in (None, Any, inspect.Parameter.empty):
            return {}
        try:
            (schema,), named = msgspec.json.schema_components([type_], schema_hook=_anything, ref_template=REFERENCE)
        except (TypeError, ValueError, NameError):  # a name in an annotation that cannot be found, for instance
            return {}
        self.named.update(named)
        return schema


def _anything(type_: Any) -> dict[str, Any]:
    """Describe a type that msgspec does not know: whatever its codec makes of it."""
    return {"description": f"as {type_.__module__}.{type_.__qualname__} is written"}


# -- OpenAPI


def openapi(app_id: str, version: str, pages: Web | None) -> dict[str, Any]:
    """Describe the pages of an app by OpenAPI 3.1."""
    schemas = Schemas()
    schemas.named["Error"] = {
        "type": "object",
        "properties": {"error": {"type": "string"}},
        "required": ["error"],
        "description": "what went wrong, in words",
    }
    paths: dict[str, Any] = {}
    names: set[str] = set()
    for page in () if pages is None else pages.pages:
        path = re.sub(r"\{([_a-zA-Z]\w*):(?:[^{}]|\{[^{}]*\})*\}", r"{\1}", page.path)
        item = paths.setdefault(path, {})
        for method, function in page.functions():
            if method in OPENAPI_METHODS:
                item[method] = _operation(page, method, function, schemas, names)
    return {
        "openapi": "3.1.0",
        "info": {"title": app_id, "version": version},
        "paths": paths,
        "components": {"schemas": schemas.named},
    }


def _operation(
    page: Page, method: str, function: Callable[..., Any], schemas: Schemas, names: set[str]
) -> dict[str, Any]:
    types = page.types(function)
    answer = schemas.of(getattr(function, "gives_model", None))
    made: dict[str, Any] = {
        "operationId": _unique(f"{method}_{page.name}", names),
        "parameters": [
            {"name": part, "in": "path", "required": True, "schema": schemas.of(types.get(part, str))}
            for part in page.parts
        ],
        "responses": {
            "200": {"description": "the answer", **({"content": _json(answer)} if answer else {})},
            "default": {"description": "an error", "content": _json({"$ref": "#/components/schemas/Error"})},
        },
    }
    lines = (inspect.getdoc(function) or inspect.getdoc(page.view) or "").strip().partition("\n\n")
    if lines[0]:
        made["summary"] = " ".join(lines[0].split())
    if lines[2]:
        made["description"] = lines[2]
    model = getattr(function, "takes_model", None)
    if model is not None:
        made["requestBody"] = {"required": True, "content": _json(schemas.of(model))}
    return made


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _unique(name: str, names: set[str]) -> str:
    """Give a name that is not taken, and take it."""
    made, number = re.sub(r"\W", "_", name), 2
    while made in names:
        made, number = re.sub(r"\W", "_", f"{name}_{number}"), number + 1
    names.add(made)
    return made


# -- AsyncAPI


def asyncapi(
    app_id: str,
    version: str,
    *,
    brokers: Iterable[str],
    topics: Mapping[str, AnyTopic],
    agents: Mapping[str, Agent],
    counts: Mapping[str, int],
) -> dict[str, Any]:
    """Describe the topics and agents of an app by AsyncAPI 3.0.

    Args:
        app_id: id of the app.
        version: of the app.
        brokers: URLs of brokers; credentials are left out.
        topics: the topics by name.
        agents: the agents by name.
        counts: how many partitions topics have, as far as that is known.
    """
    schemas = Schemas()
    known = dict(topics)
    for agent in agents.values():
        for place in (agent.topic, *agent.sinks):
            if isinstance(place, Topic):
                known.update((part.name, part) for part in place.parts)
    ids: dict[str, str] = {}
    taken: set[str] = set()
    for name in sorted(known):
        ids[name] = _unique(name, taken)
    channels = {ids[name]: _channel(topic, schemas, counts) for name, topic in sorted(known.items())}
    operations: dict[str, Any] = {}
    names: set[str] = set()
    for full, agent in sorted(agents.items()):
        short = shortest_end(full, list(agents))
        about = " ".join(agent.help.partition("\n\n")[0].split())
        for action, topic in _flows(agent):
            operation = {"action": action, "channel": {"$ref": f"#/channels/{ids[topic]}"}, "title": short}
            operations[_unique(f"{short}_{action}_{topic}", names)] = operation | ({"summary": about} if about else {})
    return {
        "asyncapi": "3.0.0",
        "info": {"title": app_id, "version": version},
        "defaultContentType": "application/json",
        "servers": _servers(brokers),
        "channels": channels,
        "operations": operations,
        "components": {"schemas": schemas.named},
    }


def _flows(agent: Agent) -> Iterable[tuple[str, str]]:
    """Tell what an agent reads, and where its results go."""
    if isinstance(agent.topic, Topic):
        yield from (("receive", part.name) for part in agent.topic.parts)
    for sink in agent.sinks:
        target = sink.topic if isinstance(sink, Agent) else sink
        if isinstance(target, Topic):
            yield from (("send", part.name) for part in target.parts)


def _channel(topic: AnyTopic, schemas: Schemas, counts: Mapping[str, int]) -> dict[str, Any]:
    binding: dict[str, Any] = {"topic": topic.name, "bindingVersion": "0.5.0"}
    if count := counts.get(topic.name) or topic.partitions:
        binding["partitions"] = count
    message: dict[str, Any] = {"name": topic.name, "payload": schemas.of(topic.schema.value_type)}
    if key := schemas.of(topic.schema.key_type):
        message["bindings"] = {"kafka": {"key": key, "bindingVersion": "0.5.0"}}
    return {"address": topic.name, "messages": {"record": message}, "bindings": {"kafka": binding}}


def _servers(brokers: Iterable[str]) -> dict[str, Any]:
    made = {}
    for number, url in enumerate(brokers, 1):
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
        if parts.scheme == "kafka" and host:
            made[f"broker{number}"] = {"host": host, "protocol": "kafka"}
    return made
