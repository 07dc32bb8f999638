"""RocksDB stores: locks, crashes, damage, full disks, and a model."""

from __future__ import annotations

import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import tracemalloc
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from stream_core.errors import ConfigurationError, StoreCorruptError, StoreError, StoreLockedError
from stream_tables.files import COUNTED
from stream_tables.options import RocksDBOptions
from stream_tables.rocksdb import RocksDBStore, RocksDBStores

WRITER = """
import sys
from pathlib import Path
from stream_tables.rocksdb import RocksDBStores
from stream_tables.options import RocksDBOptions
directory = Path(sys.argv[1])
settings = RocksDBOptions(write_buffer=256 << 10)
store = RocksDBStores(directory, settings).open("t", 0)
for position in range(int(sys.argv[2])):
    values = {b"%d" % key: b"%08d" % position * 8 for key in range(50)}
    rows = {b"row-%08d-%d" % (position, row): b"" for row in range(5)}
    store.write(values | rows, {"position": b"%08d" % position}, deleted=[(b"row-", b"row-%08d" % position)])
    if position % 50 == 0:
        print(position, flush=True)
print("done", flush=True)
sys.stdin.read()
"""


def driver(directory: Path) -> RocksDBStores:
    """A driver with small buffers, so that files are written early."""
    return RocksDBStores(directory, RocksDBOptions(write_buffer=256 << 10))


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[RocksDBStores]:
    """A driver in a directory of the test."""
    stores = driver(tmp_path)
    yield stores
    stores.close()


def run_writer(directory: Path, batches: int, until: str) -> None:
    """Write batches in another process, and kill it when it has printed a line."""
    command = [sys.executable, "-c", WRITER, str(directory), str(batches)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while process.stdout.readline().strip() != until:
            assert process.poll() is None
        process.kill()
        process.wait(10)


def assert_one_point(stores: RocksDBStores) -> int:
    """All 50 keys have the value of the position beside them, and rows are there of no other one.

    Returns the position, -1 for an empty store.
    """
    store = stores.open("t", 0)
    position = store.fact("position")
    values = dict(store.range())
    store.close()
    if position is None:
        assert values == {}
        return -1
    rows = {b"row-%s-%d" % (position, row): b"" for row in range(5)}
    assert values == {b"%d" % key: position * 8 for key in range(50)} | rows
    return int(position)


# -- locks


def test_an_iterator_does_not_keep_the_lock(stores: RocksDBStores) -> None:
    """Closing gives up the lock though iterators are alive; they end with an error, not as if they were complete."""
    store = stores.open("t", 0)
    store.write({b"%d" % number: b"v" for number in range(10)})
    fresh, begun = store.range(), store.range()
    next(begun)

    store.close()

    assert len(list(stores.open("t", 0).range())) == 10
    for items in (fresh, begun):
        with pytest.raises(StoreError, match=r"t-0\.db was closed"):
            next(items)


def test_an_error_that_is_kept_does_not_keep_the_lock(stores: RocksDBStores, tmp_path: Path) -> None:
    """The traceback of a damaged block holds no reference to the database."""
    damage_table_file(stores, tmp_path)
    store = stores.open("t", 0)
    kept = []
    try:
        list(store.range())
    except StoreCorruptError as error:
        kept.append(error)

    store.close()

    assert kept
    stores.open("t", 0)


def test_a_store_of_another_process_is_locked_until_it_dies(stores: RocksDBStores, tmp_path: Path) -> None:
    """Two processes never have one store; ``kill -9`` frees it."""
    command = [sys.executable, "-c", WRITER, str(tmp_path), "1"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "0\n"
        with pytest.raises(StoreLockedError, match=r"t-0\.db is open in another process: wait"):
            stores.open("t", 0)
        with pytest.raises(StoreLockedError, match=r"t-0\.db"):
            stores.destroy("t", 0)
        process.kill()
        process.wait(10)

    assert assert_one_point(stores) == 0


# -- crashes


def test_killed_writers_leave_values_and_position_of_one_batch(stores: RocksDBStores, tmp_path: Path) -> None:
    """Wherever ``kill -9`` hits, all values belong to the position; nothing that was written is lost."""
    for until in ("50", "150", "400"):
        run_writer(tmp_path, 1_000_000, until)
        assert assert_one_point(stores) >= int(until)


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that a killed process left after 400 batches: most in table files, the last ones in the log."""
    directory = tmp_path_factory.mktemp("killed")
    run_writer(directory, 400, "done")
    return directory


@pytest.mark.parametrize("part", [0.0, 0.1, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("damage", ["torn", "flipped"])
def test_a_damaged_log_opens_at_an_earlier_point(
    stores: RocksDBStores, killed: Path, tmp_path: Path, damage: str, part: float
) -> None:
    """The last write-ahead log, cut or with a wrong byte, loses batches whole, values and position alike."""
    shutil.copytree(killed, tmp_path, dirs_exist_ok=True)
    file = max(tmp_path.glob("t-0.db/*.log"))
    at = int(file.stat().st_size * part)
    data = bytearray(file.read_bytes())
    file.write_bytes(data[:at] if damage == "torn" else data[:at] + b"\xa5" + data[at + 1 :])

    assert assert_one_point(stores) <= 399


@pytest.fixture
def several_logs(tmp_path: Path) -> Path:
    """What a worker that was killed has left of a store, in three logs whose values are in no table file."""
    store = driver(tmp_path / "made").open("t", 0)
    store._values.cancel_all_background(True)  # type: ignore[no-untyped-call]  # nothing is flushed any more
    number = 0
    while len(list(tmp_path.glob("made/t-0.db/*.log"))) < 3:
        number += 1
        store.write({b"%d-%d" % (number, key): bytes(100) for key in range(10)}, {"position": b"%d" % number})
    shutil.copytree(tmp_path / "made/t-0.db", tmp_path / "t-0.db")
    store.close()
    return tmp_path / "t-0.db"


def test_several_logs_are_read_again(stores: RocksDBStores, several_logs: Path) -> None:
    """Nothing is missing after a kill with several logs, and the count of batches goes on."""
    for _ in range(2):
        store = stores.open("t", 0)
        position = int(store.fact("position") or 0)
        assert len(list(store.range())) == 10 * position
        store.write({b"%d-%d" % (position + 1, key): b"" for key in range(10)}, {"position": b"%d" % (position + 1)})
        store.close()


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("damage", ["gone", "empty", "zeros"])
def test_a_log_that_is_gone_is_damage(stores: RocksDBStores, several_logs: Path, damage: str, place: int) -> None:
    """RocksDB opens without the values of a log that is lost, and with the position of a later one: that is seen."""
    log = sorted(several_logs.glob("*.log"))[place]
    size = log.stat().st_size
    log.unlink()
    if damage != "gone":
        log.write_bytes(bytes(size if damage == "zeros" else 0))

    with pytest.raises(StoreCorruptError, match=r"batches \d+ are missing, from \d+ on"):
        stores.open("t", 0)

    stores.destroy("t", 0)
    assert list(stores.open("t", 0).range()) == []


def test_the_last_log_may_be_gone(stores: RocksDBStores, several_logs: Path) -> None:
    """What is lost at the end is lost with its position, so nothing is damaged."""
    max(several_logs.glob("*.log")).unlink()

    store = stores.open("t", 0)

    assert len(list(store.range())) == 10 * int(store.fact("position") or 0)


def test_more_batches_than_are_counted(stores: RocksDBStores) -> None:
    """The numbers of old batches make room for later ones; facts and values are not touched by them."""
    store = stores.open("t", 0)
    for number in range(COUNTED + 10):
        store.write({}, {"position": b"%d" % number})
    store.close()

    again = stores.open("t", 0)

    assert (again.fact("position"), list(again.range())) == (b"%d" % (COUNTED + 9), [])


# -- damage


def damage_table_file(stores: RocksDBStores, directory: Path, at: float = 0.5, size: int = 64) -> None:
    """Write a store with several table blocks, close it, and overwrite some bytes of its largest file.

    Args:
        stores: the driver.
        directory: where its stores are.
        at: which part of the file lies before the damage; the values are in the first 0.88 of it.
        size: bytes of the damage.
    """
    store = stores.open("t", 0)
    store.write({b"%05d" % number: bytes(range(100)) for number in range(5_000)}, {"position": b"1"})
    store.close()
    file = largest(directory)
    with file.open("r+b") as stream:
        stream.seek(int(file.stat().st_size * at))
        stream.write(b"\xff" * size)


def largest(directory: Path) -> Path:
    """The largest table file."""
    return max(directory.glob("t-0.db/*.sst"), key=lambda path: path.stat().st_size)


def test_a_damaged_block_is_found_by_reads(stores: RocksDBStores, tmp_path: Path) -> None:
    """Reading and iterating over a damaged block raise; an iteration never ends early as if it were complete."""
    damage_table_file(stores, tmp_path)
    store = stores.open("t", 0)

    with pytest.raises(StoreCorruptError, match=r"t-0\.db is damaged: wipe"):
        sum(store.get(b"%05d" % number) is None for number in range(5_000))
    with pytest.raises(StoreCorruptError, match=r"t-0\.db is damaged"):
        list(store.range())


def test_a_damaged_block_is_met_by_the_ranges_that_have_it(stores: RocksDBStores, tmp_path: Path) -> None:
    """Ranges beside a damaged block are read; one that has it raises where it comes to it, and can be deleted."""
    damage_table_file(stores, tmp_path)
    store = stores.open("t", 0)
    met = [begin for begin in range(0, 5_000, 100) if not _whole(store, begin)]

    assert len(met) in (1, 2)
    first = b"%05d" % met[0]
    seen = list(_until_damage(store.range()))
    assert len(seen) >= met[0]
    store.write({first: b"new"}, deleted=[(first, b"%05d" % (met[-1] + 100))])
    assert store.get(first) == b"new"


def _whole(store: RocksDBStore, begin: int) -> bool:
    try:
        return len(list(store.range(b"%05d" % begin, b"%05d" % (begin + 100)))) == 100
    except StoreCorruptError:
        return False


def _until_damage(items: Iterator[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, bytes]]:
    with pytest.raises(StoreCorruptError):
        yield from items


def test_deleting_to_the_end_of_a_damaged_store(stores: RocksDBStores, tmp_path: Path) -> None:
    """Where the last key cannot be read, a range without an end is not deleted: the error says so, and keeps no lock."""
    damage_table_file(stores, tmp_path, 0.8, 6_000)
    store = stores.open("t", 0)

    with pytest.raises(StoreCorruptError, match=r"t-0\.db is damaged") as kept:
        store.write({b"a": b"1"}, {"position": b"2"}, deleted=[(b"", None)])
    store.close()

    assert kept.value
    assert stores.open("t", 0).fact("position") == b"1"


def test_a_large_range_takes_no_memory(stores: RocksDBStores) -> None:
    """An iteration holds one item at a time: what it has allocated does not grow with the range."""
    store = stores.open("t", 0)
    for part in range(10):
        store.write({b"%02d-%04d" % (part, number): bytes(500) for number in range(2_000)})
    most = 0
    items = store.range(b"01", b"09")
    next(items)
    tracemalloc.start()
    try:
        count = sum(1 for _ in items)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert count == 15_999
    assert most < 100_000  # bytes; the range has 8,000,000


def test_a_damaged_store_can_be_wiped(stores: RocksDBStores, tmp_path: Path) -> None:
    """After a wipe the store is empty and takes writes."""
    damage_table_file(stores, tmp_path)
    store = stores.open("t", 0)

    store.wipe()
    store.write({b"a": b"1"})

    assert list(store.range()) == [(b"a", b"1")]
    assert store.fact("position") is None


DAMAGES: dict[str, Callable[[Path], object]] = {
    "table file cut": lambda directory: largest(directory).write_bytes(largest(directory).read_bytes()[:1000]),
    "table file gone": lambda directory: largest(directory).unlink(),
    "manifest overwritten": lambda directory: next(directory.glob("t-0.db/MANIFEST*")).write_bytes(b"\xff" * 200),
    "manifest gone": lambda directory: next(directory.glob("t-0.db/MANIFEST*")).unlink(),
    "CURRENT names another file": lambda directory: (directory / "t-0.db/CURRENT").write_text("MANIFEST-999999\n"),
    "CURRENT overwritten": lambda directory: (directory / "t-0.db/CURRENT").write_text("garbage"),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_store_that_cannot_be_opened_is_destroyed(
    stores: RocksDBStores, tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    """Damage that is seen at the opening has its own error, and destroying the store is the way out."""
    store = stores.open("t", 0)
    store.write({b"%05d" % number: bytes(range(100)) for number in range(1_000)})
    store.close()
    damage(tmp_path)
    with pytest.raises(StoreCorruptError, match=r"t-0\.db is damaged: wipe it and replay"):
        stores.open("t", 0)

    stores.destroy("t", 0)

    assert list(stores.open("t", 0).range()) == []


def write_often(store: RocksDBStore, changes: Mapping[bytes, bytes | None]) -> None:
    """Write the same changes again and again, so that files are written and merged."""
    for number in range(1_000):
        store.write(changes, {"position": b"%d" % number})


def test_damage_met_in_the_background_is_told_by_a_write(stores: RocksDBStores, tmp_path: Path) -> None:
    """A compaction that meets a damaged block stops all writes; they say that it is damage, and a wipe is the way out."""
    damage_table_file(stores, tmp_path)
    store = stores.open("t", 0)
    changes = {b"%05d" % number: bytes(100) for number in range(0, 5_000, 10)}
    with pytest.raises(StoreCorruptError, match=r"t-0\.db is damaged: wipe"):
        write_often(store, changes)  # a few files more, and all of them are merged

    store.wipe()
    store.write({b"a": b"1"}, {"position": b"1"})
    assert list(store.range()) == [(b"a", b"1")]


def test_files_that_are_removed_under_a_store_are_damage(stores: RocksDBStores, tmp_path: Path) -> None:
    """Somebody who cleans the disk too well costs a replay, and not the worker."""
    store = stores.open("t", 0)
    store.write({b"a": b"1"}, {"position": b"1"})
    shutil.rmtree(tmp_path / "t-0.db")
    with pytest.raises(StoreCorruptError, match=r"t-0\.db is damaged: wipe"):
        write_often(store, {b"%05d" % key: bytes(200) for key in range(200)})

    store.wipe()
    store.write({b"a": b"1"}, {"position": b"1"})
    assert list(store.range()) == [(b"a", b"1")]


def test_a_write_that_does_not_fit_is_an_error_and_close_works(stores: RocksDBStores, tmp_path: Path) -> None:
    """When the disk takes no more, the write raises, nothing of it is there, and the lock is given up all the same."""
    store = stores.open("t", 0)
    store.write({b"a": b"1"}, {"position": b"1"})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 << 10, limits[1]))
    try:
        with pytest.raises(StoreError, match=r"t-0\.db"):
            store.write({b"%d" % number: b"v" * 1000 for number in range(200)}, {"position": b"2"})
        store.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)

    again = stores.open("t", 0)
    assert (list(again.range()), again.fact("position")) == ([(b"a", b"1")], b"1")


# -- names and directories


@pytest.mark.parametrize("name", ["", "a/b", "../up", "ä", "a b", "x" * 201, "a\n"])
def test_names_that_are_no_file_names_are_refused(stores: RocksDBStores, name: str) -> None:
    """A table cannot leave the directory by its name."""
    with pytest.raises(ConfigurationError, match="table name"):
        stores.open(name, 0)
    with pytest.raises(ConfigurationError, match="table name"):
        stores.destroy(name, 0)


@pytest.mark.parametrize("name", ["a", "..", "Orders.by-customer_2", "x" * 200])
def test_other_names_are_directories_of_their_own(stores: RocksDBStores, tmp_path: Path, name: str) -> None:
    """One database per partition, for the owner only."""
    stores.open(name, 12)

    assert [path.name for path in tmp_path.iterdir()] == [f"{name}-12.db"]
    assert (tmp_path / f"{name}-12.db").stat().st_mode & 0o777 == 0o700


def test_the_directory_is_private(tmp_path: Path) -> None:
    """The directory of the stores is made for the owner only."""
    driver(tmp_path / "data" / "tables")

    assert (tmp_path / "data" / "tables").stat().st_mode & 0o777 == 0o700


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """The error says which directory."""
    (tmp_path / "file").write_text("")

    with pytest.raises(StoreError, match=r"file/tables cannot be created"):
        driver(tmp_path / "file" / "tables")


def test_links_are_not_followed(stores: RocksDBStores, tmp_path: Path) -> None:
    """A symbolic link in place of a store is refused, by opening and by destroying."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "t-0.db").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(StoreError, match="symbolic link"):
        stores.open("t", 0)
    with pytest.raises(StoreError, match="symbolic link"):
        stores.destroy("t", 0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RocksDBOptions(write_buffer=0), "write_buffer is 0"),
        (lambda: RocksDBOptions(cache=1 << 20), "cache is 1048576"),
    ],
)
def test_settings_that_make_no_sense_are_refused(make: Callable[[], RocksDBOptions], message: str) -> None:
    """The error names the setting and its value."""
    with pytest.raises(ConfigurationError, match=message):
        make()


# -- model

KEYS = st.binary(max_size=3)
VALUES = st.one_of(st.none(), st.binary(max_size=2000))


class StoreModel(RuleBasedStateMachine):
    """A store that is closed and opened between steps does what two dicts do."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp())
        self.stores = driver(self.directory)
        self.store = self.stores.open("t", 0)
        self.values: dict[bytes, bytes] = {}
        self.facts: dict[str, bytes] = {}

    def teardown(self) -> None:
        """Remove the files."""
        self.stores.close()
        shutil.rmtree(self.directory)

    @rule(
        changes=st.dictionaries(KEYS, VALUES, max_size=30),
        facts=st.dictionaries(st.sampled_from(["position", "topic", ""]), st.binary(max_size=10)),
        deleted=st.lists(st.tuples(KEYS, st.none() | KEYS), max_size=2),
    )
    def write(
        self,
        changes: dict[bytes, bytes | None],
        facts: dict[str, bytes],
        deleted: list[tuple[bytes, bytes | None]],
    ) -> None:
        """Delete ranges, change values and facts."""
        self.store.write(changes, facts, deleted=deleted)
        for begin, end in deleted:
            for key in [key for key in self.values if begin <= key and (end is None or key < end)]:
                del self.values[key]
        for key, value in changes.items():
            self.values.pop(key, None)
            if value is not None:
                self.values[key] = value
        self.facts |= facts

    @rule()
    def reopen(self) -> None:
        """Close, with an iterator alive, and open."""
        items = self.store.range()
        self.store.close()
        self.store = self.stores.open("t", 0)
        del items

    @rule()
    def wipe(self) -> None:
        """Remove everything."""
        self.store.wipe()
        self.values, self.facts = {}, {}

    @rule(begin=KEYS, end=st.none() | KEYS)
    def range(self, begin: bytes, end: bytes | None) -> None:
        """Read a range, also one without keys."""
        expected = sorted(item for item in self.values.items() if begin <= item[0] and (end is None or item[0] < end))
        assert list(self.store.range(begin, end)) == expected

    @rule(key=KEYS)
    def get(self, key: bytes) -> None:
        """Read a key, there or not."""
        assert self.store.get(key) == self.values.get(key)

    @invariant()
    def same(self) -> None:
        """Everything is as in the model, in key order."""
        assert list(self.store.range()) == sorted(self.values.items())
        assert all(self.store.fact(name) == self.facts.get(name) for name in ("position", "topic", ""))


TestStoreModel = StoreModel.TestCase
TestStoreModel.settings = hypothesis_settings(max_examples=10, stateful_step_count=20, deadline=None, derandomize=True)
