"""Dead letters as somebody looks after them: which there are, and which are done with.

A letter stays on its topic until its retention ends, whatever becomes of it. So that it is not shown again, the group
``{app id}-dead-letters`` has an offset of each partition: letters before it are done with, and so are those after it that its text
names, as in ``12-14,20``. The group has no members, so brokers forget its offsets after a time; that cannot be told from letters that
nobody has looked after yet, but it can be said.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from stream_cli.cluster import Cluster
from stream_cli.locate import Application
from stream_cli.tail import read_until
from stream_core.errors import ConfigurationError
from stream_core.primitives import TP, Headers, Offset, RawRecord
from stream_core.sending.dead_letters import PREFIX

__all__ = ["FORGOTTEN", "Letter", "Letters", "topics_of"]

LONGEST = 4096
"""Characters of the text that a broker keeps beside an offset."""

FORGOTTEN = timedelta(days=7)
"""After this time a broker forgets the offsets of a group without members, unless its ``offsets.retention.minutes`` says another."""


@dataclass(frozen=True)
class Letter:
    """A dead letter.

    Attributes:
        tp: where it is.
        record: the record.
    """

    tp: TP
    record: RawRecord

    @property
    def id(self) -> str:
        """What it is called in a command: partition and offset."""
        return f"{self.tp.partition}:{self.record.offset}"

    def told(self, name: str) -> str:
        """Return what a header tells about the failure, such as ``error-message``; empty when it tells nothing."""
        wanted = PREFIX + name
        return next((data or b"" for header, data in self.record.headers if header == wanted), b"").decode(
            errors="replace"
        )

    @property
    def source(self) -> TP | None:
        """The partition that the record came from; ``None`` when the letter does not say it."""
        number = self.told("partition")
        return TP(self.told("topic"), int(number)) if self.told("topic") and re.fullmatch(r"\d{1,9}", number) else None

    @property
    def headers(self) -> Headers:
        """The headers that the record had."""
        return [(name, data) for name, data in self.record.headers if not name.startswith(PREFIX)]


@dataclass(frozen=True)
class Letters:
    """The letters of a topic, from the first that is not done with.

    Attributes:
        group: keeps what is done with.
        ends: the end of each partition.
        letters: all letters, in their order.
        done: the places of those that are done with.
        known: the partitions of which the group has kept something.
    """

    group: str
    ends: Mapping[TP, int]
    letters: Sequence[Letter]
    done: frozenset[tuple[TP, int]]
    known: frozenset[TP] = frozenset()

    @classmethod
    async def read(cls, cluster: Cluster, topic: str) -> Letters:
        """Read the letters of a topic.

        Raises:
            UnknownTopicError: there is no such topic.
            DeadlineError: the broker has not answered, or nothing came, for the timeout of the command.
        """
        group = f"{cluster.app.id}-dead-letters"
        async with cluster.answering():
            tps = await cluster.require(topic)
            starts, ends = await cluster.bounds(tps)
            kept = {tp: offset for tp, offset in (await cluster.groups.offsets(group)).items() if tp.topic == topic}
        positions = {tp: max(starts[tp], kept[tp].offset) if tp in kept else starts[tp] for tp in tps}
        letters = [Letter(tp, record) async for tp, record in read_until(cluster, positions, ends, cluster.timeout)]
        letters.sort(key=lambda one: (one.record.timestamp, one.tp.partition, one.record.offset))
        return cls(group, ends, letters, cls.done_with(kept, letters), frozenset(kept))

    @staticmethod
    def done_with(kept: Mapping[TP, Offset], letters: Iterable[Letter]) -> frozenset[tuple[TP, int]]:
        """Return the places of those letters that are done with, by the offsets that are kept of it."""
        ranges = {tp: list(_ranges(offset.metadata)) for tp, offset in kept.items()}
        places = [(one.tp, one.record.offset) for one in letters]
        return frozenset(
            (tp, at) for tp, at in places if any(first <= at <= last for first, last in ranges.get(tp, ()))
        )

    @property
    def open(self) -> list[Letter]:
        """Those that are not done with."""
        return [one for one in self.letters if (one.tp, one.record.offset) not in self.done]

    def perhaps_forgotten(self, now: datetime) -> int:
        """Count the open letters that may have been done with, as they are old enough that a broker would have forgotten it by now."""
        until = (now - FORGOTTEN).timestamp() * 1000
        return sum(one.tp not in self.known and one.record.timestamp < until for one in self.open)

    def find(self, ids: Iterable[str]) -> list[Letter]:
        """Return the letters of these ids. Raises ConfigurationError for one that is not there, or done with."""
        known = {one.id: one for one in self.open}
        found = []
        for each in ids:
            if each not in known:
                raise ConfigurationError(
                    f"there is no letter {each}, or it is done with; `stream dlq list` lists those that there are"
                )
            found.append(known[each])
        return found

    async def finish(self, cluster: Cluster, letters: Iterable[Letter]) -> None:
        """Remember that letters are done with.

        Raises:
            ConfigurationError: there are too many letters between those that are done with to remember all of them.
            TransportError: the broker did not take it.
        """
        await cluster.groups.change(self.group, self.offsets_after(letters))

    def offsets_after(self, letters: Iterable[Letter]) -> dict[TP, Offset]:
        """Return what the group has to keep once letters are done with.

        Raises:
            ConfigurationError: there are too many letters between those that are done with to remember all of them.
        """
        letters = list(letters)
        now = self.done | {(one.tp, one.record.offset) for one in letters}
        return {tp: self._offset(tp, now) for tp in {one.tp for one in letters}}

    def _offset(self, tp: TP, done: frozenset[tuple[TP, int]]) -> Offset:
        own = sorted(one.record.offset for one in self.letters if one.tp == tp)
        still = [number for number in own if (tp, number) not in done]
        position = still[0] if still else self.ends[tp]
        ranges: list[list[int]] = []
        before_open = True
        for number in own:
            if (tp, number) not in done:
                before_open = True
            elif number > position:
                if before_open:
                    ranges.append([number, number])
                ranges[-1][1] = number
                before_open = False
        text = ",".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)
        if len(text) > LONGEST:
            raise ConfigurationError(
                f"{tp}: so many letters are left between those that are done with that the broker cannot remember them: retry or drop "
                f"{tp.partition}:{position}, the first one, or `--all`"
            )
        return Offset(position, text)


def _ranges(text: str) -> Iterator[tuple[int, int]]:
    """Read what :meth:`Letters.finish` has written; anything else is nothing."""
    for part in text.split(","):
        if found := re.fullmatch(r"(\d+)(?:-(\d+))?", part):
            yield int(found[1]), int(found[2] or found[1])


def topics_of(app: Application) -> list[str]:
    """Return the topics to which an app sends dead letters: by the policies of agents and topics, and else its own."""
    parts = [part for agent in app.agents.values() for part in getattr(agent.topic, "parts", ())]
    policies = [agent.on_failure for agent in app.agents.values()]
    policies += [
        policy for topic in (*app.topics.values(), *parts) for policy in (topic.on_decode_error, topic.on_produce_error)
    ]
    own = f"{app.id}-dead-letter"
    named = {policy.topic or own for policy in policies if policy is not None and policy.action == "dead_letter"}
    return sorted(named) or [own]
