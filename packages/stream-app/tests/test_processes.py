"""``worker --processes N``: N workers under one supervisor that starts them again, and that they do not outlive."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PROGRAM = """
    import os
    import stream_app as faust
    from stream_cli import processes

    processes.DELAY = 0.01
    app = faust.App("many", broker="memory://", web_enabled=False)


    @app.task
    async def tell():
        os.write(1, f"runs {os.getpid()} {os.environ.get('STREAM_WORKER_PROCESS')}\\n".encode())  # in one piece
        if os.environ.get("FAILS"):
            raise RuntimeError("cannot go on")
        if os.environ.get("ENDS"):
            os.kill(os.getpid(), 15)


    @app.on_worker_shutdown.connect
    def shutdown(app, **kwargs):
        os.write(1, f"ends {os.getpid()}\\n".encode())


    if __name__ == "__main__":
        app.main()
"""


@contextmanager
def program(directory: Path, *arguments: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """The program with two workers."""
    (directory / "many.py").write_text(textwrap.dedent(PROGRAM))
    command = [sys.executable, "many.py", "-q", *arguments, "worker", "--processes", "2", "-l", "info"]
    with subprocess.Popen(
        command,
        cwd=directory,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as running:
        try:
            yield running
        finally:
            running.kill()


def pids(running: subprocess.Popen[str], word: str, number: int) -> list[int]:
    """The processes that say so, as soon as there are that many."""
    assert running.stdout is not None
    found: list[int] = []
    for line in running.stdout:
        if match := re.fullmatch(rf"{word} (\d+)( None)?", line.strip()):
            found.append(int(match[1]))
        if len(found) == number:
            return found
    raise AssertionError(f"the program has ended: {running.communicate()[1]}")


def test_a_worker_that_is_killed_starts_again(tmp_path: Path) -> None:
    """The others run on; SIGTERM stops all of them, and the exit code is 0. The directory may be changed: the command is the same."""
    (tmp_path / "elsewhere").mkdir()
    with program(tmp_path, "-W", "elsewhere") as running:
        first = pids(running, "runs", 2)
        os.kill(first[0], signal.SIGKILL)
        (again,) = pids(running, "runs", 1)
        assert again not in first
        running.terminate()
        assert sorted(pids(running, "ends", 2)) == sorted([again, first[1]])
        _, errors = running.communicate(timeout=60)
        assert running.returncode == 0, errors
        assert re.search(rf"worker \d, process {first[0]}, ended by SIGKILL; it starts again in 0\.01 s", errors)
        assert "SIGTERM: stopping 2 workers" in errors


def test_workers_end_with_their_supervisor(tmp_path: Path) -> None:
    """Also when that is killed: they stop as they do at a signal."""
    with program(tmp_path) as running:
        workers = pids(running, "runs", 2)
        running.kill()
        assert sorted(pids(running, "ends", 2)) == sorted(workers)


def test_usr1_is_handed_on(tmp_path: Path) -> None:
    """Each worker logs where everything waits, and nothing ends."""
    with program(tmp_path) as running:
        workers = pids(running, "runs", 2)
        running.send_signal(signal.SIGUSR1)
        cries = set[int]()
        assert running.stderr is not None
        for line in running.stderr:
            if "SIGUSR1" in line and (match := re.search(r"\] \[(\d+)\] \[", line)):
                cries.add(int(match[1]))
            if cries == set(workers):
                break
        running.terminate()
        assert sorted(pids(running, "ends", 2)) == sorted(workers)


def test_a_hang_up_stops_all(tmp_path: Path) -> None:
    """As a terminal does that is closed; the exit code is 0, as for a single worker."""
    with program(tmp_path) as running:
        workers = pids(running, "runs", 2)
        os.killpg(running.pid, signal.SIGHUP)
        assert sorted(pids(running, "ends", 2)) == sorted(workers)
        _, errors = running.communicate(timeout=60)
        assert running.returncode == 0, errors
        assert "SIGHUP: stopping 2 workers" in errors


def test_a_hang_up_that_is_ignored(tmp_path: Path) -> None:
    """Stops nobody: the program was started with ``nohup``."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # which programs that are started inherit
    try:
        with program(tmp_path) as running:
            workers = pids(running, "runs", 2)
            os.killpg(running.pid, signal.SIGHUP)
            running.terminate()  # it is heard behind the other
            assert sorted(pids(running, "ends", 2)) == sorted(workers)
            _, errors = running.communicate(timeout=60)
            assert running.returncode == 0, errors
            assert "SIGHUP" not in errors
            assert "SIGTERM: stopping 2 workers" in errors
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_worker_that_cannot_be_started(tmp_path: Path) -> None:
    """Stops the others, is told in a sentence, and the exit code is 1: here the directory of the command is gone."""
    here = tmp_path / "here"
    here.mkdir()
    with program(here) as running:
        first, second = pids(running, "runs", 2)
        here.rename(tmp_path / "elsewhere")
        os.kill(first, signal.SIGKILL)
        assert pids(running, "ends", 1) == [second]
        _, errors = running.communicate(timeout=60)
        assert running.returncode == 1, errors
        assert re.search(r"worker \d cannot be started: .*No such file or directory: .*; all workers stop", errors)
        assert "Traceback" not in errors


def test_a_worker_that_always_fails(tmp_path: Path) -> None:
    """Is given up after a few times, and the exit code is 1."""
    with program(tmp_path, FAILS="1") as running:
        _, errors = running.communicate(timeout=120)
        assert running.returncode == 1, errors
        assert re.search(r"worker \d ended 5 times within 60 s, the last time with 1; all workers stop", errors)
        assert "cannot go on" in errors


def test_workers_that_end_by_themselves(tmp_path: Path) -> None:
    """One that was told to stop is not started again."""
    with program(tmp_path, ENDS="1") as running:
        output, errors = running.communicate(timeout=60)
        assert running.returncode == 0, errors
        assert output.count("runs") == output.count("ends") == 2
        assert errors.count("has ended by itself") == 2


@pytest.mark.parametrize("number", ["0", "two"])
def test_a_number_that_is_none(number: str, tmp_path: Path) -> None:
    """Is refused by the command line."""
    (tmp_path / "many.py").write_text(textwrap.dedent(PROGRAM))
    done = subprocess.run(
        [sys.executable, "many.py", "worker", "--processes", number],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "--processes" in done.stderr
