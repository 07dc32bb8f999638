"""The comparison finds what is wrong, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaos.errors import RowError
from chaos.ledger import Deposit, Ledger, Position
from chaos.verify import (
    Echoed,
    EchoReport,
    Entry,
    Told,
    Window,
    compare_echo,
    compare_totals,
    compare_windows,
    fold,
    sums_of,
    windows_of,
)

deposits = st.dictionaries(
    st.builds(Position, st.integers(0, 2), st.integers(0, 30)),
    st.builds(Deposit, st.sampled_from(["a1", "a2"]), st.integers(1, 9)),
    min_size=1,
).map(lambda fed: {at: Deposit(f"{deposit.account}/{at.partition}", deposit.amount) for at, deposit in fed.items()})


def echoes_of(fed: dict[Position, Deposit]) -> list[Echoed]:
    """The echoes of a program without a fault."""
    return [Echoed(fed[position].account, position) for position in sorted(fed)]


def changelog_of(fed: dict[Position, Deposit]) -> list[Entry]:
    """The changelog of a program without a fault: one record for each deposit."""
    sums: dict[str, int] = {}
    entries = []
    for number, (position, deposit) in enumerate(sorted(fed.items())):
        sums[deposit.account] = sums.get(deposit.account, 0) + deposit.amount
        key, value = f'"{deposit.account}"'.encode(), str(sums[deposit.account]).encode()
        entries.append(Entry(position.partition, number, key, value))
    return entries


def ledger_of(fed: dict[Position, Deposit], *, refuses: bool = False) -> Ledger:
    """A ledger of these deposits."""
    ledger = Ledger(refuses=refuses)
    ledger.deposits.update(fed)
    return ledger


@given(deposits)
def test_faultless_run_has_no_differences(fed: dict[Position, Deposit]) -> None:
    """Each deposit echoed once and summed once is right."""
    assert compare_echo(fed, echoes_of(fed)) == EchoReport([], {}, [], [])
    assert compare_totals(ledger_of(fed).totals(), fold(changelog_of(fed))) == []


@given(deposits, st.data())
def test_lost_repeated_and_foreign_echoes_are_named(fed: dict[Position, Deposit], data: st.DataObject) -> None:
    """One echo removed, one repeated and one invented are each found, by position."""
    echoes = echoes_of(fed)
    lost, repeated = data.draw(st.sampled_from(echoes)), data.draw(st.sampled_from(echoes))
    assert compare_echo(fed, [echo for echo in echoes if echo != lost]).missing == [lost.position]
    assert compare_echo(fed, [*echoes, repeated]).repeated == {repeated.position: 1}
    nowhere = Position(9, 9)
    assert compare_echo(fed, [*echoes, Echoed("a1", nowhere)]).foreign == [nowhere]


@given(deposits, st.data())
def test_wrong_total_is_named(fed: dict[Position, Deposit], data: st.DataObject) -> None:
    """A deposit that counted twice makes its account wrong, and no other."""
    table = fold(changelog_of(fed))
    position = data.draw(st.sampled_from(sorted(fed)))
    key = f'"{fed[position].account}"'.encode()
    table[position.partition][key] = str(int(table[position.partition][key]) + fed[position].amount).encode()
    (wrong,) = compare_totals(ledger_of(fed).totals(), table)
    assert wrong.startswith(fed[position].account)


def test_order_is_of_first_echoes_per_account() -> None:
    """An echo that overtook an earlier one of its account is found; a repetition later is not one."""
    first, second = Position(0, 1), Position(0, 2)
    fed = {first: Deposit("a1", 1), second: Deposit("a1", 1)}
    overtaken = [Echoed("a1", second), Echoed("a1", first)]
    assert compare_echo(fed, overtaken).disordered == [first]
    assert compare_echo(fed, [*reversed(overtaken), Echoed("a1", first)]).disordered == []


def test_tombstone_removes_a_key() -> None:
    """A null value in a changelog deletes the key."""
    entries = [Entry(0, 0, b'"a1"', b"1"), Entry(0, 1, b'"a1"', None)]
    assert fold(entries) == {0: {}}
    assert compare_totals({0: {"a1": 1}}, fold(entries)) == ["a1 in partition 0 is None, fed 1"]


def test_refused_deposits_must_leave_no_trace() -> None:
    """A negative amount counts for nothing where the program refuses it, and its echo is foreign unless tolerated."""
    good, bad = Position(0, 0), Position(0, 1)
    fed = {good: Deposit("a1", 5), bad: Deposit("a1", -1)}
    ledger = ledger_of(fed, refuses=True)
    assert ledger.totals() == {0: {"a1": 5}}
    assert ledger_of(fed).totals() == {0: {"a1": 4}}
    assert compare_echo(ledger.accepted(), echoes_of(fed)).foreign == [bad]
    assert compare_echo(ledger.accepted(), echoes_of(fed), ledger.refused()) == EchoReport([], {}, [], [])


def test_ledger_takes_in_what_was_not_acknowledged() -> None:
    """A deposit whose acknowledgement was lost counts when it is in the topic; one that the topic lost is an error."""
    one, two = Position(0, 0), Position(0, 1)
    ledger = ledger_of({one: Deposit("a1", 1)})
    ledger.reconcile({one: Deposit("a1", 1), two: Deposit("a2", 2)})
    assert ledger.totals() == {0: {"a1": 1, "a2": 2}}
    with pytest.raises(RowError, match="lost 1 acknowledged"):
        ledger.reconcile({one: Deposit("a1", 1)})


def test_windows_are_compared_by_the_timestamps_of_deposits() -> None:
    """A wrong amount, a window that nothing was fed in, and a repetition are found; what is open yet is not missed."""
    entries = [
        Entry(0, number, None, Deposit("a1", amount).encode(), timestamp)
        for number, (amount, timestamp) in enumerate([(1, 4000), (2, 5999), (4, 6000)])
    ]
    fed = windows_of(entries, 2.0)
    first, second = Window("a1", 4.0), Window("a1", 6.0)
    assert fed == {first: 3, second: 4}
    assert compare_windows(fed, [Told(first, 3)], repeats=False) == []
    assert compare_windows(fed, [Told(first, 3), Told(first, 3)], repeats=True) == []
    assert compare_windows(fed, [Told(first, 3), Told(first, 3)], repeats=False) == ["a1 from 4.0 is told 2 times"]
    assert compare_windows(fed, [Told(second, 3)], repeats=True) == ["a1 from 6.0 is 3, fed 4"]
    assert compare_windows(fed, [Told(Window("a1", 8.0), 1)], repeats=True) == ["a1 from 8.0 is 1, fed None"]
    assert sums_of([Told(first, 3), Told(second, 4), Told(first, 3)]) == {0: {"a1": 7}}
