"""The group coordinator of the in-process broker: Kafka's classic protocol, eager."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

from stream_core.assignment import Member, assign
from stream_core.errors import FencedError
from stream_core.memory.offsets import GroupOffsets
from stream_core.memory.wakeup import Wakeup
from stream_core.records import TP, GroupMetadata

__all__ = ["Assignment", "Group"]


@dataclass(frozen=True, slots=True)
class Assignment:
    """What a member gets in one generation."""

    metadata: GroupMetadata
    partitions: frozenset[TP]


@dataclass(slots=True)
class _Joined:
    """A member as the coordinator knows it.

    Attributes:
        claim: what it said of itself when it joined.
        rejoin: tells the client to give up its partitions and join again.
        assignment: what it has in the current generation; ``None`` before its first one.
        joining: it waits for the others.
    """

    claim: Member
    rejoin: Callable[[], None]
    assignment: Assignment | None = None
    joining: bool = True


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

    async def join(self, member: str, claim: Member, rejoin: Callable[[], None], timeout: float) -> Assignment | None:
        """Join, or join again, and wait until all members have.

        Args:
            member: the id from the last assignment, or an empty text.
            claim: topics, and what the member had.
            rejoin: called when the member has to join again.
            timeout: seconds that the others get to join (the rebalance timeout); then they are taken out of the group.

        Returns:
            the assignment, or ``None`` when this member was taken out meanwhile: it has to join as a new one.
        """
        if member not in self._members:
            member = f"{self.name}-{next(self._ids)}"
        joined = self._members[member] = _Joined(claim, rejoin)
        self._rebalance()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        try:
            while joined.joining and self._members.get(member) is joined:
                if not await self._wakeup.wait(deadline - loop.time()):
                    self._members = {name: other for name, other in self._members.items() if other.joining}
                    self._complete()
        except asyncio.CancelledError:
            self.leave(member, told=False)
            raise
        return joined.assignment if self._members.get(member) is joined else None

    def leave(self, member: str, *, told: bool = True) -> None:
        """Take a member out; ids that are not known are ignored. Unless ``told``, it goes on believing that it is one."""
        joined = self._members.pop(member, None)
        if joined is None:
            return
        if told:
            joined.rejoin()
        self._rebalance()

    def knows(self, member: str) -> bool:
        """Whether ``member`` is one of the group."""
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
        for name, joined in self._members.items():
            joined.joining = False
            joined.assignment = Assignment(GroupMetadata(self.name, self.generation, name), shares[name])
        self._wakeup.notify()
