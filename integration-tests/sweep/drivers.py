"""The drivers that the settings of the swept app name: they find the world of the run and what their worker is to use in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stream_core.counters import TopicTraffic
from stream_core.memory import MemoryTransport
from stream_core.ports import Groups, Stores, Transport
from sweep.proxies import SweptAdmin, SweptConsumer, SweptProducer, SweptReader

if TYPE_CHECKING:
    from sweep.world import World

__all__ = ["SweptTransport", "swept_stores", "world_is"]

_MEMORY = ("request_timeout", "session_timeout", "heartbeat_interval", "rebalance_timeout", "transaction_timeout")
_worlds: list[World] = []


@contextmanager
def world_is(world: World) -> Iterator[None]:
    """Let drivers that are made in the block belong to this world."""
    _worlds.append(world)
    try:
        yield
    finally:
        _worlds.remove(world)


class SweptTransport:
    """Makes the clients of one worker.

    Args:
        url: ``sweep.drivers.SweptTransport://party``.
        settings: those of the transports; the in-process broker takes some of them.
    """

    def __init__(self, url: str, **settings: Any) -> None:
        world = _worlds[-1]
        self._party = world.parties[url.partition("://")[2]]
        taken = {name: settings[name] for name in _MEMORY}
        self._memory = MemoryTransport(world.name, partitioner=settings["partitioner"], **taken)
        self._party.timeout = self._memory.settings.request_timeout

    def consumer(self, group: str, *, read_committed: bool) -> SweptConsumer:
        """A member of ``group``."""
        return SweptConsumer(self._party, self._memory.consumer(group, read_committed=read_committed))

    def reader(self, *, read_committed: bool) -> SweptReader:
        """A reader without a group."""
        return SweptReader(self._party, self._memory.reader(read_committed=read_committed))

    def producer(
        self,
        *,
        transactional_id: str | None = None,
        fence: Callable[[], bool] | None = None,
        sent: TopicTraffic | None = None,
    ) -> SweptProducer:
        """A producer."""
        self._party.transactional_id = transactional_id or self._party.transactional_id
        made = self._memory.producer(transactional_id=transactional_id, fence=fence, sent=sent)
        return SweptProducer(self._party, made)

    def admin(self) -> SweptAdmin:
        """An admin client."""
        return SweptAdmin(self._party, self._memory.admin())

    def groups(self) -> Groups:
        """A client for those who operate an app; no engine has one, so nothing of it is to fail."""
        return self._memory.groups()


_: type[Transport] = SweptTransport  # the type checker compares each method with the ports


def swept_stores(directory: Path) -> Stores:
    """The stores of a directory; its first part below the directory of the world names the place of the worker."""
    world = _worlds[-1]
    relative = directory.relative_to(world.directory)
    return world.disk(str(relative)).of(world.at_place(relative.parts[0]))
