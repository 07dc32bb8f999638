"""stream-core and stream-kafka alone, in an environment outside of the workspace, on a real Kafka."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("stream-core", "stream-kafka")


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command to its end and return what it wrote; the test fails with its output if it does."""
    done = subprocess.run(command, cwd=cwd, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}"
    return done.stdout


def test_two_packages_are_a_transport(bootstrap: str, tmp_path: Path) -> None:
    """With two packages installed, the program of stream-kafka's README sends to Kafka, and its agent reads it from there."""
    readme = (ROOT / "packages" / "stream-kafka" / "README.md").read_text(encoding="utf-8")
    (program,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    (output,) = re.findall(r"```output\n(.*?)```", readme, re.DOTALL)
    assert program.count("localhost:9092") == 1
    path = tmp_path / "program.py"
    path.write_text(program.replace("localhost:9092", bootstrap))
    for package in PACKAGES:
        run("uv", "build", "--wheel", "--no-sources", "--package", package, "--out-dir", tmp_path / "dist", cwd=ROOT)
    constraints = ("--frozen", "--all-packages", "--no-emit-workspace", "--no-hashes", "--quiet", "--output-file")
    run("uv", "export", *constraints, tmp_path / "constraints.txt", cwd=ROOT)
    run("uv", "venv", "--python", sys.executable, tmp_path / "environment", cwd=tmp_path)
    python = tmp_path / "environment" / "bin" / "python"
    wheels = sorted((tmp_path / "dist").glob("*.whl"))
    run("uv", "pip", "install", "--python", python, "--constraint", "constraints.txt", *wheels, cwd=tmp_path)

    assert run(python, "-W", "error", path, cwd=tmp_path) == output
    assert run(python, "-c", INSTALLED, cwd=tmp_path) == "stream_core stream_kafka\n"


INSTALLED = """
from importlib.util import find_spec
ours = ("stream_core", "stream_kafka", "stream_tables", "stream_web", "stream_cli", "stream_app", "faust")
print(*filter(find_spec, ours))
"""
