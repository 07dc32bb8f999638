"""The program as its users call it."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from stream_cli.locate import locate
from stream_cli.main import call_command, cli, run

Write = Callable[..., Path]

LOOKING = """
class Looking(App):
    def worker(self, loop=None, **options):
        print(loop)
        return super().worker(**options)

class Silent(Worker):
    def execute_from_commandline(self):
        return 0

Worker = Silent
app = Looking("bank")
"""
"""An app that prints which loop its worker gets."""


def call(*arguments: str, app: object = None) -> Result:
    """Run the program with these arguments."""
    return CliRunner().invoke(cli, arguments, obj=app)


def seen(result: Result) -> dict[str, Any]:
    """What the worker was made with."""
    last: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return last


def test_help_shows_own_and_added_commands() -> None:
    """The help has examples, the worker, and the commands of installed packages."""
    result = call("--help")
    assert result.exit_code == 0
    assert "stream -A bank worker" in result.stdout
    assert "Exit codes: 0 done, 1 something failed, 2 the arguments are wrong." in result.stdout
    assert {"agents", "broker", "completion", "send", "tables", "worker"} <= {
        line.split()[0] for line in result.stdout.partition("Commands:")[2].splitlines() if line
    }


def test_worker_gets_options_and_returns_the_exit_code(write: Write) -> None:
    """The options reach the worker under their names, and its exit code is that of the program."""
    write("bank", 'app = App("bank", exit_code=3)')
    result = call("-A", "bank", "worker", "-l", "warn", "-f", "bank.log", "--fail-fast")
    assert result.exit_code == 3
    assert seen(result)["options"] == {"loop": "auto", "loglevel": "WARNING", "logfile": "bank.log", "fail_fast": True}


def test_worker_changes_settings_only_when_told(write: Write) -> None:
    """Web options and the data directory are assigned to the settings; without them the settings stay."""
    write("bank", 'app = App("bank")')
    plain = seen(call("-A", "bank", "worker"))["conf"]
    assert (plain["web_enabled"], plain["web_port"], plain["datadir"]) == ("True", "6066", "bank-data")
    given = seen(call("-A", "bank", "-D", "state", "worker", "--without-web", "-p", "7000", "-b", "::1"))["conf"]
    assert (given["web_enabled"], given["web_port"], given["web_bind"], given["datadir"]) == (
        "False",
        "7000",
        "::1",
        "state",
    )


@pytest.mark.parametrize(
    ("arguments", "level"),
    [
        ((), "INFO"),
        (("--debug",), "DEBUG"),
        (("worker", "-l", "CRIT"), "CRITICAL"),
        (("worker", "-l", "Info"), "INFO"),
    ],
)
def test_log_level(write: Write, arguments: tuple[str, ...], level: str) -> None:
    """A worker logs from INFO on, on a terminal or not; ``--debug`` and ``-l`` change that, in any case of letters."""
    write("bank", 'app = App("bank")')
    command = () if "worker" in arguments else ("worker",)
    assert seen(call("-A", "bank", *arguments, *command))["options"]["loglevel"] == level


def test_workdir_is_where_the_app_is_looked_for(write: Write, workdir: Path) -> None:
    """``-W`` changes the directory before the app is imported."""
    write("project.bank", 'app = App("bank")')
    assert call("-W", "project", "-A", "bank", "worker").exit_code == 0
    assert Path.cwd() == workdir / "project"


def test_the_environment_says_what_the_command_line_leaves_out(
    write: Write, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``FAUST_WORKDIR``, ``FAUST_LOOP`` and ``FAUST_CONSOLE_PORT``, or with ``F_``; an option goes first."""
    write("project.bank", 'app = App("bank")')
    for name, value in {"FAUST_WORKDIR": "project", "F_LOOP": "aio", "FAUST_CONSOLE_PORT": "6000"}.items():
        monkeypatch.setenv(name, value)
    options = seen(call("-A", "bank", "worker"))["options"]
    assert (options["loop"], options["console_port"]) == ("aio", 6000)
    assert Path.cwd() == workdir / "project"
    monkeypatch.chdir(workdir)
    assert seen(call("-A", "bank", "-L", "auto", "worker"))["options"]["loop"] == "auto"


def test_worker_without_app_says_how_to_give_one() -> None:
    """A command that needs an app explains the three ways to name it."""
    result = call("worker")
    assert result.exit_code == 2
    assert "stream -A bank worker" in result.stderr
    assert "python bank.py worker" in result.stderr


def test_app_that_is_not_found_is_one_clear_error(workdir: Path) -> None:
    """Errors of ours become a message and exit code 1, without a traceback."""
    result = call("-A", "nowhere", "worker")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: there is no module 'nowhere'")


@pytest.mark.parametrize("loop", ["aio", "uvloop", "auto"])
def test_a_worker_is_told_the_loop_that_was_asked_for(write: Write, loop: str) -> None:
    """``--loop`` names the event loop; it is ``auto`` unless given."""
    write("bank", LOOKING)
    given = () if loop == "auto" else ("-L", loop)
    assert call("-A", "bank", *given, "worker").stdout.splitlines()[-1] == loop


@pytest.mark.parametrize(
    "command",
    [
        *sorted(cli.own),
        "offsets show",
        "offsets reset",
        *(f"dlq {name}" for name in ("list", "show", "retry", "drop")),
    ],
)
def test_help_of_each_command_has_examples(command: str) -> None:
    """``--help`` teaches by examples, and needs no app."""
    result = call(*command.split(), "--help")
    assert result.exit_code == 0
    assert "Examples:\n" in result.stdout


def test_no_command_shows_the_help() -> None:
    """The name alone is answered with what there is."""
    assert "Commands:" in call().output


def test_unknown_command_names_the_nearest() -> None:
    """A misspelled command is answered with the right one."""
    assert "Did you mean 'worker'?" in call("wrker").stderr


def test_app_runs_the_program_for_itself(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    """``app.main()`` has the same commands without ``-A``, and ends the process with the worker's exit code."""
    write("bank", 'app = App("bank", exit_code=4)')
    with pytest.raises(SystemExit) as ended:
        run(locate("bank"), ["-q", "worker", "-l", "error"])
    assert ended.value.code == 4
    assert json.loads(capsys.readouterr().out)["options"]["loglevel"] == "ERROR"


def test_option_wins_over_the_app_that_runs_the_program(write: Write) -> None:
    """An app that is named with ``-A`` is taken even when another one started the program."""
    write("bank", 'app = App("bank"); other = App("other")')
    result = call("-A", "bank:other", "worker", app=locate("bank"))
    assert "id: other" in result.stdout


INTERRUPTED = """
import sys


class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == "stream_cli.context":
            raise KeyboardInterrupt


sys.meta_path.insert(0, Interrupt())
from stream_cli.entry import main

main()
"""


def test_ctrl_c_while_the_program_is_loaded() -> None:
    """Is answered in a word, as later."""
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "Aborted!\n")


CLOSED = """
import os
import socket
import sys

class Looking(App):
    def worker(self, **options):
        made = socket.socket()
        with open("seen.json", "w") as file:
            streams = [sys.stdin.read(), sys.stdout.write("out"), sys.stderr.write("err")]
            json.dump([made.fileno() > 2, [os.get_inheritable(number) for number in range(3)], streams], file)
        return super().worker(**options)

if __name__ == "__main__":
    from stream_cli.main import run
    run(Looking("bank"), ["-q", "worker"])
"""


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_standard_streams_that_the_caller_has_closed(write: Write, workdir: Path, closed: str) -> None:
    """No socket takes the place of one, at which uvloop aborts the process: they are empty, for programs that this one starts, too."""
    command = ["sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, str(write("bank", CLOSED))]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False, cwd=workdir
    )
    assert (done.returncode, done.stderr) == (0, "" if "2>" in closed else "err")
    assert json.loads((workdir / "seen.json").read_text()) == [True, [True, True, True], ["", 3, 3]]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no full device")
@pytest.mark.parametrize("buffering", [-1, 0], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize("command", ["--help", "agents", "agents --json"])
def test_output_that_cannot_be_written(write: Write, buffering: int, command: str) -> None:
    """It is a sentence, and nothing is left that would fail once more at the end of the process."""
    write("bank", 'app = App("bank")')
    with suppress(OSError), io.TextIOWrapper(open("/dev/full", "wb", buffering), write_through=not buffering) as full:
        code, _, errors = call_command(command, app=locate("bank"), stdout=full)
    assert isinstance(errors, io.StringIO)
    assert (code, errors.getvalue()) == (1, "Error: standard output cannot be written to: No space left on device\n")
