"""Environments outside of the workspace, and what runs in them."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["MODULES", "ROOT", "Environment", "readme", "run"]

ROOT = Path(__file__).parents[2]
MODULES = {
    "stream-core": "stream_core",
    "stream-kafka": "stream_kafka",
    "stream-tables": "stream_tables",
    "stream-web": "stream_web",
    "stream-cli": "stream_cli",
    "stream-app": "stream_app",
    "stream-faust": "faust",
}
"""Import name of each distribution."""


def run(*command: str | Path, cwd: Path, code: int = 0) -> str:
    """Run a command to its end and return what it wrote; the test fails with its output if it ends with another code."""
    done = subprocess.run(command, cwd=cwd, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120)
    assert done.returncode == code, f"{' '.join(map(str, command))}\n{done.stdout}"
    return done.stdout


def readme(distribution: str) -> tuple[str, str]:
    """The program that the README of a package shows, and what it says that it prints."""
    text = (ROOT / "packages" / distribution / "README.md").read_text(encoding="utf-8")
    (program,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (output,) = re.findall(r"```output\n(.*?)```", text, re.DOTALL)
    return program, output


@dataclass(frozen=True)
class Environment:
    """A virtual environment outside the workspace.

    Attributes:
        directory: where it is; programs run in it.
    """

    directory: Path

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.directory / "bin" / "python"

    def install(self, wheels: Sequence[Path], constraints: Path) -> None:
        """Install wheel files and what they require, at the versions of the lock file."""
        run("uv", "pip", "install", "--python", self.python, "--constraint", constraints, *wheels, cwd=self.directory)

    def uninstall(self, *names: str) -> None:
        """Take distributions away, whoever requires them."""
        run("uv", "pip", "uninstall", "--python", self.python, *names, cwd=self.directory)

    def run(self, program: str, *args: str, code: int = 0) -> str:
        """Run a program of the environment; the test fails if it ends with another code."""
        return run(self.directory / "bin" / program, *args, cwd=self.directory, code=code)

    def execute(self, source: str, *args: str, code: int = 0) -> str:
        """Run Python source as a program, on which warnings are errors; the test fails if it ends with another code."""
        path = self.directory / "program.py"
        path.write_text(source)
        return self.run("python", "-W", "error", str(path), *args, code=code)
