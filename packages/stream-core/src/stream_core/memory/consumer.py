"""The consumer of the in-process broker: a member of a group."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

from stream_core.assignment import Member
from stream_core.errors import FencedError, TransportError
from stream_core.memory.cluster import MemoryCluster
from stream_core.memory.fetcher import Fetcher
from stream_core.memory.groups import Assignment
from stream_core.memory.settings import MemorySettings
from stream_core.ports import NOBODY, RebalanceListener
from stream_core.primitives import TP, GroupMetadata, Host, Offset, Owners

__all__ = ["MemoryConsumer"]

_NO_POSITION = -1
_SETTINGS = MemorySettings()


class MemoryConsumer(Fetcher):
    """The in-process side of :class:`~stream_core.ports.Consumer`.

    Args:
        cluster: where the group is.
        group: group id.
        settings: timeouts.
        read_committed: hide open and aborted transactions.
    """

    def __init__(
        self, cluster: MemoryCluster, group: str, settings: MemorySettings = _SETTINGS, *, read_committed: bool
    ) -> None:
        super().__init__(cluster, read_committed=read_committed)
        self._group = cluster.group(group)
        self._settings = settings
        self._topics: frozenset[str] = frozenset()
        self._listener: RebalanceListener | None = None
        self._host = NOBODY
        self._assignment: Assignment | None = None
        self._owners = Owners()
        self._member = ""
        self._last = Member(frozenset())
        self._rejoin = asyncio.Event()
        self._coordination: asyncio.Task[None] | None = None
        self._next_heartbeat: asyncio.TimerHandle | None = None
        self._clock: Callable[[], float] = time.monotonic
        self._answered = 0.0  # loop time of the last heartbeat or join that was answered

    async def start(self) -> None:
        """Connect; see :meth:`MemoryCluster.connect`."""
        await super().start()
        self._clock = asyncio.get_running_loop().time
        self._beat()
        self._coordination = asyncio.create_task(self._coordinate(), name=f"coordination of group {self._group.name}")

    async def stop(self) -> None:
        """Leave the group and close; ``revoked`` is not called."""
        if self._next_heartbeat is not None:
            self._next_heartbeat.cancel()
        if self._coordination is not None:
            self._coordination.cancel()
            await asyncio.wait((self._coordination,), timeout=self._settings.request_timeout)
            if self._coordination.done() and not self._coordination.cancelled():
                self._coordination.exception()  # it was for check(); nobody asks any more
        await super().stop()
        self._positions.clear()
        with contextlib.suppress(TransportError):  # then its session ends
            async with self._cluster.request("leave_group"):
                self._group.leave(self._member, told=False)

    def subscribe(self, topics: Collection[str], listener: RebalanceListener, host: Host = NOBODY) -> None:
        """Join the group for these topics, or change the subscription; each call costs a rebalance."""
        self._topics, self._listener, self._host = frozenset(topics), listener, host
        self._rejoin.set()

    def owners(self) -> Owners:
        """Tell who owns each partition of the group, as of the last assignment."""
        settled = self._fetching and not self._rejoin.is_set() and self._group.knows(self._member)
        return self._owners if settled else replace(self._owners, settled=False)

    def rejoin(self) -> None:
        """Ask for a new generation of the group."""
        if self._listener is not None:
            self._rejoin.set()

    def pause(self, tps: Collection[TP]) -> None:
        """Deliver nothing of these partitions until resumed."""
        self._paused.update(tp for tp in tps if tp in self._positions)

    def resume(self, tps: Collection[TP]) -> None:
        """Deliver these partitions again from where they were paused or sought."""
        self._paused.difference_update(tps)
        self._cluster.wakeup.notify()

    async def committed(self, tps: Collection[TP]) -> dict[TP, Offset | None]:
        """Return the group's committed offsets; waits while an open transaction wants to commit one. Raises DeadlineError."""
        async with self._cluster.request("offset_fetch"):
            offsets = self._group.offsets
            what = f"stable committed offsets of group {self._group.name}"
            await self._cluster.wakeup.until(lambda: offsets.stable(tps), self._settings.request_timeout, what)
            return offsets.fetch(tps)

    async def commit(self, offsets: Mapping[TP, Offset], group: GroupMetadata) -> None:
        """Commit. Raises FencedError when ``group`` is not current, CommitError when the broker refuses the offsets."""
        async with self._cluster.request("offset_commit"):
            try:
                self._group.check(group)
            except FencedError:
                if not self._group.knows(self._member):
                    self._rejoin.set()  # a zombie learns it here at the latest
                raise
            self._group.offsets.commit(offsets)

    def lease(self) -> float:
        """Return the session timeout less the time since the last heartbeat that was answered; 0 when the broker took it out."""
        if self._assignment is None:
            return self._settings.session_timeout
        if not self._group.knows(self._member):
            return 0.0
        return self._settings.session_timeout - (self._clock() - self._answered)

    def check(self) -> None:
        """Raise TransportError when this client is not running, or when the listener has raised."""
        super().check()
        task = self._coordination
        if task is not None and task.done() and not task.cancelled() and (error := task.exception()) is not None:
            if isinstance(error, TransportError):
                raise error
            raise TransportError(f"the membership in group {self._group.name} broke: {error!r}") from error

    async def _coordinate(self) -> None:
        """Be a member: give up and join again whenever the group wants it."""
        try:
            while True:
                await self._rejoin.wait()
                await self._give_up()
                await self._join()
        finally:
            self._cluster.wakeup.notify()  # a poll that waits looks at check()

    async def _give_up(self) -> None:
        """Deliver nothing more, let the listener finish its work, and drop all partitions."""
        given, self._fetching = self._assignment, False
        if given is not None and self._listener is not None:
            lost = not self._group.knows(self._member)
            await self._listener.revoked(given.partitions, lost)
            self._last = Member(frozenset(), given.partitions, given.metadata.generation)
        self._assignment = None
        self._positions.clear()
        self._paused.clear()

    async def _join(self) -> None:
        """Wait for the next generation and hand it to the listener; taken out meanwhile, join as a new member."""
        cluster = self._cluster
        async with cluster.request("join_group"):
            self._rejoin.clear()  # whatever was asked until now is done by this
            claim = Member(self._topics, self._last.owned, self._last.generation, self._host.instance)
            assignment = await self._group.join(self._member, claim, self._asked_to_rejoin, self._settings, self._host)
        if assignment is None or self._listener is None:
            self._rejoin.set()
            return
        self._answered = self._clock()
        self._assignment, self._member = assignment, assignment.metadata.member
        self._owners = Owners(
            assignment.hosts, assignment.metadata.generation, settled=True, members=assignment.members
        )
        self._positions = dict.fromkeys(assignment.partitions, _NO_POSITION)
        self._paused = set(assignment.partitions)
        self._fetching = True
        self._listener.assigned(assignment.partitions, assignment.metadata)
        cluster.wakeup.notify()

    def _asked_to_rejoin(self) -> None:
        """Hear from the group that it rebalances, or that this member was taken out."""
        if self._member not in self._cluster.faults.muted:
            self._rejoin.set()

    def _beat(self) -> None:
        """Tell the group that this member lives, and so again and again; one that was taken out has to join."""
        loop, faults = asyncio.get_running_loop(), self._cluster.faults
        self._next_heartbeat = loop.call_later(self._settings.heartbeat_interval, self._beat)
        if self._assignment is None or self._member in faults.muted:  # it is joining, or cannot be heard
            return
        with contextlib.suppress(TransportError), faults.at("heartbeat"):
            if self._group.heartbeat(self._member):
                self._answered = loop.time()
            else:
                self._rejoin.set()
