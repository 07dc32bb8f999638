"""The fault plan."""

from __future__ import annotations

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from chaos.faults import Fault, Kind, plan

SESSION = 6.0


def make(seed: int, *, seconds: float, workers: int) -> list[Fault]:
    """A plan with the session timeout of the tests."""
    return plan(random.Random(seed), seconds=seconds, workers=workers, session=SESSION)


@given(seed=st.integers(), seconds=st.floats(5, 300), workers=st.integers(1, 4))
def test_same_seed_same_plan(seed: int, seconds: float, workers: int) -> None:
    """A seed names one plan."""
    assert make(seed, seconds=seconds, workers=workers) == make(seed, seconds=seconds, workers=workers)


@given(seed=st.integers(), seconds=st.floats(5, 300), workers=st.integers(1, 4))
def test_worker_is_never_in_two_faults(seed: int, seconds: float, workers: int) -> None:
    """A worker is up again before its next fault, and faults come in order and in time."""
    faults = make(seed, seconds=seconds, workers=workers)
    assert faults == sorted(faults, key=lambda fault: fault.at)
    up_from = [0.0] * workers
    for fault in faults:
        assert up_from[fault.worker] <= fault.at <= seconds
        up_from[fault.worker] = fault.at + fault.hold


@given(seed=st.integers(), workers=st.integers(1, 4))
def test_every_kind_comes_once_a_round(seed: int, workers: int) -> None:
    """No seed leaves out a kind of fault."""
    faults = make(seed, seconds=120, workers=workers)
    whole = len(faults) // len(Kind) * len(Kind)
    assert set(Counter(fault.kind for fault in faults[:whole]).values()) == {whole // len(Kind)}


@given(seed=st.integers())
def test_stopped_worker_outstays_its_session(seed: int) -> None:
    """A stopped worker is continued only when the group has given it up."""
    holds = [fault.hold for fault in make(seed, seconds=120, workers=2) if fault.kind is Kind.STOP]
    assert holds
    assert min(holds) > SESSION
