"""Pages of the worker that read tables, and say which worker has a key: loaded with the web server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from stream_app.running.routing import Destination, Router, key_of
from stream_core.engine.engine import Engine
from stream_core.errors import ConfigurationError, StreamError
from stream_core.primitives import TP
from stream_core.sending.topic import AnyTopic
from stream_tables.table import Table
from stream_web import Request, Web
from stream_web.exceptions import NotFound, ServiceUnavailable, ValidationError, WebError
from stream_web.forwarding import AGAIN, FORWARDED

__all__ = ["Shown", "router_pages", "table_pages"]

Tables = Mapping[str, Table[Any, Any]]

Page = Callable[..., Any]

KEY = "{key:[^/]+}"
"""A part of a path that may have braces, as keys may."""

AT_ONCE = 16
"""How many other workers are asked at a time for a key that is not where it should be."""

_NOTHING: Any = object()


class Shown:
    """What these pages are made of.

    Args:
        web: where they are put.
        tables: the tables of the app by name.
        engine: of this worker.
        partitioner: that of the producers, if the program has its own.
    """

    def __init__(self, web: Web, tables: Tables, engine: Engine, partitioner: Any) -> None:
        self.web = web
        self.tables = tables
        self.engine = engine
        self.router = Router(engine, partitioner)

    def page(self, path: str, name: str, page: Page) -> None:
        """Put a page at a path, with a slash at the end and without; no other site may read it."""
        self.web.page(path, name=name, cors_options={})(page)
        self.web.page(f"{path}/", name=f"{name}/", cors_options={})(page)

    def table(self, name: str) -> Table[Any, Any]:
        """Give a table by its name. Raises NotFound."""
        if name not in self.tables:
            raise NotFound("unknown table", name=name)
        return self.tables[name]

    def topic(self, request: Request) -> AnyTopic | None:
        """Give the topic that a request names as that whose events change the table. Raises ValidationError."""
        name = request.query.get("topic")
        topic = None if name is None else self.engine.topology.topics.get(name)
        if name is not None and topic is None:
            raise ValidationError(f"The app has no topic {name}")
        return topic

    def key(self, text: str, target: Table[Any, Any] | AnyTopic) -> Any:
        """Make a key of a part of a path. Raises ValidationError."""
        try:
            return key_of(text, target.schema.key_type)
        except (ValueError, TypeError) as error:
            raise ValidationError(f"{text!r} is not a key: {error}") from error

    def place(self, table: Table[Any, Any], key: Any, topic: AnyTopic | None) -> TP | None:
        """Find the partition of a key; ``None`` where the topics of the app disagree on it, so that any partition may have it."""
        try:
            return self.router.partition_of_table(table, key, topic)
        except ConfigurationError as error:
            if topic is not None:
                raise self.refusal(error) from error
            return None

    def refusal(self, error: StreamError) -> WebError:
        """Make the answer where the partition of a key cannot be said: it may be known later, or the request is wrong."""
        if not self.engine.status().ready:
            return ServiceUnavailable(f"This worker is not ready: {self.engine.status().reason}", headers=AGAIN)
        return ValidationError(f"{error}; here, ?topic=NAME")

    def owners(self, topics: set[str]) -> list[dict[str, Any]]:
        """Give the workers that own partitions of topics, with their numbers."""
        hosts = self.engine.clients.consumer.owners().hosts
        found: dict[tuple[str, str], set[int]] = {}
        for tp, host in hosts.items():
            if tp.topic in topics:
                found.setdefault((host.instance, host.url), set()).add(tp.partition)
        return [
            {"instance": instance, "url": url, "partitions": sorted(numbers)}
            for (instance, url), numbers in sorted(found.items())
        ]


# -- tables


def table_pages(shown: Shown) -> None:
    """Define ``/table``, ``/table/{name}`` and ``/table/{name}/{key}``.

    A key is answered by the worker that has it, as of its last checkpoint. An unknown table, and a key that no worker has, are 404; where
    that cannot be said now, the answer is 503 with ``Retry-After``.
    """
    tables, engine = shown.tables, shown.engine

    async def index(view: Any, request: Request) -> Any:
        """List the tables."""
        return [{"table": name, "help": table.help} for name, table in sorted(tables.items())]

    async def info(view: Any, request: Request, name: str) -> Any:
        """Tell what a table is, and how its partitions are that this worker has."""
        table = shown.table(name)
        parts = [one for one in engine.snapshot().tables if one.table == name]
        return {
            "table": name,
            "help": table.help,
            "changelog": table.changelog,
            "partitions": [
                {
                    "partition": one.partition,
                    "state": one.state,
                    "keys": one.stored_keys,
                    "bytes": one.stored_bytes,
                    "recovered": one.recovered,
                    "to_recover": one.to_recover,
                }
                for one in parts
            ],
        }

    async def value(view: Any, request: Request, name: str, key: str) -> Any:
        """Give the value of a key."""
        table = shown.table(name)
        found = shown.key(key, table)
        if FORWARDED in request.headers:  # another worker asks for what is here
            if not engine.status().ready:
                raise _not_yet(shown, table)
            return _read(table, key, found)
        place = shown.place(table, found, shown.topic(request))
        home = None if place is None else await shown.router.find(place, table)
        if place is not None and home is None:
            raise _not_yet(shown, table)
        return await _anywhere(shown, request, table, key, found, home)

    shown.page("/table", "table", index)
    shown.page("/table/{name}", "table_info", info)
    shown.page(f"/table/{{name}}/{KEY}", "table_key", value)


def _read(table: Table[Any, Any], text: str, key: Any) -> dict[str, Any]:
    """Read a key of this worker, as of the last checkpoint: what is not committed may be taken back."""
    if table.windows is None:
        value = table.get(key, _NOTHING, committed=True)
        if value is not _NOTHING:
            return {"table": table.name, "key": text, "value": value}
    else:
        found = table.windows.committed(key)
        windows = [{"start": start, "end": end, "value": value} for (start, end), value in found]
        if windows:
            return {"table": table.name, "key": text, "windows": windows}
    raise NotFound("unknown key", table=table.name, key=text)


async def _anywhere(
    shown: Shown, request: Request, table: Table[Any, Any], text: str, key: Any, home: Destination | None
) -> Any:
    """Ask the worker that should have a key, and then all others.

    An event may change any key of a table, and so put one where nobody looks for it. It is unknown only if all say so.
    """
    owners = shown.engine.clients.consumer.owners()
    turns = asyncio.Semaphore(AT_ONCE)

    async def ask(host: Any) -> Any:
        """Give the answer of a worker; ``None`` when there is none."""
        try:
            async with turns:
                return await shown.web.elsewhere(request, Destination(TP("", -1), host))
        except ServiceUnavailable:
            return None

    others = {host.instance: host for host in owners.hosts.values()}
    others.pop(shown.engine.host.instance, None)
    unsure = not owners.settled or not shown.engine.status().ready
    if home is not None and home.host is not None:
        others.pop(home.host.instance, None)
        answer = await ask(home.host)
        if answer is not None and answer.status == 200:
            return answer
        unsure = unsure or answer is None or answer.status != 404
    with suppress(NotFound):
        return _read(table, text, key)
    answers = await asyncio.gather(*map(ask, others.values()))
    for answer in answers:
        if answer is not None and answer.status == 200:
            return answer
    if unsure or any(answer is None or answer.status != 404 for answer in answers):
        raise _not_yet(shown, table)
    raise NotFound("unknown key", table=table.name, key=text)


def _not_yet(shown: Shown, table: Table[Any, Any]) -> ServiceUnavailable:
    """Say that the answer is not known now, and how far the recovery of this worker is."""
    parts = [one for one in shown.engine.snapshot().tables if one.table == table.name]
    progress = {
        "recovered": sum(one.recovered for one in parts),
        "to_recover": sum(one.to_recover for one in parts),
    }
    reason = shown.engine.status().reason or "not all of its partitions are where they can be asked"
    return ServiceUnavailable(f"Table {table.name} cannot be read now: {reason}", headers=AGAIN, **progress)


# -- who owns what


def router_pages(shown: Shown) -> None:
    """Define ``/router``, ``/router/{name}`` and ``/router/{name}/{key}``: who has the parts of a table or topic, and who a key."""
    tables, engine = shown.tables, shown.engine

    def of_table(table: Table[Any, Any]) -> list[dict[str, Any]]:
        return shown.owners({source.name for source in shown.router.sources(table)})

    async def index(view: Any, request: Request) -> Any:
        """Tell who owns the partitions of all tables and topics."""
        return {
            "settled": engine.clients.consumer.owners().settled,
            "tables": {name: of_table(table) for name, table in sorted(tables.items())},
            "topics": {name: shown.owners({name}) for name in sorted(engine.topology.inputs)},
        }

    async def one(view: Any, request: Request, name: str) -> Any:
        """Tell who owns the partitions of a table, or else of a topic."""
        if name in tables:
            return {"table": name, "workers": of_table(tables[name])}
        return {"topic": _source(shown, name).name, "workers": shown.owners({name})}

    async def key(view: Any, request: Request, name: str, key: str) -> Any:
        """Tell who owns a key."""
        table = tables.get(name)
        try:
            if table is None:
                topic = _source(shown, name)
                place = shown.router.partition_of_topic(topic, shown.key(key, topic))
            else:
                place = shown.router.partition_of_table(table, shown.key(key, table), shown.topic(request))
        except WebError:
            raise
        except StreamError as error:
            raise shown.refusal(error) from error
        host = engine.clients.consumer.owners().hosts.get(place)
        if host is None:
            raise ServiceUnavailable("Nobody owns the partition now; try again", headers=AGAIN)
        return {"key": key, **place._asdict(), "instance": host.instance, "url": host.url}

    shown.page("/router", "router", index)
    shown.page("/router/{name}", "router_name", one)
    shown.page(f"/router/{{name}}/{KEY}", "router_key", key)


def _source(shown: Shown, name: str) -> AnyTopic:
    if name not in shown.engine.topology.inputs:
        raise NotFound("unknown table or topic", name=name)
    return shown.engine.topology.topics[name]
