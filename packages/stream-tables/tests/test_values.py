"""What a table keeps of a value is what is read, at once and for ever; what it cannot keep fails in the event."""

from __future__ import annotations

import itertools
import math
import pickle
import struct
import uuid
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_core.errors import EncodeError, ValidationError
from stream_core.values.codecs import Codec
from stream_core.values.record import Record
from stream_core.values.schemas import Schema

from .bench import Bench, used

ZONE = ZoneInfo("Europe/Berlin")


class Color(Enum):
    """A value of a few."""

    RED = "red"


class Odd(Enum):
    """An Enum of what no JSON has."""

    OBJECT = object()
    POINT = (1, 2)


class Level(IntEnum):
    """A number with a name."""

    HIGH = 3


class Name(StrEnum):
    """A text with a name."""

    ME = "me"


class Account(Record):
    """A value with structure."""

    owner: str
    amounts: list[float]


class Int32(Codec):
    """A codec that has no numbers from 2**31 on."""

    def _dumps(self, obj: Any) -> bytes:
        return struct.pack(">i", obj)

    def _loads(self, data: bytes) -> Any:
        return struct.unpack(">i", data)[0]


class Pickled(Codec):
    """A codec that gives back everything as it was."""

    def _dumps(self, obj: Any) -> bytes:
        return pickle.dumps(obj)

    def _loads(self, data: bytes) -> Any:
        return pickle.loads(data)


class Rounded(Codec):
    """A codec that loses what is behind the point."""

    def _dumps(self, obj: Any) -> bytes:
        return b"%d" % obj

    def _loads(self, data: bytes) -> Any:
        return float(data)


SCHEMAS = {
    **{
        getattr(type_, "__name__", str(type_)): Schema.for_table(str, type_)
        for type_ in (
            None,
            Any,
            int,
            float,
            bool,
            str,
            bytes,
            Decimal,
            UUID,
            datetime,
            date,
            time,
            timedelta,
            Color,
            Account,
        )
    },
    "int or none": Schema.for_table(str, int | None),
    "list": Schema.for_table(str, list[float]),
    "dict": Schema.for_table(str, dict[str, Decimal]),
    "base64": Schema.for_table(str, int, value_serializer="json|binary"),
    "raw": Schema.for_table(str, int, value_serializer="raw"),
    "Int32": Schema.for_table(str, int, value_serializer=Int32()),
    "pickle": Schema.for_table(str, value_serializer=Pickled()),
    "rounded": Schema.for_table(str, float, value_serializer=Rounded()),
}

scalars = (
    st.integers()
    | st.sampled_from([2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 2**70])
    | st.floats()
    | st.booleans()
    | st.none()
    | st.text(st.characters(exclude_categories=()), max_size=120)
    | st.binary(max_size=5)
    | st.sampled_from([b"5", b"null", b'"x"', b"\xff", b""])
    | st.decimals()
    | st.uuids()
    | st.dates()
    | st.datetimes(timezones=st.none() | st.sampled_from([UTC, ZONE]))
    | st.times(timezones=st.none() | st.just(UTC))
    | st.timedeltas()
    | st.sampled_from([*Color, *Odd, *Level, *Name])
)
values = (
    scalars
    | st.lists(scalars, max_size=3)
    | st.dictionaries(st.text(max_size=3), scalars, max_size=3)
    | st.tuples(scalars, scalars)
    | st.sets(st.integers(), max_size=3)
    | st.builds(Account, owner=st.text(max_size=3), amounts=st.lists(st.floats(), max_size=3))
)


def be_known(bench: Bench) -> None:
    """Let the actor have changed the partition before, so that its next assignment takes the short way."""
    bench.parts[0].delete(bench.cursor, b'"other"')
    assert bench.parts[0].overlay.writer is bench.cursor


def exact(value: Any) -> tuple[type, str]:
    """What makes two values the same to a program: their type, and all that can be seen of them."""
    return type(value), hex(value) if isinstance(value, int) else repr(value)  # decimal digits have a limit


@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS)
@settings(max_examples=80, deadline=None)
@given(value=values, known=st.booleans())
def test_a_value_is_one_thing_at_all_times(schema: Schema, value: Any, known: bool) -> None:
    """An assignment fails in its event, or what is read in it, behind it, behind a checkpoint and after a restart is the same.

    Of a value without parts that is what was assigned.
    """
    bench, refused = used(Bench(schema)), None
    try:
        with bench.event() as table:
            if known:
                be_known(bench)
            table["k"] = value
            first = table["k"]
            assert exact(dict(table.items())["k"]) == exact(first)
    except EncodeError as error:
        refused = str(error)
    if refused is not None:
        assert "table table" in refused
        assert "'k'" in refused
        assert "k" not in bench.table
        return
    if not isinstance(value, list | dict | tuple | set | Record):
        assert first == value or (first != first and value != value)
    for step in (lambda: None, bench.checkpoint, bench.restart):
        step()
        with bench.event() as table:
            assert exact(table["k"]) == exact(first)
            assert exact(dict(table.items())["k"]) == exact(first)
            assert exact(table.get("k")) == exact(first)


@pytest.mark.parametrize(
    ("schema", "value", "why"),
    [
        ("None", Decimal("1.10"), "it would be read as '1.10'; declare the table with value_type=Decimal"),
        ("None", datetime(2026, 1, 2, tzinfo=UTC), "declare the table with value_type=datetime"),
        ("None", uuid.UUID(int=5), "declare the table with value_type=UUID"),
        ("None", 2**70, "declare the table with value_type=int"),
        ("None", b"5", "it would be read as 5; declare the table with value_type=bytes"),
        ("None", Color.RED, "declare the table with value_type=Color"),
        ("None", Odd.OBJECT, "declare the table with value_type=Odd"),
        ("None", math.nan, "it would be read as None; JSON has no infinity"),
        ("float", math.inf, "it would be read as None; JSON has no infinity"),
        ("str", "\ud800", "it is not valid Unicode"),
        ("None", "\ud800", "it is not valid Unicode"),
        ("int", True, "Expected `int | null`, got `bool`; assign a value of that type"),
        ("int", 1 << 20_000, "Exceeds the limit"),
        ("bytes", None, "it would be read as b''"),
        ("Int32", 3_000_000_000, "'i' format requires"),
        ("rounded", 1.5, "it would be read as 1.0"),
        ("Decimal", Decimal("sNaN"), "it would be read as"),
    ],
    ids=itertools.count(),
)
@pytest.mark.parametrize("known", [True, False], ids=["known", "new"])
def test_a_value_that_cannot_be_kept(schema: str, value: Any, why: str, known: bool) -> None:
    """The error of the event names the table, the key and the type of the value, and says what to do."""
    bench = used(Bench(SCHEMAS[schema]))
    with bench.event() as table:
        if known:
            be_known(bench)
        with pytest.raises(EncodeError) as caught:
            table["k"] = value
        assert dict(table.items()) == {}
    for part in ("table table", "the value of 'k'", f"of type {type(value).__name__}", why):
        assert part in str(caught.value)


def test_a_number_in_another_form() -> None:
    """Where numbers are floats 5 is 5.0 from the moment it is assigned; a name of an Enum is its text where nothing is declared."""
    bench = used(Bench(SCHEMAS["float"]))
    with bench.event() as table:
        table["k"] = 5
        assert exact(table["k"]) == exact(5.0)
    bench = used(Bench(SCHEMAS["None"]))
    with bench.event() as table:
        table["k"] = Name.ME
        assert exact(table["k"]) == exact("me")


def test_a_value_that_is_larger_than_a_record() -> None:
    """What the producer would not take fails in the event that assigns it, whatever its type; the largest that fits is taken."""
    for type_, make in ((str, "x".__mul__), (bytes, b"x".__mul__), (list[int], [1].__mul__)):
        bench = used(Bench(Schema.for_table(str, type_), limits={"max_record_size": 10_000}))
        with bench.event() as table:
            table["k"] = make(4_000)
            with pytest.raises(
                EncodeError, match=r"table table: the value of 'k' has .* raise producer_max_request_size"
            ):
                table["k"] = make(10_000)
            assert table["k"] == make(4_000)
        assert bench.parts[0].overlay.size < 11_000


def test_the_room_of_a_record_is_for_key_and_headers_too() -> None:
    """Key, value and headers together are what the producer takes."""
    bench = used(Bench(Schema.for_table(str, bytes), limits={"max_record_size": 100_000}))
    room = bench.parts[0].values.room
    assert room is not None
    assert 90_000 < room < 100_000
    with bench.event() as table:
        table["k"] = bytes(room - len(b'"k"'))
        with pytest.raises(EncodeError):
            table["k"] = bytes(room - len(b'"k"') + 1)
        with pytest.raises(EncodeError):
            table["k" * 10] = bytes(room - len(b'"k"'))


def test_a_value_of_another_version() -> None:
    """A value that is not of the type of the table names table and key; the key can still be looked for, deleted and assigned."""
    bench = used(Bench(Schema.for_table(str, Account)))
    bench.parts[0].store.write({b'"old"': b'{"name": 1}', b'"worse"': b"1"})
    with bench.event() as table:
        for read in (lambda: table["old"], lambda: table.get("old"), lambda: list(table.values())):
            with pytest.raises(
                ValidationError, match=r"table table: the value of 'old' in changelog-0 is not of the type"
            ):
                read()
        assert ("old" in table, len(table), list(table)) == (True, 2, ["old", "worse"])
        del table["worse"]
        table["old"] = Account("me", [])
        assert dict(table.items()) == {"old": Account("me", [])}


class Cents(Record):
    """What became of an account with a ``total``."""

    name: str
    lines: list[Line]
    cents: int = 0


class Line(Record):
    """A part of it."""

    amount: int = 0


class Renamed(Record, rename={"cents": "total"}):
    """The same, with the name that is stored."""

    name: str
    cents: int = 0


def test_a_field_that_is_stored_and_not_known_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """A value with fields that its type does not have is read without them, and a warning names them, for each table once."""
    bench = used(Bench(Schema.for_table(str, Cents)))
    for part in bench.parts:
        part.store.write(
            {b'"new"': b'{"name":"b","cents":3,"lines":[]}', b'"old"': b'{"name":"a","total":5,"lines":[{"price":1}]}'}
        )
    for partition in 0, 1:
        with bench.event(partition) as table:
            assert table["new"] == Cents("b", [], 3)
            assert table["old"] == Cents("a", [Line()])
            assert table["old"] == Cents("a", [Line()])
    (told,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert (
        "table table: the value of 'old' in changelog-0 was written by another version, with fields that Cents does not have: "
        in told
    )
    assert "lines[].price, total; what is not stored has its default: cents, lines[].amount." in told


def test_a_renamed_field_is_read(caplog: pytest.LogCaptureFixture) -> None:
    """A field that keeps its stored name is no other field, and neither is one that came later."""
    bench = used(Bench(Schema.for_table(str, Renamed)))
    bench.parts[0].store.write({b'"old"': b'{"name":"a","total":5}', b'"older"': b'{"name":"b","__faust":{"ns":"x"}}'})
    with bench.event() as table:
        assert (table["old"], table["older"]) == (Renamed("a", 5), Renamed("b", 0))
    assert caplog.records == []
