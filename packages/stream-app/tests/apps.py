"""Apps on a broker in this process, and waiting for what they do."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import stream_app as faust
from stream_core.memory import MemoryCluster, MemoryTransport
from stream_core.primitives import TP, RawRecord

__all__ = ["GUARANTEES", "OtherTransport", "cluster", "make", "records_of", "until"]

GUARANTEES = ["at_least_once", "exactly_once"]


def make(name: str = "shop", *, kind: type[faust.App] = faust.App, **options: Any) -> faust.App:
    """An app on a broker of its own."""
    settings = {"broker": f"memory://{uuid4().hex}", "web_enabled": False, "broker_commit_interval": 0.02}
    return kind(name, **{**settings, **options})


def cluster(app: faust.App) -> MemoryCluster:
    """The broker of an app."""
    return MemoryCluster.named(app.conf.broker[0].removeprefix("memory://"))


def records_of(app: faust.App, topic: str, partition: int = 0, *, committed: bool = True) -> Sequence[RawRecord]:
    """What a partition has; by default as readers see it under exactly-once."""
    return cluster(app).log(TP(topic, partition)).read(0, 1_000_000, committed=committed).records


async def until(condition: Any) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - whatever it is
            await asyncio.sleep(0.005)


class OtherTransport(MemoryTransport):
    """A driver of another name: its clusters, too, live in this process, and the app takes them for real ones."""

    def __init__(self, url: str, **options: Any) -> None:
        super().__init__(url.partition("://")[2])

    @classmethod
    def url(cls) -> str:
        """The URL of a cluster of its own."""
        return f"{cls.__module__}.{cls.__qualname__}://{uuid4().hex}"
