"""Worker instances that share a data directory."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from uuid import UUID

import pytest

from stream_app.running.instances import Instance, try_alone
from stream_core.errors import StoreError

HOLDER = """
import sys
from pathlib import Path
from stream_app.running.instances import Instance
instance = Instance.acquire(Path(sys.argv[1]))
instance.member = "member-of-the-dead"
print(instance.number, instance.id, flush=True)
sys.stdin.read()
"""


def test_the_first_free_number_is_taken(tmp_path: Path) -> None:
    """Numbers start at 0, are never shared, and are reused when they were released."""
    first, second = Instance.acquire(tmp_path), Instance.acquire(tmp_path)
    assert (first.number, second.number) == (0, 1)
    assert first.id != second.id

    first.release()
    again, third = Instance.acquire(tmp_path), Instance.acquire(tmp_path)

    assert (again.number, third.number) == (0, 2)
    assert again.id == first.id
    for instance in (second, again, third):
        instance.release()


def test_a_killed_process_leaves_its_instance_to_the_next(tmp_path: Path) -> None:
    """The lock holds between processes, goes with ``kill -9``, and what was kept under it is found again."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        number, id_ = holder.stdout.readline().split()
        beside = Instance.acquire(tmp_path)
        holder.kill()
        holder.wait(10)
    successor = Instance.acquire(tmp_path)

    assert (int(number), beside.number, successor.number) == (0, 1, 0)
    assert (successor.id, successor.member) == (id_, "member-of-the-dead")
    beside.release()
    successor.release()


def test_a_worker_that_starts_waits_while_something_is_deleted(tmp_path: Path) -> None:
    """Whoever deletes has the directory alone: not while a worker runs, and the next worker begins when that is over."""
    root, deleted = tmp_path / "v1", Event()
    worker = Instance.acquire(root)
    assert try_alone(root) is None
    worker.release()

    lock = try_alone(root)
    assert lock is not None
    with pytest.raises(StoreError, match="still deletes something of it; start again"):
        Instance.acquire(root, timeout=0.0)
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(lambda: (Instance.acquire(root), deleted.is_set()))
        shutil.rmtree(root)
        deleted.set()
        os.close(lock)
        successor, after = waiting.result(20)
    assert after
    assert try_alone(root) is None
    successor.release()
    assert list(tmp_path.iterdir()) == [root]  # nothing beside it, where the worker may not be allowed to write


def test_the_member_is_kept_and_forgotten(tmp_path: Path) -> None:
    """There is no member at first; the last one assigned is found by the next holder, unless it was taken back."""
    instance = Instance.acquire(tmp_path)
    assert instance.member is None
    instance.member = "one"
    instance.member = "two"
    instance.release()

    successor = Instance.acquire(tmp_path)
    assert successor.member == "two"
    successor.member = None
    successor.release()

    last = Instance.acquire(tmp_path)
    assert last.member is None
    last.release()


def test_a_released_instance_keeps_no_member(tmp_path: Path) -> None:
    """Once released, the place may belong to another process: writing there is refused, releasing again is not."""
    instance = Instance.acquire(tmp_path)
    instance.release()
    instance.release()

    with pytest.raises(StoreError, match="released"):
        instance.member = "late"


@pytest.mark.parametrize("text", ["", "no uuid", "\0\0\0\0"])
def test_an_unreadable_id_is_replaced(tmp_path: Path, text: str) -> None:
    """A file that a power failure left empty or torn gives a new id, which then stays."""
    place = tmp_path / "instances" / "0"
    place.mkdir(parents=True)
    (place / "id").write_text(text)

    instance = Instance.acquire(tmp_path)
    instance.release()
    again = Instance.acquire(tmp_path)

    assert str(UUID(instance.id)) == again.id == instance.id
    again.release()


def test_files_are_private(tmp_path: Path) -> None:
    """The directory of an instance is for its owner only."""
    instance = Instance.acquire(tmp_path / "data")

    assert instance.path == tmp_path / "data" / "instances" / "0"
    assert instance.path.stat().st_mode & 0o777 == 0o700
    instance.release()


def test_a_directory_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    """An unusable data directory is an error that says which."""
    (tmp_path / "file").write_text("")

    with pytest.raises(StoreError, match=r"file.*check it"):
        Instance.acquire(tmp_path / "file")


def test_a_lock_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    """A symbolic link in place of the lock file is refused."""
    place = tmp_path / "instances" / "0"
    place.mkdir(parents=True)
    (place / "lock").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(StoreError, match="symbolic link"):
        Instance.acquire(tmp_path)

    assert not (tmp_path / "elsewhere").exists()
