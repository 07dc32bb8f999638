"""What a :class:`~stream_core.ports.Store` and the :class:`~stream_core.ports.Stores` that open it do."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

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
    assert list(store.items()) == [(b"", b"empty key"), (b"a", b"3"), (b"c", b"")]


async def items_come_in_key_order(stores: Stores) -> None:
    """Keys are ordered as bytes, whatever the order of writing."""
    store = stores.open("table", 0)
    keys = [b"b", b"a", b"\xff", b"a\x00", b"", b"B", b"ab"]

    store.write(dict.fromkeys(keys, b"v"))

    assert [key for key, _ in store.items()] == sorted(keys)


async def items_are_a_snapshot(stores: Stores) -> None:
    """An iterator shows what was there when it was asked for, though writes happen while it runs."""
    store = stores.open("table", 0)
    before = {b"%04d" % number: b"old" for number in range(2000)}
    store.write(before)

    items = store.items()
    store.write({b"0000": b"new", b"0001": None, b"9999": b"new"})
    seen = [next(items) for _ in range(1000)]
    store.write(dict.fromkeys(before))
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
    assert list(store.items()) == [(b"offset", b"value")]
    store.write({b"offset": None}, {"offset": b"newer"})
    assert (store.get(b"offset"), store.fact("offset")) == (None, b"newer")


async def wipe_removes_everything(stores: Stores) -> None:
    """After a wipe there are neither values nor facts, and the store is of use at once and after reopening."""
    store = stores.open("table", 0)
    store.write({b"%d" % number: b"v" for number in range(1000)}, {"offset": b"9"})

    store.wipe()
    assert (list(store.items()), store.get(b"1"), store.fact("offset")) == ([], None, None)
    store.write({b"new": b"v"})
    store.close()

    assert list(stores.open("table", 0).items()) == [(b"new", b"v")]


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
    _raises(StoreError, lambda: store.items(), "items")
    _raises(StoreError, lambda: store.write({b"a": b"1"}), "write")
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
    assert (list(again.items()), again.fact("offset")) == ([], None)


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
            StoreError, lambda: store.write({b"a": b"x" * 100_000, b"b": None, b"c": b"3"}, {"offset": b"2"}), "write"
        )

    assert (list(store.items()), store.fact("offset")) == ([(b"a", b"1"), (b"b", b"2")], b"1")
    store.close()
    again = stores.open("table", 0)
    assert (list(again.items()), again.fact("offset")) == ([(b"a", b"1"), (b"b", b"2")], b"1")


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

    assert (list(store.items()), store.fact("offset")) == ([(b"b", b"2")], None)


def _raises(kind: type[StoreError], call: Callable[[], object], what: str) -> None:
    """Call what must raise ``kind``."""
    try:
        result = call()
    except kind:
        return
    raise AssertionError(f"{what}: expected {kind.__name__}, but it returned {result!r}")


CHECKS = (
    writes_and_reads,
    items_come_in_key_order,
    items_are_a_snapshot,
    facts_are_apart_from_values,
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
