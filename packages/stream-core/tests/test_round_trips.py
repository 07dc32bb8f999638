"""Whatever a record holds comes back from every codec, schema and conversion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stream_core.values.decoding import decoder
from stream_core.values.record import Record
from stream_core.values.schemas import Schema


class Color(Enum):
    """An enumeration of text."""

    RED = "red"
    GREEN = "green"


class Level(IntEnum):
    """An enumeration of numbers."""

    LOW = 1
    HIGH = 2


class Pair(NamedTuple):
    """A named tuple."""

    left: int
    right: str


class Item(Record, frozen=True, namespace="r.Item"):
    """A record that can be in sets."""

    name: str
    count: int = 0


class Event(Record, abstract=True):
    """A family."""


class Opened(Event, namespace="r.Opened"):
    """One of it."""

    by: str


class Closed(Event, namespace="r.Closed"):
    """Another."""

    at: datetime


class Everything(Record, namespace="r.Everything"):
    """One field of each type."""

    text: str
    number: int
    ratio: float
    flag: bool
    data: bytes
    price: Decimal
    when: datetime
    day: date
    clock: time
    span: timedelta
    id: UUID
    color: Color
    level: Level
    pair: Pair
    item: Item
    many: list[Item]
    unique: set[str]
    fixed: frozenset[int]
    two: tuple[int, Item]
    row: tuple[Decimal, ...]
    sequence: Sequence[date]
    by_name: dict[str, Item]
    by_number: dict[int, str]
    by_color: Mapping[Color, list[int]]
    anything: Any
    either: int | str | None
    maybe: Item | None = None


class Open(Everything, namespace="r.Open"):
    """The same with fields that need help."""

    event: Event | None = None
    events: list[Opened | Closed] = []  # noqa: RUF012 - copied for each record


few = settings(max_examples=15, suppress_health_check=[HealthCheck.too_slow])
"""For records of so many fields, each of which is drawn."""

LONG = st.integers(-(2**63), 2**63 - 1)
MOMENTS = st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30)).flatmap(
    lambda moment: st.sampled_from([moment, moment.replace(tzinfo=UTC)])
)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
DECIMALS = st.decimals(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | LONG | FINITE | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
ITEMS = st.builds(Item, st.text(), LONG)
EVENTS = st.builds(Opened, st.text()) | st.builds(Closed, MOMENTS)
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "text": st.text(),
    "number": LONG,
    "ratio": FINITE,
    "flag": st.booleans(),
    "data": st.binary(max_size=20),
    "price": DECIMALS,
    "when": MOMENTS,
    "day": st.dates(),
    "clock": st.times(),
    "span": st.timedeltas(min_value=timedelta(days=-9999), max_value=timedelta(days=9999)),
    "id": st.uuids(),
    "color": st.sampled_from(Color),
    "level": st.sampled_from(Level),
    "pair": st.builds(Pair, LONG, st.text()),
    "either": LONG | st.text() | st.none(),
    "item": ITEMS,
    "many": st.lists(ITEMS, max_size=3),
    "unique": st.sets(st.text(), max_size=3),
    "fixed": st.frozensets(LONG, max_size=3),
    "two": st.tuples(LONG, ITEMS),
    "row": st.lists(DECIMALS, max_size=3).map(tuple),
    "sequence": st.lists(st.dates(), max_size=3),
    "by_name": st.dictionaries(st.text(), ITEMS, max_size=3),
    "by_number": st.dictionaries(LONG, st.text(), max_size=3),
    "by_color": st.dictionaries(st.sampled_from(Color), st.lists(LONG, max_size=3), max_size=2),
    "anything": JSON,
    "maybe": ITEMS | st.none(),
}
HELPED = {"event": EVENTS | st.none(), "events": st.lists(EVENTS, max_size=3)}
RECORDS = st.builds(Everything, **FIELDS) | st.builds(Open, **FIELDS, **HELPED)


@few
@given(RECORDS)
def test_dumps_and_loads(record: Everything) -> None:
    """A record comes back from its bytes, and from plain data."""
    assert type(record).loads(record.dumps()) == record
    assert type(record).from_data(record.to_representation()) == record
    assert record.is_valid()


@pytest.mark.parametrize("serializer", ["json", "json|binary", "yaml"])
@few
@given(record=RECORDS)
def test_topics_and_tables(serializer: str, record: Everything) -> None:
    """A record comes back from topics, as value and as key, and from tables, whatever the codec."""
    cls = type(record)
    for schema in (
        Schema(cls, cls, serializer, serializer),
        Schema.for_table(cls, cls, serializer, serializer),
        Schema(list[cls], cls | None, serializer, serializer),  # type: ignore[valid-type]
    ):
        key = [record] if schema.key_type is not cls else record
        assert schema.decode_value(schema.encode_value(record)) == record
        assert schema.decode_key(schema.encode_key(key)) == key


@few
@given(RECORDS, RECORDS)
def test_derive(one: Everything, other: Everything) -> None:
    """A derived record has the fields that were given, and all others of the first."""
    fields = {name: getattr(other, name) for name in ("text", "many", "when")}
    derived = one.derive(**fields)
    assert type(derived) is type(one)
    assert derived.asdict() == {**one.asdict(), **fields}
    assert one.derive() == one


@given(EVENTS)
def test_families_and_unions(event: Event) -> None:
    """The class of a record comes back with it where the type allows several."""
    for type_ in (Event, Opened | Closed, Event | None, Record):
        decoded = decoder(type_)(event.dumps())
        assert type(decoded) is type(event)
        assert decoded == event


@few
@given(RECORDS)
def test_validated_records_take_what_they_wrote(record: Everything) -> None:
    """A class that checks its arguments accepts values of its types as they are."""
    checked = Checked(**{name: getattr(record, name) for name in FIELDS})
    assert checked.asdict() == {name: getattr(record, name) for name in FIELDS}
    assert Checked.loads(checked.dumps()) == checked


class Checked(Everything, validation=True, namespace="r.Checked"):
    """The same, checked on construction."""
