"""Services, workers and subclasses of apps, as a type checker sees them; never run."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, assert_type

import mode

import stream_app as faust
from stream_app import ServiceT


class Database(faust.Service):
    """A service."""

    async def on_start(self) -> None:
        """Sleep for a while."""
        await self.sleep(1.0)

    @faust.Service.task
    async def look(self) -> None:
        """Look again and again."""
        while not self.should_stop:
            await self.sleep(1)

    @faust.Service.timer(1.0)
    async def tick(self) -> None:
        """Tick."""

    @faust.Service.crontab("0 18 * * *")
    async def ring(self) -> None:
        """Ring."""


class OwnWorker(faust.Worker):
    """A worker of one's own."""


class Shop(faust.App):
    """An app of one's own."""

    worker_class = OwnWorker

    def __init__(self, id: str, **options: Any) -> None:  # noqa: A002 - the name is the guides'
        super().__init__(id, **options)
        self.database = self.service(Database())

    def on_init_dependencies(self) -> Iterable[ServiceT]:
        """Depend on another database."""
        return [Database()]

    async def on_start(self) -> None:
        """Do what the class above does."""
        await super().on_start()

    async def on_rebalance_end(self) -> None:
        """Be async."""


app = Shop("shop")
assert_type(app.database, Database)


@app.on_configured
def configure(app: faust.App, conf: faust.Settings, **kwargs: Any) -> None:
    """Assign a setting."""
    conf.store = "rocksdb://"


@app.on_partitions_assigned.connect(weak=True)
async def assigned(app: faust.App, assigned: set[faust.TP], **kwargs: Any) -> None:
    """Hear of partitions."""


class Top(mode.Service):
    """A service of mode that depends on the app."""

    def on_init_dependencies(self) -> Iterable[ServiceT]:
        """Depend on the app."""
        return [app]


async def main() -> None:
    """Run it in all ways."""
    assert_type(await faust.Worker(app, Shop("other"), Database()).start(), int)
    await app.start(timeout=30.0)
    async with faust.lifespan(app)(None):
        pass
    assert_type((await app.wait(asyncio.sleep(1))).stopped, bool)
    async with app as running:
        assert_type(running, Shop)


code: int = app.worker().execute_from_commandline()
