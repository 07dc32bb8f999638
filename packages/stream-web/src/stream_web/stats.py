"""The pages with the snapshot of a worker as JSON: all of it, and who owns which partition."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from aiohttp import web

from stream_core.engine.snapshot import Snapshot, as_json

__all__ = ["Stats"]


class Stats:
    """The pages ``/stats`` and ``/assignment``."""

    def __init__(self, snapshot: Callable[[], Snapshot]) -> None:
        self._snapshot = snapshot

    def routes(self) -> list[web.RouteDef]:
        """Give the routes of these pages."""
        return [web.get("/stats", self._stats), web.get("/assignment", self._assignment)]

    async def _stats(self, request: web.Request) -> web.Response:
        return web.json_response(as_json(self._snapshot()))

    async def _assignment(self, request: web.Request) -> web.Response:
        snapshot = self._snapshot()
        hosts: dict[tuple[str, str], list[tuple[str, int]]] = {}
        for one in snapshot.owners:
            hosts.setdefault((one.instance, one.url), []).append((one.topic, one.partition))
        owners = [
            {"instance": instance, "url": url, "partitions": _by_topic(partitions)}
            for (instance, url), partitions in sorted(hosts.items())
        ]
        return web.json_response(
            {
                "app": snapshot.app,
                "instance": snapshot.instance,
                "generation": snapshot.generation,
                "settled": snapshot.owners_settled,
                "actives": _by_topic((one.topic, one.partition) for one in snapshot.partitions),
                "standbys": {},
                "owners": owners,
            }
        )


def _by_topic(partitions: Iterable[tuple[str, int]]) -> dict[str, list[int]]:
    """Give the numbers of partitions by their topic, in order."""
    found: dict[str, list[int]] = {}
    for topic, partition in sorted(partitions):
        found.setdefault(topic, []).append(partition)
    return found
