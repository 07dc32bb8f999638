"""Units of work that no record brought: what a timer or a window changes and sends takes part in checkpoints as an event does."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

import stream_app as faust
from stream_core.errors import IllegalStateError
from stream_core.memory.log import Entry
from stream_core.primitives import TP
from stream_core.streams.effects import Effects
from stream_core.streams.sessions import PartitionSession
from stream_tables.errors import TableError

from .apps import GUARANTEES, cluster, make, until

SOURCE, OUT = TP("words", 0), TP("out", 0)
CHANGELOG = TP("shop-closed-changelog", 0)


class Windows:
    """An app whose agent counts words, and somebody who closes windows beside it.

    Args:
        guarantee: of processing.
    """

    def __init__(self, guarantee: str = "exactly_once", **options: Any) -> None:
        self.app = make(processing_guarantee=guarantee, broker_commit_interval=7.0, **options)
        self.words = self.app.topic("words", value_type=str, partitions=1)
        self.out = self.app.topic("out", value_type=str, partitions=1)
        self.closed = self.app.Table("closed", key_type=str, value_type=int, partitions=1)
        self.conflicts: list[str] = []

        @self.app.agent(self.words, name="count")
        async def count(stream: faust.Stream[str]) -> None:
            async for word in stream:
                self.closed[word] = 1

    async def start(self) -> None:
        """Start it, and wait until its partition runs."""
        await self.app.start()
        await until(lambda: SOURCE in self.app.engine.ownership.sessions and self.session.open)
        self.window = Effects("windows of count", "count", self.app.engine.outbox.held.emit)

    @property
    def session(self) -> PartitionSession:
        """The session of the source."""
        return self.app.engine.ownership.sessions[SOURCE]

    @contextmanager
    def unit(self, key: str = "window") -> Iterator[None]:
        """Close a window; who waits for open work is told when it is over."""
        try:
            with self.window.unit(self.session, key, lambda reason, _: self.conflicts.append(reason)):
                yield
        finally:
            self.app.engine.interval.progressed()

    def sent(self, tp: TP = OUT) -> list[bytes | None]:
        """What readers of committed records see."""
        records = cluster(self.app).log(tp).read(0, 1000, committed=True).records
        return [record.value if tp is OUT else record.key for record in records]


@pytest.mark.parametrize("guarantee", GUARANTEES)
async def test_a_unit_is_committed_as_a_whole(guarantee: str) -> None:
    """Its change and its send are there after the checkpoint, also for the next worker; a unit that failed has left nothing."""
    windows = Windows(guarantee)
    await windows.start()
    with windows.unit():
        windows.closed["a"] = 5
        await windows.out.send("a is closed")
    with suppress(ZeroDivisionError), windows.unit():
        windows.closed["a"], windows.closed["b"] = 6, 7
        if guarantee == "exactly_once":  # at least once, sends leave at once, those of events too
            await windows.out.send("b is closed")
        raise ZeroDivisionError
    assert windows.closed["a"] == 5
    assert "b" not in windows.closed
    assert await windows.app.engine.checkpoint()
    assert windows.sent() == [b'"a is closed"']
    assert windows.conflicts == []
    await windows.app.stop()

    again = Windows(guarantee, broker=windows.app.conf.broker)
    await again.start()
    assert dict(again.closed.items()) == {"a": 5}
    await again.app.stop()


async def test_a_cut_has_nothing_of_an_open_unit() -> None:
    """What is committed meanwhile is that of others; the unit goes into the next interval as a whole."""
    windows = Windows()
    await windows.start()
    with windows.unit():
        windows.closed["a"] = 5
        await windows.out.send("a is closed")
        cluster(windows.app).append(SOURCE, [Entry(0, None, b'"word"')])
        await until(lambda: windows.session.position == 1)
        assert await windows.app.engine.checkpoint()
        assert [key for key in windows.sent(CHANGELOG) if key] == [b'"word"']
        assert windows.sent() == []
    assert await windows.app.engine.checkpoint()
    assert [key for key in windows.sent(CHANGELOG) if key] == [b'"word"', b'"a"']
    assert windows.sent() == [b'"a is closed"']
    await windows.app.stop()


async def test_a_cut_waits_for_a_unit_whose_effects_others_have_seen() -> None:
    """An open unit that awaits its send is pinned: the send is in the transaction, so that the cut waits for the rest."""
    windows = Windows()
    await windows.start()
    with windows.unit():
        await (await windows.out.send("a is closed"))
        committing = asyncio.create_task(windows.app.engine.checkpoint())
        await until(lambda: windows.app.engine.outbox.held._cut_since is not None)  # the cut waits
        windows.closed["a"] = 5
        assert not committing.done()
    assert await committing
    assert (windows.sent(), [key for key in windows.sent(CHANGELOG) if key]) == ([b'"a is closed"'], [b'"a"'])
    await windows.app.stop()


async def test_a_unit_that_fails_behind_what_others_have_seen_asks_for_a_replay() -> None:
    """As an event would: the interval cannot be committed any more."""
    windows = Windows()
    await windows.start()
    with suppress(ZeroDivisionError), windows.unit():
        await (await windows.out.send("a is closed"))
        raise ZeroDivisionError
    assert windows.conflicts == ["windows of count failed, and others had seen its changes"]
    await windows.app.stop()


async def test_one_unit_at_a_time() -> None:
    """A second unit of the same effects is refused, and takes nothing from the first one, which is taken back as a whole."""
    windows = Windows()
    await windows.start()
    with suppress(ZeroDivisionError), windows.unit("first"):
        windows.closed["a"] = 5
        with (
            pytest.raises(IllegalStateError, match="'first' is open, and 'second' cannot begin"),
            windows.unit("second"),
        ):
            pass
        raise ZeroDivisionError
    assert "a" not in windows.closed
    await windows.app.stop()
    assert windows.sent(CHANGELOG) == []


async def test_a_partition_that_is_given_up_waits_for_an_open_unit() -> None:
    """The unit finishes and is committed; another one cannot begin."""
    windows = Windows()
    await windows.start()
    session = windows.session
    with windows.unit():
        windows.closed["a"] = 5
        stopping = asyncio.create_task(windows.app.stop())
        await until(lambda: not session.open)
        with (
            pytest.raises(IllegalStateError, match="other: words-0 takes no work in the state SUSPENDED"),
            Effects("other", "count", list.clear).unit(session, "window", lambda reason, _: None),
        ):
            pass
    await stopping
    assert session.dead
    assert [key for key in windows.sent(CHANGELOG) if key] == [b'"a"']


async def test_nothing_counts_of_a_unit_whose_interval_is_dropped() -> None:
    """Its changes are gone with the interval, it cannot change more, and finishing it sends nothing."""
    windows = Windows()
    await windows.start()
    with windows.unit():
        windows.closed["a"] = 5
        await windows.out.send("a is closed")
        windows.app.engine.interval.status.spoil("something else failed", None)
        assert not await windows.app.engine.checkpoint()
        with pytest.raises(TableError):
            windows.closed["b"] = 6
    await until(lambda: SOURCE in windows.app.engine.ownership.sessions and windows.session.open)
    assert "a" not in windows.closed
    await windows.app.engine.checkpoint()
    assert windows.sent() == []
    await windows.app.stop()
