"""The world of one run: the cluster, the disks, the workers in it, and what was fed and heard."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from stream_app.running.instances import Instance
from stream_core.errors import StreamError
from stream_core.memory import MemoryTransport
from stream_core.memory.log import Entry
from stream_core.primitives import TP, GroupMetadata, Offset, StoredRecord, TopicSpec
from stream_core.streams.cursor import Cursor
from stream_core.streams.effects import Effects
from stream_tables.partition import Facts
from sweep.faults import Plan
from sweep.proxies import SweptDeliveries, SweptDisk

__all__ = ["ANSWERS", "GROUP", "PARTITIONS", "Party", "World"]

GROUP = "sweep"
PARTITIONS = 2
ORDERS, QUESTIONS, ANSWERS = "orders", "questions", "f-reply-answers"
ECHO, GOOD, PASSED, CLOSED, TICKS, GUESTS = "echo", "good", "passed", "closed", "ticks", "guests"
WINDOW = 2.0
"""Seconds of the windows in which orders are added up."""

TIMEOUT = 40.0
LOOK = 0.25
"""Seconds between two looks at what is left to do."""

AUDITS = "audit-1"
"""A topic that is found by a pattern."""


class Party:
    """One life of a worker: what its clients and stores know of it.

    Args:
        world: where it lives.
        name: unique in the world.

    Attributes:
        timeout: seconds of a request.
        transactional_id: of its producer, under exactly-once.
        stopped: its stop has returned: nobody may call anything for it any more.
    """

    def __init__(self, world: World, name: str) -> None:
        self._world = world
        self.name = name
        self.plan: Plan = world.plan
        self.timeout = TIMEOUT
        self.transactional_id: str | None = None
        self.stopped = False
        self._member = ""
        self._owner = False

    def assigned(self, group: GroupMetadata) -> None:
        """The group gave it partitions."""
        self._member, self._owner = group.member, True

    def given_up(self) -> None:
        """It has given its partitions up."""
        self._owner = False

    def owns(self, what: str) -> None:
        """Note a problem when it does what only the owner of partitions may do."""
        if not self._owner:
            self._world.problem(f"{self.name} {what} after it has given its partitions up")

    def calls(self, what: str) -> None:
        """Note a problem when it calls anything after its end."""
        if self.stopped:
            self._world.problem(f"{self.name} calls {what} after its stop has returned")

    def later(self, seconds: float, call: Callable[[], Awaitable[Any]]) -> None:
        """Let a call that was given up take effect all the same, or be refused."""

        async def takes_effect() -> None:
            await asyncio.sleep(seconds)
            with suppress(StreamError):
                await call()

        self._world.under_way.append(asyncio.ensure_future(takes_effect()))

    def refused(self, topic: str, key: bytes | None, value: bytes | None) -> None:
        """Tolerate that the event fails by its policy whose record is refused; of a table that is any event of its key."""
        agent = {GOOD: "check", PASSED: "skim"}.get(topic)
        if agent is not None:
            partition, offset = json.loads(value or b"")
            self._world.tolerated.add((agent, partition, offset))
        elif topic.endswith("totals-changelog") and key is not None and (name := json.loads(key)).endswith("-skim"):
            self._world.tolerate("skim", name.removesuffix("-skim"))

    def refused_to(self, effects: Effects | None) -> None:
        """Tolerate that the event fails by its policy in which the broker refuses to make a topic (ADR 62)."""
        if isinstance(effects, Cursor):
            for session, record in effects.open_records():
                self._world.tolerated.add((effects.subscription, session.partition, record.offset))

    def expire(self) -> None:
        """Let its transaction time out."""
        if self.transactional_id is not None:
            self._world.cluster.transactions.expire(self.transactional_id)

    def expel(self) -> None:
        """Take it out of its group; it learns of that."""
        if self._member:
            self._world.cluster.expire(GROUP, self._member)


class World:
    """What a run plays in.

    Args:
        plan: which calls fail.
        directory: an empty directory, for the locks of the workers.
        exactly_once: the guarantee.

    Attributes:
        problems: what is wrong, one sentence each.
        parties: all lives of all workers by name.
        exits: what ended workers that were not asked to.
        tolerated: events that were allowed to fail, because the fault was in a send of theirs: agent, partition and offset.
        ticks: the sends outside of events that were accepted, by number.
        asked: the numbers that workers asked with.
        answered: what came of these questions.
        audited: the values that the agent which reads by a pattern has seen.
        quiet: workers ask nothing, so that all inputs of a shard are idle.
        under_way: calls that were given up, and are still to take effect.
        acknowledged: those that were awaited, and acknowledged.
    """

    def __init__(self, plan: Plan, directory: Path, *, exactly_once: bool) -> None:
        self.plan = plan
        self.directory = directory
        self.exactly_once = exactly_once
        self.name = f"sweep-{directory.name}"
        self.cluster = MemoryTransport(self.name).cluster
        self.cluster.faults = SweptDeliveries(plan, TIMEOUT)
        for topic in (ORDERS, QUESTIONS, AUDITS, ECHO, GOOD, CLOSED):
            self.cluster.create(TopicSpec(topic, PARTITIONS))
        for topic in (ANSWERS, GUESTS):
            self.cluster.create(TopicSpec(topic, 1))
        self.problems: list[str] = []
        self.parties: dict[str, Party] = {}
        self.exits: list[BaseException] = []
        self.tolerated: set[tuple[str, int, int]] = set()
        self.ticks: dict[int, Awaitable[Any]] = {}
        self.acknowledged: set[int] = set()
        self.audited: set[int] = set()
        self.answered: list[str] = []
        self.asked: list[int] = []
        self.under_way: list[asyncio.Future[None]] = []
        self.quiet = False
        self._failed: set[tuple[str, int, int]] = set()
        self._places: dict[str, Party] = {}
        self._disks: dict[str, SweptDisk] = {}
        self._fed = 0
        self._numbers: Counter[str] = Counter()

    def problem(self, text: str) -> None:
        """Note what is wrong, once."""
        if text not in self.problems:
            self.problems.append(text)

    # -- workers

    def enter(self, place: str) -> Party:
        """Begin a new life of the worker at a place."""
        party = Party(self, f"{place}-{sum(name.startswith(f'{place}-') for name in self.parties) + 1}")
        self.parties[party.name] = self._places[place] = party
        return party

    def at_place(self, place: str) -> Party:
        """The worker that lives at a place."""
        return self._places[place]

    def disk(self, name: str) -> SweptDisk:
        """The stores of a directory."""
        return self._disks.setdefault(name, SweptDisk(name))

    def leave_behind(self, place: str) -> None:
        """Let a place look as if a worker had died there whose changelog was deleted meanwhile: a member, and a store that is ahead."""
        instance = Instance.acquire(self.directory / place / "v1")
        instance.member = "somebody-dead"
        instance.release()
        for partition in range(PARTITIONS):
            values, facts = {b'"kind0"': b"1000000"}, {Facts.POSITION: b"1000000"}
            self.disk(f"{place}/v1/tables").leave("kinds", partition, values, facts)

    def next_number(self, kind: str) -> int:
        """The next number of its kind."""
        self._numbers[kind] += 1
        return self._numbers[kind]

    def fails_once(self, agent: str, place: tuple[int, int]) -> bool:
        """Whether the event at this partition and offset fails now: it does so once in the whole run."""
        if (agent, *place) in self._failed:
            return False
        self._failed.add((agent, *place))
        return True

    # -- what goes in

    def feed(self, rounds: int = 1) -> None:
        """Produce an order for each partition, and every other time a question; all of them are different.

        The event time of an order is that of the loop, so that windows close where no orders come, and none comes too late for its own.
        """
        now = round(asyncio.get_running_loop().time() * 1000)
        for _ in range(rounds):
            self._fed += 1
            for partition in range(PARTITIONS):
                account, amount = f"{'abc'[self._fed % 3]}{partition}", 2 * self._fed + partition
                self.cluster.append(TP(ORDERS, partition), [Entry(now, account.encode(), str(amount).encode())])
            self.cluster.append(TP(AUDITS, self._fed % PARTITIONS), [Entry(0, None, str(self._fed).encode())])
            if self._fed % 2:
                headers = [
                    ("Faust-Ag-ReplyTo", ANSWERS.encode()),
                    ("Faust-Ag-CorrelationId", f"question-{self._fed}".encode()),
                ]
                entry = Entry(0, None, str(self._fed).encode(), headers)
                self.cluster.append(TP(QUESTIONS, self._fed // 2 % PARTITIONS), [entry])

    def tolerate(self, agent: str, account: str) -> None:
        """Tolerate that one event of an account fails in an agent: each of those that were fed."""
        log = self.cluster.log(TP(ORDERS, int(account[-1])))
        records = log.read(0, 1_000_000, committed=False).records
        self.tolerated |= {(agent, int(account[-1]), one.offset) for one in records if one.key == account.encode()}

    # -- what came out

    def records(self, topic: str) -> list[StoredRecord]:
        """The records of a topic, of all partitions one after the other, that readers see under this guarantee."""
        count = self.cluster.topic(topic).partitions
        logs = [self.cluster.log(TP(topic, partition)) for partition in range(count)]
        return [record for log in logs for record in log.read(0, 1_000_000, committed=self.exactly_once).records]

    def values(self, topic: str) -> list[Any]:
        """Their values, which are JSON."""
        return [json.loads(record.value or b"null") for record in self.records(topic)]

    def lag(self) -> dict[TP, int]:
        """What is not committed of the topics that are read, or not decided of those that are written, by partition."""
        offsets = self.cluster.group(GROUP).offsets
        left: dict[TP, int] = {}
        for topic, info in self.cluster.topics().items():
            for tp in (TP(topic, partition) for partition in range(info.partitions)):
                log = self.cluster.log(tp)
                if topic in (ORDERS, QUESTIONS, AUDITS) or topic.endswith("-repartition"):
                    committed = offsets.fetch([tp])[tp] or Offset(0)
                    behind = log.stable - log.start - committed.offset
                    if behind and log.read(committed.offset, 1_000_000, committed=self.exactly_once).records:
                        left[tp] = behind
                if log.stable != log.end:
                    left[tp] = left.get(tp, 0) + log.end - log.stable
        return left

    async def caught_up(self, seconds: float) -> None:
        """Wait until everything that was fed is committed; note a problem when that takes longer."""
        for _ in range(round(seconds / LOOK)):
            if not self.lag():
                return
            await asyncio.sleep(LOOK)
        if self.lag():
            left = ", ".join(f"{tp}: {behind}" for tp, behind in sorted(self.lag().items()))
            self.problem(f"after {seconds:g} s there is still something to do: {left}")

    def windows(self) -> dict[tuple[str, int], int]:
        """What the orders of each account add up to in each window: by account and beginning, in seconds."""
        sums: Counter[tuple[str, int]] = Counter()
        for partition in range(PARTITIONS):
            for record in self.cluster.log(TP(ORDERS, partition)).read(0, 1_000_000, committed=False).records:
                begin = int(record.timestamp / 1000 // WINDOW * WINDOW)
                sums[(record.key or b"").decode(), begin] += int(record.value or b"0")
        return sums

    async def closed(self, seconds: float) -> None:
        """Wait until all windows were told of, while nobody asks anything; note a problem when that takes longer."""
        self.quiet = True
        for _ in range(round(seconds / LOOK)):
            left = self.windows().keys() - {(account, begin) for account, begin, _ in self.values(CLOSED)}
            if not left and not self.lag():
                self.quiet = False
                return
            await asyncio.sleep(LOOK)
        self.problem(f"after {seconds:g} s these windows are still open: {sorted(left)}; not committed is {self.lag()}")

    async def asks(self, ask: Awaitable[Any], number: int, seconds: float) -> None:
        """Await an answer that a worker asked for; it must be right, or be refused in time."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            answer = await ask
        except StreamError as error:
            self.answered.append(type(error).__name__)
        except asyncio.CancelledError:
            self.answered.append("its timer was stopped")
            raise
        else:
            self.answered.append("right")
            if answer != 2 * number:
                self.problem(f"the answer to {number} is {answer!r}")
        if (took := loop.time() - began) > seconds:
            self.problem(f"ask({number}) took {took:.0f} s, and may take {seconds:g} s")
