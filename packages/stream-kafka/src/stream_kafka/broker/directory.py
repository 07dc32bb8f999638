"""The data directory of a broker: for one broker at a time, for the eyes of its owner, and left when whoever started the broker is gone."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO
from weakref import WeakSet

from stream_core.errors import ConfigurationError
from stream_kafka.broker.properties import is_text

__all__ = ["DataDirectory", "absolute", "usable"]

_LOCK = "broker.lock"
_PRIVATE = 0o600
_WATCHER = Path(__file__).with_name("watcher.py")
_GRACE = 5.0
"""Seconds within which the watcher must have ended when it is told that there is nothing to watch."""


class DataDirectory:
    """A data directory that this process holds, until it leaves it.

    A file in it is locked before anything else is written. Each process that is started for the directory inherits the lock, so the
    directory is in use as long as one of them lives, even if this process does not: then the watcher ends it.

    Args:
        path: the directory; made when missing.

    Raises:
        ConfigurationError: the directory is in use, or cannot be used, or its path is one that Kafka cannot have.

    Attributes:
        path: as given.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        _refuse_path(path)
        with usable(path):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT, _PRIVATE)
        try:
            _take(self._lock, path)
            _refuse_kafka(path)
            self._note(os.getpid())
            self._watcher = self._watch()
        except BaseException:
            os.close(self._lock)
            raise
        _held.add(self)

    @staticmethod
    def refuse_used(path: Path) -> None:
        """Raise ConfigurationError when a directory is in use; nothing is made or written."""
        with usable(path), suppress(FileNotFoundError):
            lock = os.open(path / _LOCK, os.O_RDWR)
            try:
                _take(lock, path)
            finally:
                os.close(lock)

    def write(self, name: str, text: str) -> Path:
        """Write a file of the directory that nobody else can read; return its path."""
        file = self.path / name
        with usable(self.path), self._open(file) as opened:
            opened.write(text.encode())
        return file

    def start(self, command: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
        """Start a process for this directory, which is ended when this process is gone.

        Args:
            command: its program and arguments.
            log: the file for all its output, which is made new.

        Raises:
            ConfigurationError: the program cannot be started, or the directory cannot be written.
        """
        with self._open(log) as output:
            # A session of its own: Ctrl+C in a terminal reaches whoever started the broker, and that decides.
            try:
                process = subprocess.Popen(
                    command,
                    stdout=output,
                    stderr=output,
                    stdin=subprocess.DEVNULL,
                    start_new_session=True,
                    pass_fds=(self._lock,),
                    umask=0o077,
                )
            except OSError as error:
                message = f"{command[0]} cannot be started: {error.strerror}. Mend that, or install it again"
                raise ConfigurationError(message) from error
        try:
            self._note(process.pid)
            self._tell(process.pid)
        except BaseException:  # the disk is full: nobody would know of the process, which keeps the directory in use
            process.kill()
            process.wait()
            raise
        return process

    def leave(self) -> None:
        """Let others use the directory; the processes that were started for it must have ended."""
        if self not in _held:  # a copy, in a process that was forked
            return
        _held.remove(self)
        self._tell(0)
        assert self._watcher.stdin is not None
        self._watcher.stdin.close()
        try:
            self._watcher.wait(_GRACE)
        except subprocess.TimeoutExpired:
            self._watcher.kill()
            self._watcher.wait()
        os.close(self._lock)

    def _open(self, file: Path) -> IO[bytes]:
        # Unlinked first: a file that was left readable stays so when it is only emptied.
        with usable(self.path):
            file.unlink(missing_ok=True)
            return open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE), "wb")

    def _note(self, pid: int) -> None:
        """Say in the lock file who uses the directory, for those who are refused."""
        with usable(self.path):
            os.ftruncate(self._lock, 0)
            os.pwrite(self._lock, b"%d\n" % pid, 0)

    def _watch(self) -> subprocess.Popen[bytes]:
        # Not PR_SET_PDEATHSIG: it is Linux's alone, and fires when the thread ends that started the process.
        return subprocess.Popen(
            [sys.executable, "-I", "-S", str(_WATCHER), str(self.path / _LOCK)],
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
        )

    def _tell(self, pid: int) -> None:
        assert self._watcher.stdin is not None
        with suppress(BrokenPipeError):  # somebody ended it: then nobody watches, and nothing else changes
            self._watcher.stdin.write(b"%d\n" % pid)

    def _let_go(self) -> None:
        """Close the copies that a forked process has of the lock and of the pipe to the watcher; both stay with its parent."""
        os.close(self._lock)
        assert self._watcher.stdin is not None
        self._watcher.stdin.close()


_held: WeakSet[DataDirectory] = WeakSet()


def _let_all_go() -> None:
    """Let a forked process hold nothing: it would keep the directories in use, and the watchers waiting, until it ends."""
    for directory in _held:
        directory._let_go()
    _held.clear()


os.register_at_fork(after_in_child=_let_all_go)


def absolute(path: Path) -> Path:
    """Return the whole path of a data directory.

    Raises:
        ConfigurationError: it begins in a working directory that somebody removed, or is one that Kafka cannot have.
    """
    try:
        whole = path.absolute()
    except FileNotFoundError as error:
        message = (
            f"the data directory {path} is looked for in the working directory, which does not exist any more: "
            "change to another, or give the whole path with --data-dir"
        )
        raise ConfigurationError(message) from error
    _refuse_path(whole)
    return whole


def _refuse_path(path: Path) -> None:
    """Raise ConfigurationError when Kafka would not read a path in its configuration as it is."""
    text = str(path)
    if "," in text:
        what = "has a comma in its path, where Kafka takes it for two"
    elif not is_text(text):
        what = "has bytes in its path that are no text"
    else:
        return
    raise ConfigurationError(f"the data directory {text!r} {what}: choose another with --data-dir, or in TMPDIR")


@contextmanager
def usable(path: Path) -> Iterator[None]:
    """Turn what the system says about a directory into an error that names it."""
    try:
        yield
    except OSError as error:
        raise ConfigurationError(f"the data directory {path} cannot be used: {error.strerror}") from error


def _take(lock: int, path: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pid = os.pread(lock, 20, 0).decode().strip() or "unknown"
        message = (
            f"the data directory {path} is in use by the broker with process id {pid}: "
            "stop that one, or choose another directory with --data-dir"
        )
        raise ConfigurationError(message) from None


def _refuse_kafka(path: Path) -> None:
    """Raise ConfigurationError when a Kafka that was not started here has the directory: it locks a file as Java does."""
    with usable(path), suppress(FileNotFoundError), (path / "topics" / ".lock").open("rb+") as lock:
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            message = f"another Kafka uses the data directory {path}: stop it, or choose another with --data-dir"
            raise ConfigurationError(message) from error
