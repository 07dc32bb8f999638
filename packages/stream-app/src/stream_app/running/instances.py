"""Worker instances: workers that share a data directory each lock a number of it, and find their past under it."""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from uuid import UUID, uuid4

from stream_core.errors import StoreError

__all__ = ["Instance", "try_alone"]

DELETING = 5.0
"""Seconds for which a worker that starts waits for somebody who deletes something of its data directory."""


class Instance:
    """A numbered place in the data directory that one process holds for as long as it lives: ``{root}/instances/{number}``.

    The kernel frees the lock on ``kill -9`` as well, so that a restarted worker gets the place of its predecessor. Two
    things are found there again: the id, from which the transactional id is made (so the restarted worker fences its
    predecessor at once), and the last member id in the consumer group (so it can take it out of the group, where nobody
    else then waits for its session to end). Made by :meth:`acquire`.
    """

    def __init__(self, path: Path, *locks: int) -> None:
        self._path = path
        self._locks = locks
        self._id = _stable_id(path / "id")

    @classmethod
    def acquire(cls, root: Path, timeout: float = DELETING) -> Instance:
        """Lock the first free instance of a data directory, creating one when all are taken.

        It waits while somebody deletes something of the directory, see :func:`try_alone`. Acquire it in the process that works: a fork
        shares the lock, and keeps it when its parent has died.

        Args:
            root: data directory of one version of the app, ``{datadir}/v{version}``.
            timeout: seconds to wait for somebody who deletes; the event loop stands still meanwhile.

        Raises:
            StoreError: the directory cannot be written, or its file system has no locks, or somebody still deletes.
        """
        try:
            with ExitStack() as undo:
                shared = _share(root, time.monotonic() + timeout)
                undo.callback(os.close, shared)
                found = next(filter(None, (cls._try(root / "instances" / str(number), shared) for number in count())))
                undo.pop_all()
                return found
        except OSError as error:
            raise StoreError(
                f"no worker instance in data directory {root}: {error}; check it, or set another one"
            ) from error

    @classmethod
    def _try(cls, path: Path, shared: int) -> Instance | None:
        """Take the instance of a directory; ``None`` when another one has it."""
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = _try_lock(path / "lock")
        return None if lock is None else cls(path, lock, shared)

    @property
    def path(self) -> Path:
        """The directory of this instance; what is in it is of no other process."""
        return self._path

    @property
    def number(self) -> int:
        """The number of the instance in the data directory, from 0."""
        return int(self._path.name)

    @property
    def id(self) -> str:
        """A UUID that stays the same over restarts."""
        return self._id

    @property
    def member(self) -> str | None:
        """The member id that this instance, or the process before it, last had in the consumer group; assign to keep one.

        ``None`` says that nobody has to be taken out of the group: assign it after the group was left.
        """
        return _read(self._path / "member") or None

    @member.setter
    def member(self, member: str | None) -> None:
        if not self._locks:
            raise StoreError(f"instance {self._path} was released: its member id belongs to the next process")
        _replace(self._path / "member", member or "")

    @property
    def url(self) -> str:
        """Where the web server of this instance is reached on this machine; assign it, for others that share the data directory."""
        return _read(self._path / "url")

    @url.setter
    def url(self, url: str) -> None:
        _replace(self._path / "url", url)

    def neighbour(self, instance: str) -> str:
        """Give where another worker that shares the data directory is reached on this machine.

        Returns:
            the URL that it told last, or that a process before it did; empty when there is none.
        """
        try:
            for path in self._path.parent.iterdir():
                if path != self._path and _read(path / "id") == instance:
                    return _read(path / "url")
        except OSError:
            pass
        return ""

    def release(self) -> None:
        """Free the instance for other processes; calling it again does nothing."""
        locks, self._locks = self._locks, ()
        for lock in locks:
            os.close(lock)


def try_alone(root: Path) -> int | None:
    """Take a data directory for oneself, to delete something of it: workers that start wait until the lock is closed.

    Args:
        root: data directory of one version of the app, which exists.

    Returns:
        the descriptor of the lock; ``None`` while a worker runs there.
    """
    return _try_to_take(_open_directory(root))


def _share(root: Path, end: float) -> int:
    """Take a data directory as one of its workers, and give the descriptor of the lock.

    The directory itself is what is locked: it needs no file beside it, where the worker may not be allowed to write.

    Raises:
        StoreError: somebody else has it alone at the end of the time.
    """
    while True:
        root.mkdir(parents=True, exist_ok=True)
        lock = _open_directory(root)
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(lock), root.stat()):
                return lock
        except BlockingIOError as error:
            if time.monotonic() >= end:
                os.close(lock)
                raise StoreError(
                    f"data directory {root}: `stream reset` or `stream clean-versions` still deletes something of it; start again when "
                    "that command has ended"
                ) from error
            time.sleep(0.02)
        except FileNotFoundError:
            pass  # the whole directory is gone meanwhile, so the lock is one of nothing
        except BaseException:
            os.close(lock)
            raise
        os.close(lock)


def _open_directory(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def _try_lock(path: Path) -> int | None:
    """Take a lock, and give its descriptor; ``None`` when another one has it."""
    # The file is never removed: that would be a race.
    return _try_to_take(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))


def _try_to_take(descriptor: int) -> int | None:
    """Lock what is open, and give its descriptor; close it, and give ``None``, when another one has it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _stable_id(path: Path) -> str:
    """Read the id in a file; make a new one when there is none that can be read."""
    try:
        return str(UUID(_read(path)))
    except ValueError:
        new = str(uuid4())
        _replace(path, new)
        return new


def _read(path: Path) -> str:
    """Read the text of a file, empty when there is none."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""


def _replace(path: Path, text: str) -> None:
    """Write a file so that readers and crashes see the old text or the new one, whole."""
    temporary = path.with_suffix(".new")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
