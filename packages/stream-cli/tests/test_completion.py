"""Completion in shells."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from stream_cli.main import cli


@pytest.mark.parametrize(
    ("shell", "word"), [("bash", "complete -o"), ("zsh", "compdef"), ("fish", "complete --no-files")]
)
def test_the_lines_for_a_shell(shell: str, word: str) -> None:
    """Each shell gets lines of its own, for the program ``stream``."""
    result = CliRunner().invoke(cli, ["completion", shell])
    assert result.exit_code == 0
    assert word in result.stdout
    assert "_STREAM_COMPLETE=" in result.stdout


def test_the_shell_that_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an argument it is the user's shell, and an error names those that there are when that is another."""
    monkeypatch.setenv("SHELL", "/usr/bin/zsh")
    assert "compdef" in CliRunner().invoke(cli, ["completion"]).stdout
    monkeypatch.setenv("SHELL", "/bin/tcsh")
    result = CliRunner().invoke(cli, ["completion"])
    assert result.exit_code == 2
    assert "name the shell: bash, zsh, fish" in result.stderr


def test_commands_are_completed() -> None:
    """What the lines call answers with the commands, those of other packages included."""
    environment = {"_STREAM_COMPLETE": "bash_complete", "COMP_WORDS": "stream ", "COMP_CWORD": "1"}
    result = CliRunner().invoke(cli, [], env=environment, prog_name="stream")
    assert {"plain,worker", "plain,send", "plain,broker"} <= set(result.stdout.split())


COMPLETE = """
eval "$(stream completion bash)"
COMP_WORDS=(stream dlq re) COMP_CWORD=2
_stream_completion stream
echo "${COMPREPLY[@]}"
"""


def _in_shell(shell: str, home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a shell that finds the program, without files of its user."""
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell} here")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"HOME": str(home), "PATH": path}
    return subprocess.run([shell, *arguments], env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_bash_completes(tmp_path: Path) -> None:
    """The lines work in the shell that they are for."""
    new_enough = "(( BASH_VERSINFO[0] * 100 + BASH_VERSINFO[1] >= 404 )) || exit 77\n"
    done = _in_shell("bash", tmp_path, "--norc", "-c", new_enough + COMPLETE)
    if done.returncode == 77:
        pytest.skip("this bash is older than 4.4, which completion needs")
    assert (done.stdout, done.stderr) == ("retry\n", "")


def test_fish_completes(tmp_path: Path) -> None:
    """With what each of them is, behind a tab."""
    line = "stream completion fish | source; complete -C 'stream dlq re'"
    done = _in_shell("fish", tmp_path, "--no-config", "-c", line)
    assert done.stdout.split("\t")[0] == "retry", done.stderr


TYPED = r"""
zmodload zsh/zpty
zpty -b shell zsh -f -i
zpty -w shell 'autoload -Uz compinit; compinit -u -D; eval "$(stream completion zsh)"; PS1=re""ady'
zpty -r shell told '*ready*'
zpty -n -w shell $'stream dlq re\t'
zpty -r shell told '*retry*'
zpty -d shell
print completed
"""


def test_zsh_completes(tmp_path: Path) -> None:
    """As somebody types it, since zsh completes for terminals only."""
    done = _in_shell("zsh", tmp_path, "-f", "-c", TYPED)
    assert done.stdout == "completed\n", done.stderr
