"""The page "claim by claim" tells the truth: each test that it names is run, and shows something that the page says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "guide.md"
TEST = re.compile(r"`([\w/-]+\.py::\w+)`")


def rows() -> list[list[str]]:
    """The cells of each row of the page, but for heads of tables."""
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return [row for row in cells if not set(row[0]) <= {"-", "|"} and row[0] not in ("claim", "the guides")]


NAMED = sorted({name for row in rows() for name in TEST.findall(row[-1])})
NOT_YET = PAGE.read_text(encoding="utf-8").partition("## Not yet")[2]


@pytest.fixture(scope="module")
def collected() -> set[str]:
    """The tests that pytest collects in the files that the page names, and in this directory."""
    files = sorted({name.partition("::")[0] for name in NAMED} | {"tests/guide"})
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *files]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return {line.partition("[")[0] for line in done.stdout.splitlines() if "::" in line}


def test_each_claim_names_a_test_that_is_run(collected: set[str]) -> None:
    """No row names a test that does not exist."""
    assert set(NAMED) - collected == set()


def test_no_test_of_a_claim_is_skipped() -> None:
    """What shows a claim is run everywhere: it is not marked as one that may fail, or that is left out."""
    for name in NAMED:
        path, _, test = name.partition("::")
        source = (ROOT / path).read_text(encoding="utf-8")
        decorators = re.search(rf"((?:^@.*\n(?:^[ )].*\n)*)*)^(?:async )?def {test}\(", source, re.MULTILINE)
        assert decorators is not None, name
        assert not re.search(r"skip|xfail", decorators[1]), name


def test_each_test_of_the_guide_is_named(collected: set[str]) -> None:
    """A test in this directory that no row names shows a claim that the page forgets."""
    own = {name for name in collected if name.startswith("tests/guide/") and "test_page" not in name}
    assert own - set(NAMED) == set()


def test_each_row_has_a_claim_and_a_test() -> None:
    """Rows are whole; those of what does not hold yet name no test."""
    for row in rows():
        assert all(row), row
        assert (TEST.search(row[-1]) is None) == (f"| {row[0]} |" in NOT_YET), row
