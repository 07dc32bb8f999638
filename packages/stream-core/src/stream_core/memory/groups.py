"""The group coordinator of the in-process broker: Kafka's classic protocol, eager."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import count

from stream_core.assignment import Member, assign
from stream_core.errors import FencedError
from stream_core.memory.offsets import GroupOffsets
from stream_core.memory.settings import MemorySettings
from stream_core.memory.wakeup import Wakeup
from stream_core.ports import NOBODY
from stream_core.primitives import TP, GroupMetadata, Host

__all__ = ["Assignment", "Group"]


@dataclass(frozen=True, slots=True)
class Assignment:
    """What a member gets in one generation.

    Attributes:
        metadata: names the generation and the member.
        partitions: what it owns.
        hosts: the owner of each partition of the group.
        members: all members of the group.
    """

    metadata: GroupMetadata
    partitions: frozenset[TP]
    hosts: Mapping[TP, Host]
    members: tuple[Host, ...]


@dataclass(slots=True)
class _Joined:
    """A member as the coordinator knows it.

    Attributes:
        claim: what it said of itself when it joined.
        host: what the others are told of it.
        rejoin: tells the client to give up its partitions and join again.
        session_timeout: seconds without a heartbeat after which it is taken out.
        assignment: what it has in the current generation; ``None`` before its first one.
        session: ends its membership; ``None`` while it waits in a join for the others.
    """

    claim: Member
    host: Host
    rejoin: Callable[[], None]
    session_timeout: float
    assignment: Assignment | None = None
    session: asyncio.TimerHandle | None = None

    @property
    def joining(self) -> bool:
        """Whether it waits for the others."""
        return self.session is None


class Group:
    """Members, generations and offsets of one consumer group.

    A new generation begins once every member has joined it, and a client joins only after its ``revoked`` has returned:
    so all partitions are given up before any of them is assigned again. Until then the old generation is current and
    may commit.

    Args:
        name: group id.
        partitions: the number of partitions of each topic that exists, by topic.
        wakeup: rung at each change.
    """

    def __init__(self, name: str, partitions: Callable[[], dict[str, int]], wakeup: Wakeup) -> None:
        self.name = name
        self.generation = 0
        self.offsets = GroupOffsets()
        self._partitions = partitions
        self._wakeup = wakeup
        self._members: dict[str, _Joined] = {}
        self._ids = count(1)

    @property
    def members(self) -> dict[str, frozenset[TP]]:
        """The member ids, with what each one owns in the current generation."""
        return {
            name: joined.assignment.partitions if joined.assignment else frozenset()
            for name, joined in self._members.items()
        }

    async def join(
        self, member: str, claim: Member, rejoin: Callable[[], None], settings: MemorySettings, host: Host = NOBODY
    ) -> Assignment | None:
        """Join, or join again, and wait until all members have.

        Args:
            member: the id from the last assignment, or an empty text.
            claim: topics, and what the member had.
            rejoin: called when the member has to join again.
            settings: its session timeout, and the rebalance timeout: others that have not joined by then are taken out.
            host: what the others are told of it.

        Returns:
            the assignment, or ``None`` when this member was taken out meanwhile: it has to join as a new one.
        """
        if member not in self._members:
            member = f"{self.name}-{next(self._ids)}"
        self._end_session(member)
        joined = self._members[member] = _Joined(claim, host, rejoin, settings.session_timeout)
        self._rebalance()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + settings.rebalance_timeout
        try:
            while joined.joining and self._members.get(member) is joined:
                if not await self._wakeup.wait(deadline - loop.time()):
                    for name in [name for name, other in self._members.items() if not other.joining]:
                        self._end_session(name)
                        del self._members[name]
                    self._complete()
        except asyncio.CancelledError:
            self.leave(member, told=False)
            raise
        return joined.assignment if self._members.get(member) is joined else None

    def leave(self, member: str, *, told: bool = True) -> None:
        """Take a member out; ids that are not known are ignored. Unless ``told``, it goes on believing that it is one."""
        self._end_session(member)
        joined = self._members.pop(member, None)
        if joined is None:
            return
        if told:
            joined.rejoin()
        self._rebalance()

    def heartbeat(self, member: str) -> bool:
        """Let the session of a member begin anew; false when it is over: the member has been taken out."""
        joined = self._members.get(member)
        if joined is None:
            return False
        if joined.session is not None:
            if joined.session.when() <= asyncio.get_running_loop().time():  # the loop was blocked for that long
                self.leave(member, told=False)
                return False
            self._begin_session(member, joined)
        return True

    def disband(self) -> None:
        """Forget all members: the event loop they lived in is gone."""
        self._members.clear()

    def knows(self, member: str) -> bool:
        """Tell whether ``member`` is one of the group."""
        return member in self._members

    def check(self, metadata: GroupMetadata) -> None:
        """Raise FencedError unless this is the current generation and one of its members."""
        joined = self._members.get(metadata.member)
        if joined is None or metadata.generation != self.generation:
            raise FencedError(
                f"group {self.name} is at generation {self.generation} and refuses member {metadata.member!r} of "
                f"generation {metadata.generation}: drop what is not committed and wait for the next assignment"
            )

    def topic_changed(self, topic: str) -> None:
        """Rebalance when a topic that a member subscribes to appeared, went, or got more partitions."""
        if any(topic in joined.claim.topics for joined in self._members.values()):
            self._rebalance()

    def _rebalance(self) -> None:
        """Ask everyone who is not joining to join again."""
        for joined in self._members.values():
            if not joined.joining:
                joined.rejoin()
        self._complete()
        self._wakeup.notify()

    def _complete(self) -> None:
        """Begin the next generation if all members have joined."""
        if not self._members or not all(joined.joining for joined in self._members.values()):
            return
        self.generation += 1
        shares = assign({name: joined.claim for name, joined in self._members.items()}, self._partitions())
        hosts = {tp: joined.host for name, joined in self._members.items() for tp in sorted(shares[name])}
        members = tuple(sorted(joined.host for joined in self._members.values()))
        for name, joined in self._members.items():
            self._begin_session(name, joined)
            metadata = GroupMetadata(self.name, self.generation, name)
            joined.assignment = Assignment(metadata, shares[name], hosts, members)
        self._wakeup.notify()

    def _begin_session(self, name: str, joined: _Joined) -> None:
        """Take a member out when no heartbeat of it comes in time; it learns of that by its next one."""
        self._end_session(name)
        loop = asyncio.get_running_loop()
        joined.session = loop.call_later(joined.session_timeout, partial(self.leave, name, told=False))

    def _end_session(self, name: str) -> None:
        """Stop the clock of a member."""
        joined = self._members.get(name)
        if joined is not None and joined.session is not None:
            joined.session.cancel()
