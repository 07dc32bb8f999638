"""The comparison of a run: what was fed, against tables, outputs and answers."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import Any

from stream_app import App
from stream_core.errors import StreamError
from stream_core.primitives import TP, StoredRecord
from sweep.program import DEADS, fails, skims
from sweep.world import ANSWERS, AUDITS, CLOSED, ECHO, GOOD, ORDERS, PARTITIONS, PASSED, QUESTIONS, TICKS, World

__all__ = ["outputs", "tables"]

Place = tuple[int, int]


def _orders(world: World) -> dict[Place, tuple[str, int]]:
    """All orders by partition and offset: account and amount."""
    found = {}
    for partition in range(PARTITIONS):
        for record in world.cluster.log(TP(ORDERS, partition)).read(0, 1_000_000, committed=False).records:
            found[partition, record.offset] = (record.key or b"").decode(), int(record.value or b"0")
    return found


def tables(world: World, app: App, who: str) -> None:
    """Compare the tables that a worker shows with the folds of the input."""
    totals = dict(app.tables["totals"].items())
    expected: Counter[str] = Counter()
    skimmed: dict[str, list[tuple[Place, int]]] = {}
    for place, (account, amount) in _orders(world).items():
        expected[account] += amount
        expected[f"{account}-closed"] += amount
        if skims(amount):
            skimmed.setdefault(f"{account}-skim", []).append((place, amount))
    for key in sorted(expected.keys() | skimmed.keys() | totals.keys()):
        if key in expected:
            allowed = {expected[key]}
        else:
            allowed = _sums(
                skimmed.get(key, ()),
                {place for agent, *place_ in world.tolerated if agent == "skim" for place in [tuple(place_)]},
            )
        if totals.get(key) not in allowed:
            wanted = " or ".join(map(str, sorted(allowed)))
            world.problem(f"on disk {who} totals[{key}] is {totals.get(key)}, and was fed {wanted}")
    kinds = dict(app.tables["kinds"].items())
    sorted_out: Counter[str] = Counter()
    for amount in _repartitioned(world):
        sorted_out[f"kind{amount % 3}"] += amount
    for key in sorted(sorted_out.keys() | kinds.keys()):
        if kinds.get(key) != sorted_out.get(key):
            world.problem(f"on disk {who} kinds[{key}] is {kinds.get(key)}, and was fed {sorted_out.get(key)}")


def _sums(parts: Iterable[tuple[Place, int]], tolerated: set[Any]) -> set[int]:
    """The sums of the parts, with and without each of those that were allowed to fail."""
    parts = list(parts)
    optional = [amount for place, amount in parts if place in tolerated]
    whole = sum(amount for _, amount in parts)
    return {whole - sum(left_out) for count in range(len(optional) + 1) for left_out in combinations(optional, count)}


def _repartitioned(world: World) -> list[int]:
    topics = [name for name in world.cluster.topics() if name.endswith("-repartition")]
    return [value for topic in topics for value in world.values(topic)]


async def outputs(world: World) -> None:
    """Compare everything that was sent with the input."""
    orders = _orders(world)
    tolerated = {agent: {(p, o) for name, p, o in world.tolerated if name == agent} for agent in ("check", "skim")}
    _compare(world, ECHO, _places(world, ECHO), orders)
    _compare(world, GOOD, _places(world, GOOD), [p for p, (_, a) in orders.items() if not fails(a)], tolerated["check"])
    _compare(world, PASSED, _places(world, PASSED), [p for p, (_, a) in orders.items() if skims(a)], tolerated["skim"])
    _compare(world, DEADS, _letters(world), [p for p, (_, a) in orders.items() if fails(a)], tolerated["check"])
    amounts = {amount: place for place, (_, amount) in orders.items()}
    _compare(world, "repartition", [amounts[amount] for amount in _repartitioned(world)], orders, ordered=False)
    _windows(world)
    _answers(world)
    audits = {int(record.value or b"0") for record in world.records(AUDITS)}
    if missed := sorted(audits - world.audited):
        world.problem(f"{AUDITS}: never read {missed}")
    await _ticks(world)


def _compare(
    world: World,
    topic: str,
    found: Sequence[Place],
    expected: Iterable[Place],
    tolerated: set[Place] = frozenset(),  # type: ignore[assignment]
    *,
    ordered: bool = True,
) -> None:
    """Note what is missing, foreign, repeated under exactly-once, or out of order in a topic."""
    expected, counts = set(expected), Counter(found)
    if missing := sorted(expected - counts.keys() - tolerated):
        world.problem(f"{topic}: missing {missing}")
    if foreign := sorted(counts.keys() - expected - tolerated):
        world.problem(f"{topic}: foreign {foreign}")
    repeated = sorted(place for place, count in counts.items() if count > 1)
    if repeated and world.exactly_once:
        world.problem(f"{topic}: repeated {repeated}")
    if not ordered:
        return
    keys = {place: key for place, (key, _) in _orders(world).items()}
    newest: dict[str, Place] = {}
    for place in dict.fromkeys(found):  # first appearances
        key = keys.get(place, "")
        if key in newest and newest[key] > place:
            world.problem(f"{topic}: {place} of {key} comes first after {newest[key]}")
        newest[key] = max(place, newest.get(key, place))


def _places(world: World, topic: str) -> list[Place]:
    return [(value[0], value[1]) for value in world.values(topic)]


def _letters(world: World) -> list[Place]:
    return [_letter(record) for record in world.records(DEADS)] if DEADS in world.cluster.topics() else []


def _letter(record: StoredRecord) -> Place:
    headers = {name.removeprefix("stream-dead-letter-"): value for name, value in record.headers}
    return int(headers["partition"] or b"-1"), int(headers["offset"] or b"-1")


def _windows(world: World) -> None:
    """Each window was told of, with all that was in it, and exactly once under that guarantee."""
    expected, told = world.windows(), world.values(CLOSED)
    for account, begin, amount in told:
        if expected.get((account, begin)) != amount:
            wanted = expected.get((account, begin))
            world.problem(f"{CLOSED}: {account} from {begin} s is {amount}, and was fed {wanted}")
    counts = Counter((account, begin) for account, begin, _ in told)
    if missing := sorted(expected.keys() - counts.keys()):
        world.problem(f"{CLOSED}: missing {missing}")
    repeated = sorted(window for window, count in counts.items() if count > 1)
    if repeated and world.exactly_once:
        world.problem(f"{CLOSED}: repeated {repeated}")


def _answers(world: World) -> None:
    """Each question of somebody outside was answered, and right."""
    answers: dict[str, Any] = {}
    for record in world.cluster.log(TP(ANSWERS, 0)).read(0, 1_000_000, committed=False).records:
        answer = json.loads(record.value or b"{}")
        answers[answer["correlation_id"]] = answer["value"]
    for partition in range(PARTITIONS):
        for record in world.cluster.log(TP(QUESTIONS, partition)).read(0, 1_000_000, committed=False).records:
            asked = dict(record.headers)
            if asked.get("Faust-Ag-ReplyTo") != ANSWERS.encode():
                continue
            correlation = (asked["Faust-Ag-CorrelationId"] or b"").decode()
            if correlation not in answers:
                world.problem(f"{correlation} is committed and was never answered")
            elif answers[correlation] != 2 * int(record.value or b"0"):
                world.problem(f"{correlation} was answered {answers[correlation]!r}")
    if len(world.asked) != len(world.answered):
        world.problem(f"of {len(world.asked)} questions of timers {len(world.answered)} were answered or refused")


async def _ticks(world: World) -> None:
    """Each send outside of events that was accepted is there, or whoever holds its delivery is told."""
    there = Counter(
        json.loads(r.value or b"null") for r in world.cluster.log(TP(TICKS, 0)).read(0, 10**6, committed=False).records
    )
    if lost := sorted(world.acknowledged - there.keys()):
        world.problem(f"ticks {lost} were acknowledged, and are not there")
    for number, delivery in world.ticks.items():
        if number in there:
            continue
        try:
            async with asyncio.timeout(60):
                await delivery
        except TimeoutError:
            world.problem(f"tick {number} was accepted, is not there, and nobody is told")
        except StreamError as error:
            world.problem(f"tick {number} was accepted and is not there: {type(error).__name__}: {error}")
        else:
            world.problem(f"tick {number} was acknowledged, and is not there")
