"""What the workers of a driver have still to do, and who is not done, for the message of whoever waits in vain."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

from stream_app.app import App
from stream_app.driver.brokers import AnyBroker
from stream_app.driver.workers import DrivenWorker
from stream_core.engine.engine import Engine
from stream_core.primitives import TP
from stream_core.states import EngineState

__all__ = ["Unfinished", "explained"]


class Unfinished:
    """What is left to do, as it is seen from outside of the workers."""

    def __init__(self, apps: Sequence[App], workers: Sequence[DrivenWorker], broker: AnyBroker) -> None:
        self._apps = apps
        self._workers = workers
        self._broker = broker
        self._told: set[Engine] = set()

    def engines(self) -> Iterator[Engine]:
        """Give the engines of all workers that run."""
        return (engine for worker in self._workers if (engine := worker.engine) is not None)

    def raise_failure(self) -> None:
        """Raise what has ended a worker, as the error of the user's code."""
        for engine in self.engines():
            if engine.failure.done():
                self._told.add(engine)
                raise explained(engine.failure.result())

    def not_told(self, engines: Iterable[Engine]) -> list[BaseException]:
        """Give what has ended engines and was not raised."""
        failed = [one for one in engines if one.failure.done() and one not in self._told]
        return [explained(one.failure.result()) for one in failed]

    def who(self) -> Callable[[], str] | None:
        """Give what says who is not done, in a sentence without its end; ``None`` when all are."""
        for engine in self.engines():
            if engine.state is not EngineState.RUNNING:
                return partial(_not_ready, engine)
            if any(actor.busy for actor in engine.topology.actors) or any(
                subscription.waiting or any(cursor.record is not None for cursor in subscription.cursors)
                for subscription in engine.topology.subscriptions
            ):
                return partial(_not_finished, engine)
            if engine.ownership.open_units():
                return lambda: "a window that closes is not finished"
        return self._homeless()

    def _homeless(self) -> Callable[[], str] | None:
        """Give what says that nobody has some of the partitions: the workers do not know yet that another one has gone."""
        for app in self._apps:
            engines = [one for worker in self._workers if worker.app is app and (one := worker.engine) is not None]
            owned = {tp for engine in engines for tp in engine.ownership.sessions}
            for engine in engines:
                counts = engine.ownership.sources.counts
                for topic in engine.topology.sources:
                    if any(TP(topic, partition) not in owned for partition in range(counts.get(topic, 0))):
                        return partial("partitions of {} have no worker".format, topic)
        return None

    def why(self) -> str:
        """Say who is not done."""
        who = self.who()
        return "not all records were read" if who is None else who()

    async def behind(self) -> bool:
        """Tell whether there are records that a worker has not fetched."""
        for engine in self.engines():
            unreadable = engine.clients.consumer.unreadable
            sessions = {tp: one for tp, one in engine.ownership.sessions.items() if tp not in unreadable}
            ends = await self._broker.ends(sessions)
            if any(one.fetch_position < ends[tp] for tp, one in sessions.items() if tp in ends):
                return True
        return False


def explained(failure: BaseException) -> BaseException:
    """Give the error of the user's code behind the failure of a worker, with a note that says where it was."""
    cause = failure.__cause__
    if cause is None:
        return failure
    note = str(failure)
    if note not in getattr(cause, "__notes__", ()):
        cause.add_note(note)
    return cause


def _not_ready(engine: Engine) -> str:
    status = engine.status()
    return f"the worker is not ready ({status.reason or status.state})"


def _not_finished(engine: Engine) -> str:
    for actor in engine.topology.actors:
        cursor = actor.cursor
        if cursor.record is not None and cursor.session is not None:
            place = f"{cursor.session.tp} offset {cursor.record.offset}"
            return f"agent {cursor.name} has not finished the event at {place} (it waits in: {actor.where()})"
        if actor.busy:
            return f"agent {cursor.name} has failed, and its event has not come again"
    for subscription in engine.topology.subscriptions:
        if subscription.waiting:
            return f"{subscription.name} has not asked for the {subscription.waiting} records that wait for it"
    names = [one.name for one in engine.topology.subscriptions if any(c.record is not None for c in one.cursors)]
    return f"the stream {', '.join(names)} has not finished its event"
