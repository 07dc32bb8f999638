"""The numbered examples print what they say they print, and the indexes know them."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("[0-9]*.py"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_it_prints_what_it_says(example: Path, tmp_path: Path) -> None:
    """Run as its docstring tells, an example ends by itself with code 0, and prints what stands below "It prints:"."""
    about = ast.get_docstring(ast.parse(example.read_text())) or ""
    assert f"\n    python examples/{example.name}" in about
    shown = re.search(r"^It prints:\n\n((?:    .*\n?)+)", about, re.MULTILINE)
    assert shown, "the docstring does not say what it prints"
    program = [sys.executable, "-W", "error", str(example)]
    environment = os.environ | {"APP_WEB_ENABLED": "false"}
    done = subprocess.run(
        program, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == textwrap.dedent(shown[1]).strip()


@pytest.mark.parametrize("index", ["examples/README.md", "docs/examples.md"])
def test_indexes_list_all_examples(index: str) -> None:
    """Each example is in both indexes, in order."""
    found = dict.fromkeys(re.findall(r"\b\d\d_\w+\.py", (ROOT / index).read_text()))
    assert sorted(found) == list(found) == [path.name for path in EXAMPLES]


def test_examples_are_numbered_without_gaps() -> None:
    """The order is that of their numbers, from 1."""
    assert [int(path.name[:2]) for path in EXAMPLES] == list(range(1, len(EXAMPLES) + 1))
