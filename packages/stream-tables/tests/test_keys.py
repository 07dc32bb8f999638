"""Keys: what is not a key of a table is refused at once, and one that another version has left can be told and deleted."""

from __future__ import annotations

import logging
import math
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from operator import itemgetter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_core.primitives import TP, StoredRecord
from stream_core.streams.effects import Session
from stream_core.values.codecs import Pickle
from stream_core.values.record import Record
from stream_core.values.schemas import Schema
from stream_tables.errors import TableError, TableKeyError
from stream_tables.table import Table

from .bench import Bench, used


class Place(Record):
    """A key with structure, which has no hash."""

    street: str
    number: int


class Name(StrEnum):
    """A text with a name."""

    ME = "me"


TYPES = [None, Any, str, int, float, bool, bytes, Decimal, datetime, tuple[str, int], Place, int | str]
keys = (
    st.integers()
    | st.sampled_from([2**70, 1 << 20_000, -0.0, 0, 0.0, 1, True, 1.0, "1", b"1", Name.ME, "me", b'"me"'])
    | st.floats()
    | st.booleans()
    | st.text(st.characters(exclude_categories=()), max_size=5)
    | st.binary(max_size=5)
    | st.decimals(allow_nan=False)
    | st.datetimes(timezones=st.none() | st.just(UTC))
    | st.tuples(st.text(max_size=3), st.integers())
    | st.builds(Place, street=st.text(max_size=3), number=st.integers() | st.floats() | st.text(max_size=2))
    | st.lists(st.integers(), max_size=2)
)


@pytest.mark.parametrize("type_", TYPES, ids=str)
@settings(max_examples=80, deadline=None)
@given(pairs=st.lists(st.tuples(keys, st.integers(0, 9)), max_size=5))
def test_a_key_is_found_under_what_it_comes_back_as(type_: Any, pairs: list[tuple[Any, int]]) -> None:
    """Each key is refused wherever it is used, or comes back from an iteration as what it is, and is found as that."""
    bench = used(Bench(Schema.for_table(type_, int)))
    with bench.event() as table:
        for key, number in pairs:
            refused = None
            try:
                table[key] = number
            except TableError as error:
                refused = str(error)
            if refused is not None:
                assert "table table" in refused
                for access in (table.get, table.__contains__, table.__getitem__, table.__delitem__, table.pop):
                    with pytest.raises(TableError):
                        access(key)
            else:
                assert table[key] == number
    bench.checkpoint()
    with bench.event() as table:
        found = list(table.items())
        assert len(found) == len(table) == sum(1 for part in bench.parts for _ in part.store.range())
        for key, number in found:
            assert (table[key], table.get(key), key in table) == (number, number, True)
            del table[key]
        assert len(table) == 0


@pytest.mark.parametrize(
    ("type_", "key", "why"),
    [
        (
            str,
            b"alice",
            r"has keys of type str, and b'alice' is of type bytes: .*; convert it, or declare the table with key_type=bytes",
        ),
        (str, 5, "has keys of type str, and 5 is of type int"),
        (str, Place("a", 1), "and Place.* is of type Place"),
        (int, "5", "has keys of type int, and '5' is of type str"),
        (int, True, "has keys of type int, and True is of type bool"),
        (float, 5, "has keys of type float, and 5 is of type int"),
        (Place, Place("a", "one"), "has keys of type Place"),  # type: ignore[arg-type]
        (
            None,
            ("a", 1),
            r"has no key_type, and \('a', 1\) is of type tuple: it would come back as \['a', 1\], of type list",
        ),
        (None, b"5", "it would come back as 5, of type int"),
        (None, Decimal("1.5"), "it would come back as '1.5', of type str"),
        (None, 2**70, "of type float"),
        (float, math.nan, "of type float"),
        (str, "\ud800", "surrogates not allowed"),
        (str, None, "None is not a key"),
    ],
)
def test_what_is_no_key(type_: Any, key: Any, why: str) -> None:
    """The error names table, key and type, in whatever way the key is used: a key that cannot be there is no key that is missing."""
    bench = used(Bench(Schema.for_table(type_, int), default=int))
    with bench.event() as table:
        for access in (
            lambda: table.__setitem__(key, 1),
            lambda: table[key],
            lambda: table.get(key),
            lambda: key in table,
            lambda: table.pop(key, 0),
            lambda: table.__delitem__(key),
            lambda: table.setdefault(key, 1),
        ):
            with pytest.raises(TableError, match=f"table table:? {why}" if key is None else why):
                access()
        assert len(table) == 0
    with pytest.raises(TableError, match=why):
        bench.table.get(key)


def test_a_bool_is_no_number_that_was_used_before() -> None:
    """A key that Python takes for equal to one that fits is refused all the same: its bytes are others."""
    bench = used(Bench(Schema.for_table(int, int)))
    with bench.event() as table:
        table[1] = 1
        with pytest.raises(TableError, match="of type bool"):
            table[True] = 2
        with pytest.raises(TableError, match="of type float"):
            table[1.0] = 2
        assert list(table.items()) == [(1, 1)]


class AnyCase(str):
    """A text that is equal to any of the same letters; its bytes are its own."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and self.lower() == other.lower()

    def __hash__(self) -> int:
        return hash(self.lower())


@pytest.mark.parametrize("used_before", [False, True])
@pytest.mark.parametrize(
    ("options", "key", "found"),
    [
        ({"key_type": str}, AnyCase("ME"), "ME"),
        ({"key_type": str, "key_serializer": Pickle()}, Name.ME, Name.ME),
        ({"key_type": str, "key_serializer": "raw"}, AnyCase("me"), None),
    ],
)
def test_a_key_that_is_equal_to_a_text_has_its_own_bytes(
    options: dict[str, Any], key: str, found: str | None, used_before: bool
) -> None:
    """What it is does not depend on which texts were used lately; ``found`` is the key that it comes back as, or it is refused."""
    bench = used(Bench(Schema.for_table(value_type=int, **options), default=int))
    with bench.event() as table:
        if used_before:
            table["me"] += 1
        expected = [("me", 1)] if used_before else []
        if found is None:
            for access in (table.__getitem__, lambda key: table.__setitem__(key, 5), table.get, table.__contains__):
                with pytest.raises(TableError, match="of type"):
                    access(key)
        else:
            table[key] = 5
            assert (table[key], table.get(key), key in table) == (5, 5, True)
            expected.append((found, 5))
        assert sorted(table.items(), key=itemgetter(1)) == expected


@pytest.mark.parametrize("key", ["true", True, 5])
def test_raw_keys_without_a_type_are_bytes(key: Any) -> None:
    """Each would come back as bytes, so two of them would be one entry."""
    bench = used(Bench(Schema.for_table(value_type=int, key_serializer="raw")))
    with bench.event() as table:
        table[b"true"] = 1
        with pytest.raises(TableError, match="it would come back as b'"):
            table[key] = 2
        assert list(table.items()) == [(b"true", 1)]


def test_keys_of_the_changelog_itself() -> None:
    """A value under one would be lost when the changelog is compacted."""
    bench = used(Bench(Schema.for_table(bytes, int)))
    with bench.event() as table:
        with pytest.raises(TableError, match="those of the changelog itself"):
            table[b"\xff\xfestream-claim"] = 1
        table[b"\xff\xfe"] = 1


def test_a_key_of_another_version(caplog: pytest.LogCaptureFixture) -> None:
    """A key that is not of the type of the table is told once with its bytes, left out of iterations, and can be deleted by them."""
    bench = used(Bench(Schema.for_table(str, int)))
    bench.parts[1].store.write({b"alice": b"1", b"\x00\xff": b"2", b'"bob"': b"3"})
    with caplog.at_level(logging.ERROR):
        with bench.event(1) as table:
            assert dict(table.items()) == {"bob": 3}
            assert (len(table), list(table), list(table.values())) == (1, ["bob"], [3])
        assert dict(bench.table.items()) == {"bob": 3}
    assert len(caplog.records) == 2
    assert "table table: changelog-1 has a key that is not of type str" in caplog.text
    assert "An event of partition 1 can delete it: del table[b'alice']" in caplog.text

    with bench.event(1) as table:
        for key in (b"alice", b"\x00\xff"):
            del table[key]
        for key in (b'"bob"', b"carol"):
            with pytest.raises(TableError, match="has keys of type str"):
                del table[key]
    bench.checkpoint()
    assert dict(bench.parts[1].store.range()) == {b'"bob"': b"3"}


# -- a missing key


def test_a_missing_key_says_where_it_was_looked_for() -> None:
    """The KeyError names the table, the key, the partition and the event, and says how the key gets into the partition."""
    bench = used(Bench(Schema.for_table(str, int)))
    for access in (lambda: table["c1"], lambda: table.pop("c1"), lambda: table.__delitem__("c1")):
        with bench.event(1, topic="orders") as table, pytest.raises(KeyError) as caught:
            access()
        error = caught.value
        assert isinstance(error, TableKeyError)
        assert error.args == ("c1",)
        assert str(error) == (
            "table table has no 'c1' in partition 1 of 2, where its event is (topic orders, offset 0, key b'its key'): "
            "if another partition has it, group the stream by that key first, with stream.group_by(...)"
        )


def test_a_missing_key_outside_of_events() -> None:
    """Without an event the error says which partitions this worker holds."""
    bench = used(Bench(Schema.for_table(str, int)))
    bench.table.detach(bench.run, 0)
    with pytest.raises(TableKeyError) as caught:
        assert bench.table["c1"]
    assert str(caught.value) == "table table has no 'c1' in the partitions that this worker holds (1 of 2)"


def test_a_missing_key_before_the_start() -> None:
    """A table of an app that does not run has nothing, whatever the key is."""
    with pytest.raises(TableKeyError, match=r"table early has no 'c1': the app is not started"):
        Table("early", schema=Schema.for_table(str, int), changelog="early-changelog")["c1"]


def test_no_advice_that_does_not_help() -> None:
    """Nobody is told to group by a key by which the event came, or where there is one partition only."""
    bench = used(Bench(Schema.for_table(str, int), partitions=1))
    with bench.event() as table, pytest.raises(TableKeyError) as caught:
        assert table["c1"]
    assert "group_by" not in str(caught.value)

    bench = used(Bench(Schema.for_table(str, int)))
    with bench.event() as table:
        bench.cursor.session = Session(TP("orders", 0), Schema(str), 2)
        bench.cursor.record = StoredRecord(0, 0, b"c1", b"")
        with pytest.raises(TableKeyError) as caught:
            assert table["c1"]
    assert "group_by" not in str(caught.value)


def test_a_missing_key_of_an_event_without_a_readable_key() -> None:
    """An event whose own key cannot be decoded does not hide the error."""
    bench = used(Bench(Schema.for_table(str, int)))
    with bench.event() as table:
        bench.cursor.session = Session(TP("orders", 0), Schema(int), 2)
        bench.cursor.record = StoredRecord(0, 0, b"\xff", b"")
        with pytest.raises(TableKeyError, match=r"key b'\\xff'"):
            assert table["c1"]
    assert str(TableKeyError("k")) == "'k'"


class Counting(Schema):
    """A schema with a hook that counts the keys it has encoded, and refuses some."""

    encoded = 0

    def dumps_key(self, key: Any, headers: list[tuple[str, bytes]], dumps: Any) -> bytes | None:
        """Count, and encode as usual."""
        type(self).encoded += 1
        if key == "bad":
            raise ValueError("it is bad")
        return super().dumps_key(key, headers, dumps)


def test_the_keys_of_a_hook_are_encoded_once() -> None:
    """A hook is asked once for a text that comes again, and once for a key that it refuses."""
    Counting.encoded = 0
    bench = used(Bench(Counting(key_type=str, value_type=int, key_default="json", value_default="json"), default=int))
    for _ in range(3):
        with bench.event() as table:
            table["a"] += 1
    once = Counting.encoded
    with bench.event() as table:
        table["a"] += 1
        assert (table["a"], Counting.encoded) == (4, once)
        with pytest.raises(TableError, match="it is bad") as caught:
            assert table["bad"]
    assert Counting.encoded == once + 1
    assert not isinstance(caught.value.__context__, TableError)
