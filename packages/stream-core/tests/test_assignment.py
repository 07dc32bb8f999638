"""The assignment function: what holds for every group, and how little moves when a group changes."""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import FrameType
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from stream_core.assignment import Member, assign
from stream_core.primitives import TP

Members = dict[str, Member]
Partitions = dict[str, int]
Result = dict[str, frozenset[TP]]

TOPICS = ["accounts", "clicks", "orders", "payments", "views"]


@st.composite
def any_group(draw: st.DrawFn) -> tuple[Members, Partitions]:
    """A group of members with whatever subscriptions, and claims that may be stale, foreign or contradict each other."""
    partitions = draw(st.dictionaries(st.sampled_from(TOPICS), st.integers(0, 9), min_size=1))
    claims = st.builds(TP, st.sampled_from(TOPICS), st.integers(0, 11))
    member = st.builds(
        Member,
        topics=st.frozensets(st.sampled_from(TOPICS)),
        owned=st.frozensets(claims, max_size=20),
        generation=st.integers(-1, 3),
        instance=st.sampled_from(["", "one", "two"]),
    )
    names = st.text("abcdef", min_size=1, max_size=3)
    return draw(st.dictionaries(names, member, min_size=1, max_size=8)), partitions


@st.composite
def settled_group(draw: st.DrawFn) -> tuple[Members, Partitions]:
    """Members that all subscribe to all topics and have been through a few rebalances, each on top of the last."""
    partitions = draw(st.dictionaries(st.sampled_from(TOPICS), st.integers(1, 12), min_size=1))
    members: Members = {}
    for generation, size in enumerate(draw(st.lists(st.integers(1, 8), min_size=1, max_size=4))):
        members = {name: members.get(name, Member(frozenset(partitions))) for name in map(str, range(size))}
        members = settle(members, assign(members, partitions), generation)
    return members, partitions


def settle(members: Members, result: Result, generation: int) -> Members:
    """The members as they join next time: they own what ``result`` gave them."""
    return {name: replace(member, owned=result[name], generation=generation) for name, member in members.items()}


def cohorts(members: Members, partitions: Partitions) -> dict[tuple[int, frozenset[str]], list[str]]:
    """Topics by partition count and subscribers."""
    found: dict[tuple[int, frozenset[str]], list[str]] = {}
    for topic, size in partitions.items():
        subscribers = frozenset(name for name, member in members.items() if topic in member.topics)
        if subscribers and size:
            found.setdefault((size, subscribers), []).append(topic)
    return found


def owners(owned: Mapping[str, frozenset[TP]]) -> dict[TP, str]:
    """The owner of each partition; fails when there are two."""
    found = {tp: name for name, tps in owned.items() for tp in tps}
    assert len(found) == sum(map(len, owned.values()))
    return found


def groups_of(owned: frozenset[TP], partitions: Partitions) -> set[tuple[int, int]]:
    """The partition groups in ``owned`` of a group whose members all have the same subscription."""
    return {(partitions[tp.topic], tp.partition) for tp in owned}


@given(any_group())
def test_exactly_once(group: tuple[Members, Partitions]) -> None:
    """Every partition of a subscribed topic has one owner, which subscribes to the topic; every member has an entry."""
    members, partitions = group
    result = assign(members, partitions)
    assert result.keys() == members.keys()
    subscribed = {topic for member in members.values() for topic in member.topics}
    assert owners(result).keys() == {TP(t, p) for t in subscribed for p in range(partitions.get(t, 0))}
    assert all(tp.topic in members[name].topics for name, tps in result.items() for tp in tps)


@given(any_group())
def test_co_partitioned(group: tuple[Members, Partitions]) -> None:
    """Topics with equal partition counts and equal subscribers have equal owners."""
    members, partitions = group
    owner = owners(assign(members, partitions))
    for (size, _), topics in cohorts(members, partitions).items():
        for partition in range(size):
            assert len({owner[TP(topic, partition)] for topic in topics}) == 1


@given(any_group())
def test_balanced_within_a_cohort(group: tuple[Members, Partitions]) -> None:
    """The subscribers of a cohort have equally many of its groups, give or take one."""
    members, partitions = group
    result = assign(members, partitions)
    for (_, subscribers), topics in cohorts(members, partitions).items():
        counts = [sum(tp.topic == topics[0] for tp in result[name]) for name in subscribers]
        assert max(counts) - min(counts) <= 1


@given(settled_group())
def test_balanced_over_all(group: tuple[Members, Partitions]) -> None:
    """Members with the same subscription have equally many groups in total, give or take one, also after rebalances."""
    members, partitions = group
    counts = [len(groups_of(member.owned, partitions)) for member in members.values()]
    assert max(counts) - min(counts) <= 1


@given(any_group())
def test_assigning_again_moves_nothing(group: tuple[Members, Partitions]) -> None:
    """A result is a fixed point: members that own it and join again get it again."""
    members, partitions = group
    result = assign(members, partitions)
    assert assign(settle(members, result, generation=9), partitions) == result


@given(any_group(), st.data())
def test_order_of_the_input_does_not_matter(group: tuple[Members, Partitions], data: st.DataObject) -> None:
    """Equal arguments in another order give an equal result."""
    members, partitions = group
    other_members = dict(data.draw(st.permutations(list(members.items()))))
    other_partitions = dict(data.draw(st.permutations(list(partitions.items()))))
    assert assign(other_members, other_partitions) == assign(members, partitions)


@given(settled_group())
def test_a_joining_member_takes_its_share(group: tuple[Members, Partitions]) -> None:
    """The new one takes at most ceil(total / n) groups; nothing else moves but single groups to level the totals."""
    members, partitions = group
    sizes = set(partitions.values())
    result = assign(members | {"new": Member(frozenset(partitions))}, partitions)
    assert len(groups_of(result["new"], partitions)) <= math.ceil(sum(sizes) / len(result))
    for name, member in members.items():
        gained = groups_of(result[name], partitions) - groups_of(member.owned, partitions)
        assert max(Counter(size for size, _ in gained).values(), default=0) <= 1
        if len(sizes) == 1:
            assert not gained


@given(settled_group(), st.data())
def test_a_leaving_member_moves_only_its_partitions(group: tuple[Members, Partitions], data: st.DataObject) -> None:
    """Those who stay keep what they have, but for single groups that level the totals of several cohorts."""
    members, partitions = group
    leaving = data.draw(st.sampled_from(sorted(members)))
    staying = {name: member for name, member in members.items() if name != leaving}
    result = assign(staying, partitions)
    for name, member in staying.items():
        lost = groups_of(member.owned, partitions) - groups_of(result[name], partitions)
        assert max(Counter(size for size, _ in lost).values(), default=0) <= 1
        if len(set(partitions.values())) == 1:
            assert not lost


@given(st.integers(1, 40), st.integers(1, 8), st.data())
def test_moves_are_minimal(size: int, workers: int, data: st.DataObject) -> None:
    """Of one cohort no assignment that is balanced moves fewer groups, whatever the members own."""
    names = [str(n) for n in range(workers)]
    held = data.draw(st.dictionaries(st.integers(0, size - 1), st.sampled_from(names)))
    owned = {name: frozenset(TP("orders", p) for p, holder in held.items() if holder == name) for name in names}
    result = assign({name: Member(frozenset(["orders"]), owned[name]) for name in names}, {"orders": size})
    floor, extra = divmod(size, workers)
    counts = sorted((len(owned[name]) for name in names), reverse=True)
    most = sum(min(count, floor + (n < extra)) for n, count in enumerate(counts))
    assert sum(len(result[name] & owned[name]) for name in names) == most


def test_the_younger_claim_counts() -> None:
    """A member that was away while its partitions moved on does not get them back."""
    both = frozenset({TP("orders", 0), TP("orders", 1)})
    current = Member(frozenset(["orders"]), frozenset({TP("orders", 0)}), generation=7)
    stale = Member(frozenset(["orders"]), both, generation=6)
    result = assign({"a": stale, "b": current}, {"orders": 2})
    assert result == {"a": frozenset({TP("orders", 1)}), "b": frozenset({TP("orders", 0)})}


def test_ties_go_by_instance() -> None:
    """Members that are equal otherwise are told apart by their instance, not by the member id, which is random."""
    first = Member(frozenset(["orders"]), instance="worker-1")
    second = Member(frozenset(["orders"]), instance="worker-2")
    assert assign({"z": first, "a": second}, {"orders": 1})["z"] == {TP("orders", 0)}


def test_a_new_topic_follows_its_cohort() -> None:
    """A topic that appears later, such as a repartition topic, goes where the others of its size already are."""
    topics = frozenset(["orders", "orders-by-account"])
    owned = {"a": frozenset({TP("orders", 1)}), "b": frozenset({TP("orders", 0)})}
    members = {name: Member(topics, tps, generation=1) for name, tps in owned.items()}
    result = assign(members, {"orders": 2, "orders-by-account": 2})
    assert result == {
        "a": {TP("orders", 1), TP("orders-by-account", 1)},
        "b": {TP("orders", 0), TP("orders-by-account", 0)},
    }


def test_more_members_than_partitions() -> None:
    """Members that get nothing are in the result with an empty set."""
    members = {name: Member(frozenset(["orders"])) for name in "abc"}
    assert assign(members, {"orders": 1}) == {"a": {TP("orders", 0)}, "b": frozenset(), "c": frozenset()}


def test_unknown_topics_and_empty_groups() -> None:
    """A topic without a known partition count is left out, and a group without members has no assignment."""
    assert assign({"a": Member(frozenset(["missing"]))}, {}) == {"a": frozenset()}
    assert assign({}, {"orders": 3}) == {}


def lines_of(action: Callable[[], Result]) -> tuple[Result, int]:
    """Count the lines of code that a call runs: work that no other process can add to, as it does to seconds."""
    count, tracer = 0, sys.gettrace()

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    sys.settrace(trace)
    try:
        return action(), count
    finally:
        sys.settrace(tracer)


def test_a_large_group_takes_little_work() -> None:
    """A thousand partitions over a hundred members take less than 200,000 lines of code, which is far below 0.1 s."""
    partitions = {f"topic-{size}": size for size in range(4, 92, 4)}
    members = {f"member-{n}": Member(frozenset(partitions), instance=f"{n:03}") for n in range(99)}
    members = settle(members, assign(members, partitions), generation=1)
    joined = members | {"new": Member(frozenset(partitions))}
    result, lines = lines_of(lambda: assign(joined, partitions))
    assert 0 < lines < 200_000
    assert sum(map(len, result.values())) == sum(partitions.values()) == 1012
