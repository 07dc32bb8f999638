"""The fault sweep itself: it counts every method of every port, and the same calls come in each run.

The whole of it is ``just chaos --row sweep``, and pairs of faults with ``--pairs``.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stream_core import ports
from stream_core.errors import ConfigurationError
from sweep.cases import pairs, part, singles
from sweep.faults import WAYS, Fault, parse
from sweep.run import GUARANTEES

HERE = Path(__file__).parent

NEVER_FAIL = {
    "consumer.owners",
    "consumer.pause",
    "consumer.rejoin",
    "consumer.resume",
    "consumer.seek",
    "consumer.subscribe",
    "consumer.unreadable",
    "producer.backlog",
    "producer.count",
    "producer.crowded",
    "producer.max_record_size",
    "producer.transaction_age",
    "reader.seek",
    "store.close",
    "stores.close",
}
"""What ports name no error for."""

IN_PARTS = {"producer.send_many"}
"""What fails as the calls of another method that it stands for: each of its records is counted, and fails, as ``producer.send``."""

OPERATED = {"admin.sizes", "reader.offsets_since"}
"""What commands ask for whoever operates an app, as all of ``Groups``: no worker calls it, so that nothing can be lost by it."""

SEED = 0
"""Which part of the cases is run each time."""

PRINT = "from sweep.run import play; outcome = play((), {!r}); print(outcome.problems); print(outcome.trace)"

COUNTS = {"producer.send": 40, "store.write": 9, "consumer.check": 1}


def sweep(*arguments: str) -> list[dict[str, Any]]:
    """Run the sweep in a process of its own; returns the cases that failed."""
    ended = subprocess.run(
        [sys.executable, "-m", "sweep", *arguments],
        cwd=HERE,
        env={**os.environ, "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        timeout=580,
    )
    failed = [json.loads(line) for line in ended.stdout.splitlines()]
    assert ended.returncode == bool(failed), ended.stderr
    return failed


def test_every_method_of_a_port_can_fail_or_names_no_error() -> None:
    """A method that a port gets must be given the ways in which it fails, or said to have none."""
    methods = {
        f"{port.__name__.lower()}.{name}"
        for port in (ports.Consumer, ports.Producer, ports.Admin, ports.Reader, ports.Store, ports.Stores)
        for name in vars(port)
        if not name.startswith("_")
    }
    assert methods == (WAYS.keys() - {"producer.deliver"}) | NEVER_FAIL | IN_PARTS | OPERATED


def test_faults_are_read_as_they_are_written() -> None:
    """A reproducer names the faults of its run."""
    faults = (Fault("producer.send", 17, "ProduceError"), Fault("store.write", 3, "full/done"))
    assert parse(",".join(map(str, faults))) == faults


@pytest.mark.parametrize(
    "text", ["", "producer.send", "producer.send#1:full", "nobody.send#1:late", "store.get#x:damaged"]
)
def test_what_is_no_fault_is_refused(text: str) -> None:
    """A call that cannot fail in this way is named."""
    with pytest.raises(ConfigurationError, match="is no fault"):
        parse(text)


def test_three_seeds_in_a_row_have_first_middle_and_last() -> None:
    """The part that is run each time has every kind of fault, and goes around."""
    whole = set(singles(COUNTS))
    parts = [set(part(COUNTS, seed)) for seed in range(3)]
    kinds = {(fault.call, fault.way) for (fault,) in whole}
    for one in parts:
        assert one < whole
        assert {(fault.call, fault.way) for (fault,) in one} == kinds
    ends = {number for one in parts for (fault,) in one for number in [fault.number] if fault.call == "producer.send"}
    assert {1, 20, 40} <= ends


def test_pairs_are_drawn_by_their_seed() -> None:
    """The same seed draws the same pairs, of calls that there are."""
    drawn = list(pairs(COUNTS, 7, 50))
    assert drawn == list(pairs(COUNTS, 7, 50))
    assert drawn != list(pairs(COUNTS, 8, 50))
    assert all(fault.number <= COUNTS[fault.call] for faults in drawn for fault in faults)


@pytest.mark.parametrize("guarantee", GUARANTEES)
def test_the_same_calls_come_in_each_process(guarantee: str) -> None:
    """The number of a call is its name: two processes that run the scenario make the same calls in the same order."""
    command = [sys.executable, "-c", PRINT.format(guarantee)]
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    traces = [subprocess.check_output(command, cwd=HERE, env=environment, timeout=100) for _ in range(2)]
    assert traces[0].splitlines()[0] == b"[]"
    assert traces[0] == traces[1]


def test_the_scenario_makes_every_call_that_can_fail() -> None:
    """A part of the scenario that does not happen any more would be swept in vain."""
    made = "from sweep.run import GUARANTEES, play; print(sorted({call for one in GUARANTEES for call in play((), one).counts}))"
    output = subprocess.check_output(
        [sys.executable, "-c", made], cwd=HERE, env={**os.environ, "PYTHONHASHSEED": "0"}, timeout=100, text=True
    )
    assert not WAYS.keys() - set(ast.literal_eval(output))


@pytest.mark.timeout(600)  # half a minute of a processor, which others may want as well
@pytest.mark.parametrize("guarantee", GUARANTEES)
def test_whatever_call_fails_nothing_is_lost(guarantee: str) -> None:
    """Every kind of fault, at its first call and at another one: workers go on or end by their rule, and all books are right."""
    failed = sweep("--part", "--seed", str(SEED), "--guarantee", guarantee)
    assert not failed, "\n".join(line for case in failed for line in (case["reproducer"], *case["problems"][:5]))
