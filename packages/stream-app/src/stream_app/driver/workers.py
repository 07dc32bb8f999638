"""The workers of a driver: what runs an app, and how it ends."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from stream_app.app import App
from stream_app.running.defined import Part
from stream_app.running.wiring import Wiring
from stream_core.engine.engine import Engine
from stream_core.errors import ConfigurationError
from stream_core.primitives import TP
from stream_core.states import EngineState

__all__ = ["DrivenWorker"]

Drive = Callable[[Coroutine[Any, Any, Any]], Any]


class DrivenWorker:
    """A worker of an app under test; a driver makes it.

    The first worker of an app is the app itself, with its hooks, signals and services. Further ones run its agents, tables, tasks and
    timers.

    Args:
        app: what it runs.
        drive: runs a coroutine in the loop of the driver, and lets all that follows happen.
        further: there is one already.
    """

    def __init__(self, app: App, drive: Drive, *, further: bool) -> None:
        self.app = app
        self._drive = drive
        self._wiring: Wiring | None = None
        self._further = further

    @property
    def engine(self) -> Engine | None:
        """The engine; ``None`` while it does not run."""
        wiring = self._wiring if self._further else self.app.wiring
        return None if wiring is None else wiring.engine

    @property
    def running(self) -> bool:
        """Whether it runs."""
        return self.engine is not None

    @property
    def partitions(self) -> frozenset[TP]:
        """The partitions that it owns."""
        engine = self.engine
        return frozenset() if engine is None else frozenset(engine.ownership.sessions)

    def stop(self) -> None:
        """Stop it as a deployment does: open events finish, what is finished is committed, and others get its partitions."""
        self._drive(self.end())

    def crash(self) -> None:
        """End it as ``kill -9`` does: nothing more is committed, and what it has done since the last commit is done again.

        What it has sent stays on the broker, as at a real crash; under exactly-once its transaction is aborted. Others get its partitions
        at once, and do not wait for its session to end.
        """
        self._drive(self._fall())

    async def _fall(self) -> None:
        engine = self.engine
        if engine is not None and engine.state not in (EngineState.FAILED, EngineState.STOPPED):
            engine.interval.drop()  # so that the stop finds nothing to commit
        await self.end()

    async def begin(self) -> None:
        """Start it.

        :meta private:
        """
        if self.running:
            raise ConfigurationError(f"the worker of {self.app.id} runs already: stop it, or let it crash, first")
        if self._further:
            app = self.app
            part = Part(
                conf=app.conf,
                topics=app.topics,
                topic_named=app.topic_named,
                agents=app.agents,
                tables=app.tables,
                chores=app.chores,
                engines=app.engines,
                sensors=app.sensors,
            )
            self._wiring = Wiring(part, fail_fast=True, clock=app.clock)
            await self._wiring.start()
        else:
            await self.app.start(fail_fast=True)

    async def end(self) -> None:
        """Stop it; why it had failed, if it had, is not raised again.

        :meta private:
        """
        engine = self.engine
        if self._further:
            wiring, self._wiring = self._wiring, None
            if wiring is not None:
                await wiring.stop()
            return
        try:
            await self.app.stop()
        except Exception:
            if engine is None or not engine.failure.done():
                raise

    def __repr__(self) -> str:
        return f"<worker of {self.app.id}: {len(self.partitions)} partitions>"
