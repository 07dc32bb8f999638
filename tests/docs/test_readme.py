"""What the README says is what happens."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def test_first_app_is_the_example() -> None:
    """The program in the README is examples/bank.py, which the demo and the chaos rows run."""
    (block,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert block == (ROOT / "examples" / "bank.py").read_text()


BEGINNING = "python3 -m pip install --target .uv uv && .uv/bin/uv run just"
"""How both commands of the README begin: pip refuses to install into the Python of many systems, not into a directory."""


def test_one_command_tries_it_and_one_tests_it() -> None:
    """Both stand alone, and install nothing outside of the checkout."""
    assert re.findall(rf"^    {re.escape(BEGINNING)} (.*)$", README, re.MULTILINE) == ["demo", "test"]
    assert "pip install uv" not in README


def test_ci_runs_the_test_command() -> None:
    """CI calls the command that the README gives, and no other of this project."""
    command = f"{BEGINNING} test"
    assert command in README
    script = (ROOT / ".ci" / "run").read_text()
    assert command in script
    assert script.count("uv run") == 1


def test_demo_shows_right_totals() -> None:
    """The demo ends by itself, with code 0, after it has compared every total."""
    demo = [sys.executable, str(ROOT / "examples" / "demo.py")]
    done = subprocess.run(demo, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "20,000 deposits" in done.stdout
    assert "every total is right" in done.stdout


def test_ctrl_c_ends_the_shop_without_an_error() -> None:
    """A terminal sends the signal to the task runner, too, which would call it an error of its own."""
    just = [str(Path(sys.executable).parent / "just"), "shop", "--without-web"]
    with subprocess.Popen(
        just, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as shop:
        assert shop.stdout is not None
        told: list[str] = []
        for line in shop.stdout:
            told.append(line)
            if "worker of shop is ready" in line:
                os.killpg(shop.pid, signal.SIGINT)
    assert "worker of shop has stopped" in told[-1], "".join(told)


def test_links_lead_somewhere() -> None:
    """Relative links of the README and DESIGN.md point at files that exist."""
    for page in ("README.md", "DESIGN.md", "CONTRIBUTING.md"):
        links = re.findall(r"\]\((?!http|#)([^)#]+)\)", (ROOT / page).read_text())
        assert [link for link in links if not (ROOT / link).exists()] == [], page
