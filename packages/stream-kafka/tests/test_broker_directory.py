"""The data directory of a broker, with processes that stand for one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stream_core.errors import ConfigurationError
from stream_kafka.broker.directory import DataDirectory, absolute
from stream_kafka.broker.watcher import end, is_locked

PATIENCE = 60.0

CHILD = [sys.executable, "-c", "import signal; print('runs', flush=True); signal.pause()"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('runs', flush=True)\nwhile True: signal.pause()",
]
STARTER = f"""
import signal, sys
from pathlib import Path
from stream_kafka.broker.directory import DataDirectory
path = Path(sys.argv[1])
print(DataDirectory(path).start({CHILD!r}, path / "log").pid, flush=True)
signal.pause()
"""
FULL = f"""
import resource, sys
from pathlib import Path
from stream_core.errors import ConfigurationError
from stream_kafka.broker.directory import DataDirectory
from stream_kafka.broker.watcher import is_locked
path = Path(sys.argv[1])
directory = DataDirectory(path)
resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
try:
    directory.start({CHILD!r}, path / "log")
except ConfigurationError as error:
    print(error)
directory.leave()
print(is_locked(str(path / "broker.lock")))
"""
FORKING = f"""
import os, signal, sys
from pathlib import Path
from stream_kafka.broker.directory import DataDirectory
path = Path(sys.argv[1])
directory = DataDirectory(path)
directory.start({CHILD!r}, path / "log")
read, write = os.pipe()
forked = os.fork()
if not forked:
    directory.leave()
    os.write(write, b"forked")
    signal.pause()
os.read(read, 6)
print(forked, flush=True)
signal.pause()
"""


@pytest.fixture
def held(tmp_path: Path) -> Iterator[DataDirectory]:
    """A directory that is held, and left at the end."""
    directory = DataDirectory(tmp_path / "data")
    yield directory
    directory.leave()


def lock(directory: Path) -> str:
    """The path of its lock file."""
    return str(directory / "broker.lock")


def until(condition: Callable[[], bool]) -> None:
    """Wait for another process to do something, for which there is no event."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def gone(process: subprocess.Popen[bytes]) -> int:
    """Wait for the end of a process; returns its exit code."""
    return process.wait(PATIENCE)


def test_a_directory_is_held_by_one(held: DataDirectory) -> None:
    """Whoever comes second is refused before anything is written, and told who has it and what to do."""
    before = {path: path.stat().st_mtime_ns for path in held.path.rglob("*")}
    for refused in (DataDirectory.refuse_used, DataDirectory):
        with pytest.raises(ConfigurationError, match=rf"{held.path} is in use .* {os.getpid()}: .* --data-dir"):
            refused(held.path)
    assert {path: path.stat().st_mtime_ns for path in held.path.rglob("*")} == before


def test_a_directory_that_was_left_is_free(tmp_path: Path) -> None:
    """For the next one, as often as one likes."""
    for _ in range(3):
        DataDirectory.refuse_used(tmp_path)
        DataDirectory(tmp_path).leave()


def test_asking_makes_nothing(tmp_path: Path) -> None:
    """A directory that does not exist is not in use."""
    DataDirectory.refuse_used(tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_a_directory_that_cannot_be_used(tmp_path: Path) -> None:
    """The error names it, and says why."""
    (tmp_path / "file").touch()
    for refused in (DataDirectory.refuse_used, DataDirectory):
        with pytest.raises(ConfigurationError, match=rf"{tmp_path / 'file'} cannot be used: \w+"):
            refused(tmp_path / "file")


def test_a_file_that_cannot_be_written(held: DataDirectory) -> None:
    """The error names the directory, and says why."""
    (held.path / "server.properties").mkdir()
    with pytest.raises(ConfigurationError, match=rf"{held.path} cannot be used: \w+"):
        held.write("server.properties", "")


def test_a_program_that_cannot_be_started(held: DataDirectory) -> None:
    """The error names it, and says why."""
    with pytest.raises(ConfigurationError, match=r"/nowhere/java cannot be started: No such file"):
        held.start(["/nowhere/java"], held.path / "log")


@pytest.mark.parametrize(("name", "why"), [("a,b", "comma"), ("bad\udcff", "no text")])
def test_a_path_that_kafka_cannot_have(tmp_path: Path, name: str, why: str) -> None:
    """It is refused before anything is made: a comma would be read as the end of one directory and the begin of the next."""
    for refused in (absolute, DataDirectory):
        with pytest.raises(ConfigurationError, match=f"{why}.* --data-dir"):
            refused(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_working_directory_that_was_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path that begins there leads nowhere, and a whole one is as good as ever."""
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(ConfigurationError, match="working directory, which does not exist any more"):
        absolute(Path("data"))
    assert absolute(tmp_path) == tmp_path


def test_a_kafka_that_was_started_by_other_means(tmp_path: Path) -> None:
    """It holds a lock of its own, of another kind, in the same directory."""
    (tmp_path / "topics").mkdir()
    other = "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.lockf(f, fcntl.LOCK_EX); print('has it', flush=True); input()"
    command = [sys.executable, "-c", other, str(tmp_path / "topics" / ".lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(ConfigurationError, match="another Kafka uses the data directory"):
            DataDirectory(tmp_path)
        process.communicate(b"\n", timeout=PATIENCE)
    DataDirectory(tmp_path).leave()


def test_only_the_owner_can_read(held: DataDirectory) -> None:
    """The directory, what is written and what a process of it writes; also a file that was left readable."""
    (held.path / "server.properties").touch(0o644)
    held.write("server.properties", "password=secret")
    command = [sys.executable, "-c", "import os, sys; os.mkdir(sys.argv[1])", str(held.path / "topics")]
    assert gone(held.start(command, held.path / "log")) == 0
    names = ("", "broker.lock", "server.properties", "log", "topics")
    assert [oct((held.path / name).stat().st_mode & 0o777) for name in names] == [
        "0o700",
        "0o600",
        "0o600",
        "0o600",
        "0o700",
    ]


def test_a_process_that_cannot_be_noted_is_ended(tmp_path: Path) -> None:
    """On a disk that is full nothing is left behind that nobody knows of."""
    program = [sys.executable, "-c", FULL, str(tmp_path)]
    done = subprocess.run(program, capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert done.stdout.splitlines() == [f"the data directory {tmp_path} cannot be used: File too large", "False"]


def test_a_forked_process_holds_nothing(tmp_path: Path) -> None:
    """It outlives the starter, whose broker ends all the same; and what it leaves is a copy, which ends nothing."""
    with subprocess.Popen([sys.executable, "-c", FORKING, str(tmp_path)], stdout=subprocess.PIPE) as starter:
        assert starter.stdout is not None
        forked = int(starter.stdout.readline())
        try:
            until(lambda: b"runs" in (tmp_path / "log").read_bytes())
            assert is_locked(lock(tmp_path))
            starter.kill()
            until(lambda: not is_locked(lock(tmp_path)))
            os.kill(forked, 0)
        finally:
            os.kill(forked, signal.SIGKILL)
    DataDirectory(tmp_path).leave()


@pytest.mark.parametrize("paused", [False, True], ids=["running", "paused"])
def test_a_process_ends_with_its_starter(tmp_path: Path, paused: bool) -> None:
    """Also when the starter is killed and can do nothing about it; then the directory is free."""
    with subprocess.Popen([sys.executable, "-c", STARTER, str(tmp_path)], stdout=subprocess.PIPE) as starter:
        assert starter.stdout is not None
        pid = int(starter.stdout.readline())
        until(lambda: b"runs" in (tmp_path / "log").read_bytes())
        if paused:
            os.kill(pid, signal.SIGSTOP)
        with pytest.raises(ConfigurationError, match=rf"in use by the broker with process id {pid}:"):
            DataDirectory.refuse_used(tmp_path)
        starter.kill()
    until(lambda: not is_locked(lock(tmp_path)))
    DataDirectory(tmp_path).leave()


def test_an_orphan_holds_the_directory(tmp_path: Path) -> None:
    """One that lives on although its watcher was killed too: the refusal names it."""
    directory = DataDirectory(tmp_path)
    orphan = directory.start(CHILD, tmp_path / "log")
    directory._watcher.kill()
    directory._watcher.wait()
    directory.leave()
    try:
        with pytest.raises(ConfigurationError, match=rf"process id {orphan.pid}:"):
            DataDirectory(tmp_path)
    finally:
        orphan.kill()
        gone(orphan)
    DataDirectory(tmp_path).leave()


def test_a_process_that_does_not_listen_is_killed(tmp_path: Path) -> None:
    """After it was asked to end."""
    directory = DataDirectory(tmp_path)
    process = directory.start(STUBBORN, tmp_path / "log")
    until(lambda: b"runs" in (tmp_path / "log").read_bytes())
    directory.leave()
    end(process.pid, lock(tmp_path), clean=0)
    assert gone(process) == -signal.SIGKILL


def test_a_stranger_is_left_alone(held: DataDirectory, tmp_path: Path) -> None:
    """A process id that belongs to somebody else by now is not ended: nobody holds the lock then."""
    stranger = held.start(CHILD, held.path / "log")
    (tmp_path / "broker.lock").touch()
    end(stranger.pid, lock(tmp_path))
    assert stranger.poll() is None
    stranger.kill()
    gone(stranger)
