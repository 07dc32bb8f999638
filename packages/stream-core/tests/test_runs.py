"""Handles find what runs, and start it where they may; partitions are told in a few words."""

from __future__ import annotations

import asyncio

import pytest

from stream_core.errors import ConfigurationError
from stream_core.primitives import TP, listed
from stream_core.runs import PerRun, Run, starting_when_needed


async def test_what_nobody_runs_is_started_when_it_is_needed() -> None:
    """In a block that starts things when needed a handle without engine waits for the start; elsewhere it says that nothing runs."""
    handle, run, starts = PerRun[str](), Run("app"), list[str]()

    async def start() -> None:
        starts.append("start")
        handle.bind(run, "engine")

    with pytest.raises(ConfigurationError, match=r"cannot send: the app is not started: .*, app\.start_client\(\)$"):
        await handle.reach("cannot send")
    with starting_when_needed(start):
        assert await handle.reach("cannot send") == "engine"
        assert await handle.reach("cannot send") == "engine"
    assert starts == ["start"]
    run.end()
    with pytest.raises(ConfigurationError, match="cannot send: the app is not started"):
        await handle.reach("cannot send")


def test_what_ran_in_an_event_loop_that_is_closed_is_passed_over() -> None:
    """Where nobody has ended it: it is no engine beside those that run, whether they began before or behind its end."""
    handle, gone = PerRun[str](), asyncio.new_event_loop()

    async def begin(name: str) -> Run:
        run = Run(name)
        handle.bind(run, name)
        return run

    first = gone.run_until_complete(begin("gone"))
    second = asyncio.new_event_loop()
    second.run_until_complete(begin("second"))
    with pytest.raises(ConfigurationError, match="2 engines of this process have it"):
        handle.find("cannot send")
    gone.close()
    assert handle.find("cannot send") == "second"
    assert first.ended
    second.close()
    third = asyncio.new_event_loop()
    third.run_until_complete(begin("third"))
    assert handle.only == "third"
    third.close()


@pytest.mark.parametrize(
    ("tps", "words"),
    [
        ([], ""),
        ([TP("a", 3)], "a 3"),
        ([TP("b", 0), *(TP("a", number) for number in (7, 0, 1, 2, 5, 6))], "a 0-2, 5-7, b 0"),
    ],
)
def test_partitions_in_words(tps: list[TP], words: str) -> None:
    """Numbers that follow each other are one range, and topics stand in their order."""
    assert listed(tps) == words
