"""What a :class:`~stream_core.ports.Store` and the :class:`~stream_core.ports.Stores` that open it do."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from itertools import islice
from random import Random

from stream_core.errors import StoreError, StoreLockedError
from stream_core.ports import Stores

__all__ = ["CHECKS", "FAULT_CHECKS", "NoWrites"]

NoWrites = Callable[[str, int], AbstractContextManager[None]]
"""Lets writes of 100,000 bytes to a table partition fail while the context is entered, like a disk that is full."""


async def writes_and_reads(stores: Stores) -> None:
    """A write is read back: new, changed and deleted keys, the empty key and the empty value."""
    store = stores.open("table", 0)
    assert store.get(b"a") is None

    store.write({b"a": b"1", b"b": b"2", b"": b"empty key", b"c": b""})
    store.write({b"a": b"3", b"b": None, b"never there": None})

    assert [store.get(key) for key in (b"a", b"b", b"", b"c")] == [b"3", None, b"empty key", b""]
    assert list(store.range()) == [(b"", b"empty key"), (b"a", b"3"), (b"c", b"")]


KEYS = [b"", b"\x00", b"B", b"a", b"a\x00", b"ab", b"b", b"\xff", b"\xff\xff", b"\xff\xff\x00"]
"""Keys in the order of bytes."""

BOUNDS = [(begin, end) for begin in (*KEYS, b"aa", b"\xff\xff\xff") for end in (*KEYS, b"aa", b"c", None)]
"""Ranges that begin and end at keys, between them and behind them, and some that end before they begin."""


def _within(key: bytes, begin: bytes, end: bytes | None) -> bool:
    return begin <= key and (end is None or key < end)


async def keys_come_in_the_order_of_bytes(stores: Stores) -> None:
    """Keys are ordered as bytes, whatever the order of writing and deleting."""
    store = stores.open("table", 0)

    store.write(dict.fromkeys(KEYS[::2], b"v"))
    assert [key for key, _ in store.range()] == KEYS[::2]
    store.write(dict.fromkeys(reversed(KEYS), b"v"))
    assert [key for key, _ in store.range()] == KEYS
    store.write(dict.fromkeys(KEYS[::3]))

    assert [key for key, _ in store.range()] == [key for key in KEYS if key not in KEYS[::3]]


async def a_range_has_its_beginning_and_not_its_end(stores: Stores) -> None:
    """Every range gives the keys from its first up to, and without, its end, with their values; no end is behind all keys."""
    store = stores.open("table", 0)
    assert list(store.range()) == list(store.range(b"a", b"b")) == []
    store.write({key: b"of " + key for key in KEYS}, {"a": b"fact"})

    for begin, end in BOUNDS:
        expected = [(key, b"of " + key) for key in KEYS if _within(key, begin, end)]
        assert list(store.range(begin, end)) == expected, (begin, end)


async def ranges_are_deleted(stores: Stores) -> None:
    """A deleted range takes the keys that reading it would have given, and nothing else, also when the store is opened again."""
    store = stores.open("table", 0)
    for begin, end in BOUNDS:
        store.write(dict.fromkeys(KEYS, b"v"), {"a": b"fact"})

        store.write({}, deleted=[(begin, end)])

        left = [(key, b"v") for key in KEYS if not _within(key, begin, end)]
        assert list(store.range()) == left, (begin, end)
        assert [key for key in KEYS if store.get(key)] == [key for key, _ in left], (begin, end)
        if (begin, end) in BOUNDS[::15]:
            store.close()
            store = stores.open("table", 0)
            assert (list(store.range()), store.fact("a")) == (left, b"fact"), (begin, end)


async def ranges_are_deleted_before_changes_are_made(stores: Stores) -> None:
    """What a write puts into a range that it deletes is there; facts are in no range, and come with the same write."""
    store = stores.open("table", 0)
    store.write({b"a": b"1", b"b": b"1", b"c": b"1", b"d": b"1"}, {"offset": b"1"})

    store.write(
        {b"b": b"2", b"bb": b"2", b"c": None, b"e": b"2"}, {"offset": b"2"}, deleted=[(b"a", b"c"), (b"b", None)]
    )

    assert (list(store.range()), store.fact("offset")) == ([(b"b", b"2"), (b"bb", b"2"), (b"e", b"2")], b"2")
    store.write({}, {"other": b"1"}, deleted=[(b"", None)])
    assert (list(store.range()), store.fact("offset"), store.fact("other")) == ([], b"2", b"1")
    store.write({b"b": b"3"})
    assert list(store.range(b"a")) == [(b"b", b"3")]


async def ranges_of_an_empty_store(stores: Stores) -> None:
    """A store without keys has nothing to read and to delete, whatever the range."""
    store = stores.open("table", 0)

    store.write({}, deleted=[(b"", None), (b"a", b"b"), (b"b", b"a"), (b"", b"")])

    assert list(store.range()) == []


async def a_large_range_is_read_in_parts(stores: Stores) -> None:
    """A range is left half way and gone on with behind the last key; those who left are in nobody's way."""
    store = stores.open("table", 0)
    store.write({b"%05d" % number: b"v" * 100 for number in range(5_000)})
    seen: list[bytes] = []
    assert [len(list(store.range(b"%05d" % at, b"%05d" % (at + 100)))) for at in range(0, 5_000, 700)] == [100] * 8
    begin = b"00100"
    while part := [key for key, _ in islice(store.range(begin, b"%05d" % 4_900), 1_000)]:
        seen.extend(part)
        begin = part[-1] + b"\0"
        store.write({b"%05d" % len(seen): None}, deleted=[(b"00000", part[-1])])

    assert seen == [b"%05d" % number for number in range(100, 4_900)]
    assert next(store.range()) == (b"04899", b"v" * 100)


async def closing_ends_iterations(stores: Stores) -> None:
    """An iterator whose store was closed or wiped raises StoreError, also when the store is open and full again."""
    for end in ("close", "wipe"):
        store = stores.open("table", 0)
        store.write(dict.fromkeys(KEYS, b"v"))
        fresh, begun = store.range(), store.range(b"a", b"b")
        next(begun)
        if end == "close":
            store.close()
            store = stores.open("table", 0)
        else:
            store.wipe()
            store.write(dict.fromkeys(KEYS, b"v"))

        for items in (fresh, begun):
            _raises(StoreError, partial(next, items), f"next after {end}")
        assert [key for key, _ in store.range()] == KEYS
        store.close()


async def iterations_are_a_snapshot(stores: Stores) -> None:
    """An iterator shows what was there when it was asked for, though writes happen while it runs."""
    store = stores.open("table", 0)
    before = {b"%04d" % number: b"old" for number in range(2000)}
    store.write(before)

    items = store.range()
    store.write({b"0000": b"new", b"0001": None, b"9999": b"new"}, deleted=[(b"0002", b"0100")])
    seen = [next(items) for _ in range(1000)]
    store.write(dict.fromkeys(before))
    store.write({}, deleted=[(b"", None)])
    seen.extend(items)

    assert seen == sorted(before.items())


async def facts_are_apart_from_values(stores: Stores) -> None:
    """A fact and a key of the same name do not meet; facts do not show among the items."""
    store = stores.open("table", 0)

    store.write({b"offset": b"value"}, {"offset": b"fact"})
    store.write({}, {"other": b"2"})

    assert (store.get(b"offset"), store.fact("offset"), store.fact("other")) == (b"value", b"fact", b"2")
    assert store.fact("unknown") is None
    assert store.get(b"other") is None
    assert list(store.range()) == [(b"offset", b"value")]
    store.write({b"offset": None}, {"offset": b"newer"})
    assert (store.get(b"offset"), store.fact("offset")) == (None, b"newer")


async def a_store_tells_how_large_it_is(stores: Stores) -> None:
    """An empty one has nothing; keys that are written once are counted, and their bytes with them; a closed one refuses."""
    store = stores.open("table", 0)
    assert store.size().keys == 0
    empty = store.size().bytes
    values = {b"%05d" % number: Random(number).randbytes(500) for number in range(2_000)}

    for part in range(0, 2_000, 500):
        store.write(dict(islice(values.items(), part, part + 500)), {"offset": b"%d" % part})
    written = store.size()
    store.close()
    _raises(StoreError, store.size, "size of a closed store")
    store = stores.open("table", 0)
    again = store.size()
    store.wipe()

    assert written.keys == again.keys == 2_000
    for size in written, again:
        assert 1_000_000 < size.bytes - empty < 3_000_000, size
    assert store.size().keys == 0
    assert store.size().bytes <= empty


async def a_change_is_about_a_key(stores: Stores) -> None:
    """However often keys are changed and deleted: once files are written, what is told is about what is there."""
    store = stores.open("table", 0)
    for number in range(10):
        store.write({b"%d" % key: b"%d" % number for key in range(100)})
    store.write({b"%d" % key: None for key in range(50)})
    store.write({b"%d" % key: None for key in range(50, 60)}, deleted=[(b"6", b"7")])
    assert store.size().keys >= 0
    store.close()

    assert 0 <= stores.open("table", 0).size().keys <= 100


async def wipe_removes_everything(stores: Stores) -> None:
    """After a wipe there are neither values nor facts, and the store is of use at once and after reopening."""
    store = stores.open("table", 0)
    store.write({b"%d" % number: b"v" for number in range(1000)}, {"offset": b"9"})

    store.wipe()
    assert (list(store.range()), store.get(b"1"), store.fact("offset")) == ([], None, None)
    store.write({b"new": b"v"})
    store.close()

    assert list(stores.open("table", 0).range()) == [(b"new", b"v")]


async def values_outlive_close(stores: Stores) -> None:
    """A store that is closed and opened again holds its values and facts; closing twice does nothing."""
    store = stores.open("table", 0)
    store.write({b"a": b"1"}, {"offset": b"7"})
    store.close()
    store.close()

    again = stores.open("table", 0)

    assert (again.get(b"a"), again.fact("offset")) == (b"1", b"7")


async def partitions_are_apart(stores: Stores) -> None:
    """Tables and partitions do not share values, and are open side by side."""
    opened = [stores.open(table, partition) for table in ("one", "two") for partition in (0, 1)]

    for number, store in enumerate(opened):
        store.write({b"key": b"%d" % number})

    assert [store.get(b"key") for store in opened] == [b"0", b"1", b"2", b"3"]


async def one_open_store_a_partition(stores: Stores) -> None:
    """Opening what is open is refused, and works once it is closed."""
    store = stores.open("table", 0)
    _raises(StoreLockedError, lambda: stores.open("table", 0), "a second open")
    store.write({b"a": b"1"})

    store.close()

    assert stores.open("table", 0).get(b"a") == b"1"


async def a_closed_store_refuses(stores: Stores) -> None:
    """A store that was closed raises StoreError, it does not answer with nothing."""
    store = stores.open("table", 0)
    store.close()

    _raises(StoreError, lambda: store.get(b"a"), "get")
    _raises(StoreError, lambda: store.range(b"a", b"b"), "range")
    _raises(StoreError, lambda: store.write({b"a": b"1"}), "write")
    _raises(StoreError, lambda: store.write({}, deleted=[(b"", None)]), "write of a deleted range")
    _raises(StoreError, lambda: store.fact("offset"), "fact")


async def destroy_removes_what_is_not_open(stores: Stores) -> None:
    """A destroyed partition is empty when it is opened again; what is open or was never there is left alone."""
    store = stores.open("table", 0)
    store.write({b"a": b"1"}, {"offset": b"1"})
    _raises(StoreError, lambda: stores.destroy("table", 0), "destroying an open store")
    store.close()

    stores.destroy("table", 0)
    stores.destroy("table", 1)

    again = stores.open("table", 0)
    assert (list(again.range()), again.fact("offset")) == ([], None)


async def closing_all_closes_each(stores: Stores) -> None:
    """``Stores.close`` closes what is open, also a second time; the stores refuse to work then."""
    one, two = stores.open("table", 0), stores.open("table", 1)
    two.close()

    stores.close()
    stores.close()

    _raises(StoreError, lambda: one.get(b"a"), "get after close")


async def a_failed_write_leaves_everything_as_it_was(stores: Stores, no_writes: NoWrites) -> None:
    """Neither values nor facts of a write that failed are there, before the store is opened again and after it."""
    store = stores.open("table", 0)
    store.write({b"a": b"1", b"b": b"2"}, {"offset": b"1"})
    with no_writes("table", 0):
        _raises(
            StoreError,
            lambda: store.write(
                {b"a": b"x" * 100_000, b"b": None, b"c": b"3"}, {"offset": b"2"}, deleted=[(b"", b"b"), (b"b", None)]
            ),
            "write",
        )

    assert (list(store.range()), store.fact("offset")) == ([(b"a", b"1"), (b"b", b"2")], b"1")
    store.close()
    again = stores.open("table", 0)
    assert (list(again.range()), again.fact("offset")) == ([(b"a", b"1"), (b"b", b"2")], b"1")


async def a_store_that_failed_to_write_is_of_use_when_it_is_opened_again(stores: Stores, no_writes: NoWrites) -> None:
    """A write that failed may be the last one of this store object; closed and opened again it takes writes."""
    store = stores.open("table", 0)
    with no_writes("table", 0):
        _raises(StoreError, lambda: store.write({b"a": b"x" * 100_000}), "write")
    store.close()

    again = stores.open("table", 0)
    again.write({b"a": b"1"}, {"offset": b"1"})

    assert (again.get(b"a"), again.fact("offset")) == (b"1", b"1")


async def a_store_that_failed_to_write_can_be_wiped(stores: Stores, no_writes: NoWrites) -> None:
    """A wipe makes the store empty and of use, whatever happened to it before."""
    store = stores.open("table", 0)
    store.write({b"a": b"1"}, {"offset": b"1"})
    with no_writes("table", 0):
        _raises(StoreError, lambda: store.write({b"a": b"x" * 100_000}), "write")

    store.wipe()
    store.write({b"b": b"2"})

    assert (list(store.range()), store.fact("offset")) == ([(b"b", b"2")], None)


def _raises(kind: type[StoreError], call: Callable[[], object], what: str) -> None:
    """Call what must raise ``kind``."""
    try:
        result = call()
    except kind:
        return
    raise AssertionError(f"{what}: expected {kind.__name__}, but it returned {result!r}")


CHECKS = (
    writes_and_reads,
    keys_come_in_the_order_of_bytes,
    a_range_has_its_beginning_and_not_its_end,
    ranges_are_deleted,
    ranges_are_deleted_before_changes_are_made,
    ranges_of_an_empty_store,
    a_large_range_is_read_in_parts,
    closing_ends_iterations,
    iterations_are_a_snapshot,
    facts_are_apart_from_values,
    a_store_tells_how_large_it_is,
    a_change_is_about_a_key,
    wipe_removes_everything,
    values_outlive_close,
    partitions_are_apart,
    one_open_store_a_partition,
    a_closed_store_refuses,
    destroy_removes_what_is_not_open,
    closing_all_closes_each,
)
"""The checks of this suite."""

FAULT_CHECKS = (
    a_failed_write_leaves_everything_as_it_was,
    a_store_that_failed_to_write_is_of_use_when_it_is_opened_again,
    a_store_that_failed_to_write_can_be_wiped,
)
"""The checks of this suite that need a disk which fails."""
