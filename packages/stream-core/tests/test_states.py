"""The tables of states: what may follow what, and that nothing else can."""

from __future__ import annotations

from collections.abc import Mapping, Set
from enum import Enum
from typing import Any

import pytest

from stream_core.errors import IllegalStateError
from stream_core.states import ENGINE, INTERVAL, SESSION, EngineState, IntervalState, Machine, SessionState

TABLES: list[tuple[type[Enum], Mapping[Any, Set[Any]]]] = [
    (EngineState, ENGINE),
    (SessionState, SESSION),
    (IntervalState, INTERVAL),
]
tables = pytest.mark.parametrize(("states", "table"), TABLES, ids=[states.__name__ for states, _ in TABLES])


@tables
def test_a_table_is_whole(states: type[Enum], table: Mapping[Any, Set[Any]]) -> None:
    """Each state has its row, and each row leads to states only."""
    assert set(table) == set(states)
    assert set().union(*table.values()) <= set(states)


@tables
def test_what_the_table_does_not_allow_raises(states: type[Enum], table: Mapping[Any, Set[Any]]) -> None:
    """From each state a machine moves to those that the table names; for others it raises with both names, and stays."""
    for before in states:
        for after in states:
            machine = Machine("it", before, table)
            assert machine.may(after) == (after in table[before])
            if machine.may(after):
                machine.to(after)
                assert machine.state is after
            else:
                with pytest.raises(IllegalStateError, match=f"it is {before.value}, and cannot become {after.value}"):
                    machine.to(after)
                assert machine.state is before


def test_an_engine_always_ends() -> None:
    """From each state of an engine a stop is possible, and a stopped one stays so."""
    for state in set(EngineState) - {EngineState.STOPPING, EngineState.STOPPED}:
        assert EngineState.STOPPING in ENGINE[state]
    assert ENGINE[EngineState.STOPPING] == {EngineState.STOPPED}
    assert not ENGINE[EngineState.STOPPED]
    assert ENGINE[EngineState.FAILED] == {EngineState.STOPPING}
