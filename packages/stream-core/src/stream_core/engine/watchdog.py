"""The look at how an engine fares, once a second: what is broken fails it, whoever hangs is named, with the line where it hangs."""

from __future__ import annotations

import logging

from stream_core.agents.actor import Actor
from stream_core.engine.context import EngineContext
from stream_core.engine.joining import Joining
from stream_core.engine.topology import Topology
from stream_core.engine.work import OpenUnit, Works
from stream_core.errors import EventTimeoutError
from stream_core.primitives import RawRecord
from stream_core.states import EngineState

__all__ = ["Watchdog"]

logger = logging.getLogger(__name__)

EVERY = 1.0
"""Seconds between two looks."""


class Watchdog:
    """Looks at clients, at the group, and at the open events of actors and other open units of work.

    One that takes longer than ``processing_timeout`` is reported, once; one that is pinned already after a quarter of ``deadline``,
    because it keeps the checkpoint from being made, and before long that drops the interval.

    Args:
        context: what the parts of the engine share; its clients fail when they are of no more use.
        topology: the actors.
        works: the work that no record brings.
        joining: says why there are no partitions.
    """

    def __init__(self, context: EngineContext, topology: Topology, works: Works, joining: Joining) -> None:
        settings = context.settings
        self._engine = context.state
        self._clients = context.clients
        self._outbox = context.outbox
        self._clock = context.run.clock
        self._topology = topology
        self._works = works
        self._joining = joining
        self._timeout = settings.processing_timeout
        self._patience = min(settings.deadline / 4, settings.processing_timeout)
        self._transaction_timeout = settings.transaction_timeout
        self._since: dict[Actor, tuple[RawRecord | None, float]] = {}
        self._reported: set[Actor] = set()
        self._reported_units: set[OpenUnit] = set()

    async def run(self) -> None:
        """Look until cancelled. Raises TransportError when a client is of no more use."""
        clock = self._clock
        while True:
            await clock.sleep(EVERY)
            self._joining.remind(clock.monotonic())
            if self._engine.state is EngineState.FAILED:  # what is closed cannot fail
                continue
            self._clients.check()
            self._report_long_events(clock.monotonic())
            self._report_long_units(clock.monotonic())
            self._end_long_events()

    def _report_long_events(self, now: float) -> None:
        """Say once of each event that is worked on for too long where its agent waits."""
        self._since = {actor: self._since[actor] for actor in self._topology.actors if actor in self._since}
        self._reported.intersection_update(self._since)
        for actor in self._topology.actors:
            record = actor.cursor.record
            known, since = self._since.get(actor, (None, now))
            if record is None or record is not known:
                self._since[actor] = (record, now)
                self._reported.discard(actor)
                continue
            pinned = actor.cursor.pinned
            if now - since > (self._patience if pinned else self._timeout) and actor not in self._reported:
                self._reported.add(actor)
                session = actor.cursor.session
                logger.error(
                    "agent %s works on %s offset %d for %.0f s already (%s); it waits in: %s",
                    actor.cursor.name,
                    session.tp if session is not None else "?",
                    record.offset,
                    now - since,
                    "nothing can be committed meanwhile" if pinned else "stream_processing_timeout",
                    actor.where(),
                )

    def _report_long_units(self, now: float) -> None:
        units = self._works.open
        self._reported_units.intersection_update(units)
        for unit in units:
            pinned = unit.effects.pinned
            if now - unit.since > (self._patience if pinned else self._timeout) and unit not in self._reported_units:
                self._reported_units.add(unit)
                logger.error(
                    "%s: %s is open for %.0f s already (%s); it waits in: %s",
                    unit.effects.name,
                    unit.atom,
                    now - unit.since,
                    "nothing can be committed meanwhile" if pinned else "stream_processing_timeout",
                    unit.where(),
                )

    def _end_long_events(self) -> None:
        """Let events fail that keep the transaction from being committed before the broker aborts it, with all that others have done."""
        timeout, producer = self._transaction_timeout, self._outbox.producer
        if producer is None or producer.transaction_age < timeout / 2:
            return
        for actor in self._topology.actors:
            cursor = actor.cursor
            if cursor.pinned and cursor.session is not None and cursor.record is not None:
                actor.fail(
                    EventTimeoutError(
                        f"agent {cursor.name} awaited what it sent, and still works on the event: nothing can be committed meanwhile, and "
                        f"the transaction may be open for {timeout:g} s only; await it at the end of the event, or raise "
                        "broker_transaction_timeout to more than twice what the event takes",
                        cursor.session.tp,
                        cursor.record.offset,
                    )
                )
