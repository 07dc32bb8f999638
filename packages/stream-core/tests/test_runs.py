"""Handles find what runs, and start it where they may; partitions are told in a few words."""

from __future__ import annotations

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

    with pytest.raises(ConfigurationError, match="cannot send: the app is not started"):
        await handle.reach("cannot send")
    with starting_when_needed(start):
        assert await handle.reach("cannot send") == "engine"
        assert await handle.reach("cannot send") == "engine"
    assert starts == ["start"]
    run.end()
    with pytest.raises(ConfigurationError, match="cannot send: the app is not started"):
        await handle.reach("cannot send")


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
