"""Who gets which partition: a pure function of the members of a group and the partition counts of their topics.

Topics with the same partition count and the same subscribers form a *cohort*, and partition *p* of all topics of a
cohort is one *group* that moves as a whole: a table that an agent writes is found beside the topic it reads. The work
is done in three steps, and each one moves no more than it has to:

1. *holders*: who holds each group now, by the claims of the members;
2. *quotas*: how many groups of each cohort a member gets. Within a cohort they differ by at most one, and who gets one
   more is chosen so that holders keep what they have and the totals of the members level out;
3. *placement*: holders keep groups up to their quota, the rest fills the room that is left.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from stream_core.primitives import TP

__all__ = ["Member", "assign"]


@dataclass(frozen=True, slots=True)
class Member:
    """What a member of the group says of itself when it joins.

    Attributes:
        topics: the topics it subscribes to; it is never given a partition of another one.
        owned: the partitions it had in the last generation it knew.
        generation: the generation of ``owned``; of two claims to one partition the younger one counts.
        instance: an id of the worker that survives restarts; decides between members that are equal otherwise.
    """

    topics: frozenset[str]
    owned: frozenset[TP] = frozenset()
    generation: int = -1
    instance: str = ""


@dataclass(slots=True)
class _Cohort:
    """Topics that are assigned together, and how far the assignment of their groups has come."""

    size: int
    members: Sequence[str]
    topics: list[str] = field(default_factory=list)
    holders: dict[int, str] = field(default_factory=dict)
    extra: set[str] = field(default_factory=set)

    @property
    def floor(self) -> int:
        """The number of groups that every member gets; those in ``extra`` get one more."""
        return self.size // len(self.members)


def assign(members: Mapping[str, Member], partitions: Mapping[str, int]) -> dict[str, frozenset[TP]]:
    """Give every partition of every subscribed topic to exactly one of its subscribers.

    Args:
        members: the members of the group by member id.
        partitions: the number of partitions of each topic; subscribed topics that are missing here are left out.

    Returns:
        the partitions of each member, an empty set for those that get nothing. Equal arguments give equal results,
        whatever their order, and assigning again on top of a result changes nothing.
    """
    ordered = dict(sorted(members.items(), key=lambda item: (item[1].instance, item[0])))
    rank = {name: n for n, name in enumerate(ordered)}
    cohorts = _cohorts(ordered, partitions)
    claims = _claims(ordered)
    for cohort in cohorts:
        cohort.holders = _holders(cohort, claims, rank)
    _choose_extras(cohorts, rank)
    assigned: dict[str, set[TP]] = {name: set() for name in ordered}
    for cohort in cohorts:
        for partition, name in _place(cohort).items():
            assigned[name].update(TP(topic, partition) for topic in cohort.topics)
    return {name: frozenset(tps) for name, tps in assigned.items()}


def _cohorts(members: Mapping[str, Member], partitions: Mapping[str, int]) -> list[_Cohort]:
    """List the cohorts of all subscribed topics, those with most partitions first."""
    subscribers: dict[str, list[str]] = {}
    for name, member in members.items():
        for topic in member.topics:
            subscribers.setdefault(topic, []).append(name)
    cohorts: dict[tuple[int, tuple[str, ...]], _Cohort] = {}
    for topic, names in sorted(subscribers.items()):
        size = partitions.get(topic, 0)
        if size > 0:
            cohort = cohorts.setdefault((size, tuple(names)), _Cohort(size, names))
            cohort.topics.append(topic)
    return sorted(cohorts.values(), key=lambda cohort: (-cohort.size, cohort.topics))


def _claims(members: Mapping[str, Member]) -> dict[TP, tuple[int, str]]:
    """Find the generation and member of the claim that counts for each owned partition."""
    claims: dict[TP, tuple[int, str]] = {}
    for name, member in members.items():
        for tp in member.owned:
            if tp.topic in member.topics and (tp not in claims or claims[tp][0] < member.generation):
                claims[tp] = (member.generation, name)
    return claims


def _holders(cohort: _Cohort, claims: Mapping[TP, tuple[int, str]], rank: Mapping[str, int]) -> dict[int, str]:
    """Find the member that holds most of each group, where anyone does: a cohort may have got a topic that was elsewhere."""
    holders: dict[int, str] = {}
    for partition in range(cohort.size):
        votes: Counter[tuple[int, str]] = Counter()
        for topic in cohort.topics:
            if claim := claims.get(TP(topic, partition)):
                votes[claim] += 1
        if votes:
            _, holders[partition] = min(votes, key=lambda claim: (-votes[claim], -claim[0], rank[claim[1]]))
    return holders


def _choose_extras(cohorts: Sequence[_Cohort], rank: Mapping[str, int]) -> None:
    """Choose for each cohort who gets one group more than the others: holders first, then level the totals."""
    load: Counter[str] = Counter()
    for cohort in cohorts:
        load.update(dict.fromkeys(cohort.members, cohort.floor))
    held = [Counter(cohort.holders.values()) for cohort in cohorts]
    for cohort, groups in zip(cohorts, held, strict=True):
        by_cost = sorted(cohort.members, key=lambda name: (groups[name] <= cohort.floor, load[name], rank[name]))
        cohort.extra = set(by_cost[: cohort.size % len(cohort.members)])
        load.update(cohort.extra)
    leveled = True
    while leveled:  # again after each change: a move in one cohort can make room for one in another
        leveled = False
        for cohort, groups in zip(cohorts, held, strict=True):
            leveled |= _level(cohort, groups, load, rank)


def _level(cohort: _Cohort, held: Counter[str], load: Counter[str], rank: Mapping[str, int]) -> bool:
    """Hand extras of ``cohort`` from the busiest to the idlest members while that makes the totals more equal.

    Each turn makes the sum of the squared totals smaller, so this ends. Among equally busy members that one gives which
    does not lose a group it holds; among equally idle ones that one takes which keeps a group so.

    Returns:
        whether anything was handed over.
    """
    changed = False
    while 0 < len(cohort.extra) < len(cohort.members):
        cost = {name: (load[name], held[name] <= cohort.floor, rank[name]) for name in cohort.members}
        giver = max(cohort.extra, key=cost.__getitem__)
        taker = min((name for name in cohort.members if name not in cohort.extra), key=cost.__getitem__)
        if load[giver] - load[taker] < 2:
            break
        cohort.extra ^= {giver, taker}
        load.update({giver: -1, taker: 1})
        changed = True
    return changed


def _place(cohort: _Cohort) -> dict[int, str]:
    """Choose the member of each group: its holder up to the quota of that, else the first member with room."""
    room = {name: cohort.floor + (name in cohort.extra) for name in cohort.members}
    placed: dict[int, str] = {}
    homeless = []
    for partition in range(cohort.size):
        holder = cohort.holders.get(partition)
        if holder is not None and room[holder] > 0:
            placed[partition] = holder
            room[holder] -= 1
        else:
            homeless.append(partition)
    takers = (name for name in cohort.members for _ in range(room[name]))
    placed.update(zip(homeless, takers, strict=True))
    return placed
