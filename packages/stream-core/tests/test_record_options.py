"""Record classes: their options, what they refuse when they are made, and how their values are checked later."""

from __future__ import annotations

import copy
import pickle
from collections import deque
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Annotated, Any

import msgspec
import pytest

from stream_core.errors import ConfigurationError, StreamError, ValidationError
from stream_core.values.record import Record
from stream_core.values.wire import options_of, registry


class Point(Record, namespace="o.Point"):
    """A flat record."""

    x: int
    y: int = 2


class Line(Record, namespace="o.Line"):
    """Records in a record."""

    ends: list[Point]
    by_name: dict[str, Point] = {}  # noqa: RUF012 - copied for each record
    width: Annotated[int, msgspec.Meta(ge=1)] = 1


class Side(Enum):
    """An enumeration."""

    BUY = "buy"


@dataclass
class Counter:
    """Something of the user's that can change."""

    counts: list[int] = field(default_factory=list)


class Later(Record, namespace="o.Later"):
    """Names a class that does not exist."""

    what: Nothing  # type: ignore[name-defined]  # noqa: F821


# -- options


def test_options_in_the_class() -> None:
    """An inner class ``Options`` says what keywords say; a keyword wins, and subclasses inherit."""

    class Base(Record, coerce=False):
        """With options inside."""

        n: int

        class Options:
            """Options of records, and of msgspec."""

            namespace = "o.Base"
            coerce = True
            frozen = True

    class Derived(Base):
        """Has its options, but not its name."""

    assert registry["o.Base"] is Base
    assert Base.loads(b'{"n":1}').dumps() == b'{"n":1,"__faust":{"ns":"o.Base"}}'
    assert (options := options_of(Base)) is not None
    assert not options.coerce
    assert hash(Base(1)) == hash(Base(1))
    assert options_of(Derived).namespace.endswith("Derived")  # type: ignore[union-attr]
    assert not hasattr(Base, "Options")


def test_a_misspelt_option_is_refused() -> None:
    """Neither a keyword nor an attribute of ``Options`` that does not exist is passed over."""
    with pytest.raises(TypeError, match=r"keyword.*'namespce'|'namespce'.*keyword"):

        class Wrong(Record, namespce="a"):  # type: ignore[call-arg]
            """Misspelt."""

    with pytest.raises(TypeError, match=r"keyword.*'serialiser'|'serialiser'.*keyword"):

        class Other(Record):
            """Misspelt."""

            class Options:
                """Of records."""

                serialiser = "json"


def test_options_of_old_code_are_accepted() -> None:
    """What records always do may still be asked for."""

    class Old(Record, isodates=True, decimals=True, lazy_creation=True, namespace="o.Old"):
        """From another time."""

        when: datetime

    Old.make_final()
    assert Old.loads(b'{"when":"2026-12-24T18:00:00"}') == Old(datetime(2026, 12, 24, 18))


def test_make_final_finds_what_does_not_exist() -> None:
    """A type that nobody defined is found before the first payload comes."""
    with pytest.raises(NameError, match="Nothing"):
        Later.make_final()


def test_an_unknown_serializer_is_a_configuration_error() -> None:
    """The codec of a class is looked up when it is used."""

    class Wrong(Record, serializer="jsn"):
        """Its codec is misspelt."""

    with pytest.raises(ConfigurationError, match="did you mean 'json'"):
        Wrong().dumps()
    with pytest.raises(ConfigurationError, match="did you mean 'json'"):
        Wrong.loads(b"{}")


def test_the_default_serializer_is_the_last_one_asked() -> None:
    """``loads`` takes the argument, else the codec of the class, else the default, else JSON."""

    class Packed(Record, serializer="json|binary"):
        """With a codec."""

    assert Packed.loads(Packed().dumps(), default_serializer="yaml") == Packed()
    assert Point.loads(b"x: 1", default_serializer="yaml") == Point(1)
    assert Point.loads(b'{"x":1}', serializer="json", default_serializer="yaml") == Point(1)


# -- classes that cannot work


def test_a_default_needs_its_type() -> None:
    """An attribute without a type would hide the field it is meant for."""
    with pytest.raises(TypeError, match=r"^Wrong.y hides a field of its base class: .* y: \.\.\. = \.\.\.$"):

        class Wrong(Point):
            """Forgets the type."""

            y = 3

    class Right(Point):
        """Says it again."""

        y: int = 3

    assert Right(1) == Right(1, 3)


def test_required_fields_come_first() -> None:
    """A required field behind an optional one is refused, inherited ones too; by name only they may come in any order."""
    with pytest.raises(TypeError, match=r"Required field 'z' cannot follow optional fields.*kw_only=True"):

        class Wrong(Point):
            """Its base has a default."""

            z: int

    class Right(Point, kw_only=True):
        """By name."""

        z: int

    assert Right(1, z=3).asdict() == {"x": 1, "y": 2, "z": 3}


def test_a_constructor_of_ones_own_is_refused() -> None:
    """``__init__`` would never be called; ``__post_init__`` is."""
    with pytest.raises(TypeError, match="Wrong has an __init__, which records make themselves: let __post_init__"):

        class Wrong(Record):
            """Has one."""

            def __init__(self) -> None:
                """Do nothing."""


# -- defaults


def test_all_that_can_change_belongs_to_one_record() -> None:
    """Also objects of other classes, and lists inside of tuples and frozen records; what cannot change is shared."""

    class Frozen(Record, frozen=True):
        """Frozen, with a list."""

        items: list[int]

    class Defaults(Record):
        """With all kinds of defaults."""

        counter: Counter = Counter()
        queue: Any = deque([1])  # noqa: RUF012
        pair: tuple[int, list[int]] = (1, [2])
        frozen: Frozen = Frozen([1])
        side: Side = Side.BUY
        make: Any = list
        factory: list[int] = msgspec.field(default_factory=lambda: [7])
        numbers: tuple[int, int] = (1000, 2000)

    one, two = Defaults(), Defaults()
    one.counter.counts.append(1)
    one.queue.append(2)
    one.pair[1].append(3)
    one.frozen.items.append(2)
    one.factory.append(8)
    assert two == Defaults(Counter(), deque([1]), (1, [2]), Frozen([1]), Side.BUY, list, [7], (1000, 2000))
    assert one.numbers is two.numbers


# -- values


def test_an_error_for_each_wrong_field() -> None:
    """``validate`` finds all of them, those of records inside and of constraints too, by class and path."""
    line = Line([Point(1), Point(2)], {"a": Point(3)}, 1)
    assert line.validation_errors == []
    line.validate_or_raise()
    line.ends[1].x = "a"  # type: ignore[assignment]
    line.by_name["a"].y = None  # type: ignore[assignment]
    line.width = 0
    assert [str(error) for error in line.validate()] == [
        "Line: Expected `int`, got `str` - at `$.ends[1].x`",
        "Line: Expected `int`, got `null` - at `$.by_name[...].y`",
        "Line: Expected `int` >= 1 - at `$.width`",
    ]
    assert not line.is_valid()
    with pytest.raises(ValidationError, match=r"^Line: .*ends\[1\].x`$"):
        line.validate_or_raise()


def test_validation_errors_are_ours_and_value_errors() -> None:
    """They are in the tree of all our errors, and what catches ValueError catches them."""
    assert issubclass(ValidationError, StreamError)
    assert issubclass(ValidationError, ValueError)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'{"x":"a"}', r"^Point: Expected `int`, got `str` - at `\$.x`$"),
        (b"{}", r"^Point: Object missing required field `x`$"),
        (b"[]", r"^Point: Expected `object`, got `array`$"),
        (b'{"x":1', r"^Point: Input data was truncated$"),
        (b"\xff", r"^Point: JSON is malformed"),
        (b"", r"^Point: Input data was truncated$"),
    ],
)
def test_bytes_that_are_no_such_record(data: bytes, message: str) -> None:
    """Whatever is wrong with them, it is one kind of error."""
    with pytest.raises(ValidationError, match=message):
        Point.loads(data)


def test_plain_data_that_is_no_such_record() -> None:
    """The same from plain data, and through other codecs."""
    with pytest.raises(ValidationError, match=r"^Point: Expected `int`, got `str` - at `\$.x`$"):
        Point.from_data({"x": "a"})
    with pytest.raises(ValidationError, match=r"^Point: Expected `int`, got `str` - at `\$.x`$"):
        Point.loads(b"x: a", serializer="yaml")
    with pytest.raises(ValidationError, match=r"^Point: Incorrect padding$"):
        Point.loads(b"eA", serializer="json|binary")


def test_validation_refuses_what_a_constraint_excludes() -> None:
    """Bounds of ``Meta`` hold at construction and decoding."""

    class Bounded(Record, validation=True):
        """With bounds."""

        name: Annotated[str, msgspec.Meta(min_length=1, max_length=3)]

    assert Bounded("abc").name == "abc"
    with pytest.raises(ValidationError, match=r"^Bounded: Expected `str` of length <= 3 - at `\$.name`$"):
        Bounded("abcd")
    with pytest.raises(ValidationError, match=r"^Bounded: Expected `str` of length >= 1 - at `\$.name`$"):
        Bounded.loads(b'{"name":""}')


def test_unset_fields_of_validated_records() -> None:
    """A field that may be missing stays missing."""

    class Patch(Record, validation=True, include_metadata=False):
        """Only what changed."""

        name: str | msgspec.UnsetType = msgspec.UNSET
        age: int | msgspec.UnsetType | None = msgspec.UNSET

    assert Patch(msgspec.UNSET, None).dumps() == b'{"age":null}'
    assert Patch.loads(b'{"age":"5"}') == Patch(age=5)


@pytest.mark.parametrize("options", [{}, {"coerce": True}], ids=["strict", "coerce"])
def test_a_field_is_renamed_and_its_name_on_the_wire_is_not(options: Any) -> None:
    """``rename={"cents": "amount"}`` reads and writes the field ``cents`` as ``amount``, and leaves the others alone."""

    class Total(Record, rename={"cents": "amount"}, include_metadata=False, **options):
        """Its field had another name once."""

        account: str
        cents: int = 0

    total = Total.loads(b'{"account":"a","amount":5}')
    assert (total, total.dumps()) == (Total("a", cents=5), b'{"account":"a","amount":5}')
    assert Total.from_data(total.to_representation()) == total
    assert Total._options.descriptors["cents"].input_name == "amount"
    assert total.asdict() == {"account": "a", "cents": 5}


def test_comparison() -> None:
    """Records are equal when class and fields are, and ordered by their fields within a class, unless that is not wanted."""

    class Version(Record):
        """With an order."""

        major: int
        minor: int

    assert Point(1) == Point(1, 2)
    assert Point(1) != Point(2)
    assert Point(1) != Version(1, 2)
    assert sorted([Version(2, 0), Version(1, 5)]) == [Version(1, 5), Version(2, 0)]
    with pytest.raises(TypeError):
        assert Point(1) < Version(1, 2)  # type: ignore[operator]

    class Apart(Record, eq=False):
        """Compared as objects are."""

        x: int

    assert Apart(1) != Apart(1)


@pytest.mark.parametrize("validation", [False, True])
def test_copies_and_pickles(*, validation: bool) -> None:
    """A record can be copied and pickled, and ``copy.copy`` shares what is inside."""
    cls = Line if not validation else Checked
    line: Any = cls([Point(1)])
    assert copy.copy(line).ends is line.ends
    assert copy.deepcopy(line) == line
    assert copy.deepcopy(line).ends is not line.ends
    assert pickle.loads(pickle.dumps(line)) == line


class Checked(Record, validation=True):
    """Like a line, checked."""

    ends: list[Point]


def test_renamed_fields() -> None:
    """``rename`` changes names on the wire only, in records with and without help."""

    class Renamed(Record, rename="camel", include_metadata=False):
        """camelCase outside."""

        first_name: str
        last_seen: datetime | None = None

    class Helped(Record, rename="camel", include_metadata=False, date_parser=datetime.fromisoformat):
        """The same with a parser."""

        first_name: str
        last_seen: datetime | None = None

    for cls in (Renamed, Helped):
        record = cls("Ada", datetime(2026, 1, 2))
        assert record.dumps() == b'{"firstName":"Ada","lastSeen":"2026-01-02T00:00:00"}'
        assert cls.loads(record.dumps()) == record


def test_fields_may_have_the_names_of_methods() -> None:
    """The wire does not depend on methods that a field may hide."""

    class Station(Record, namespace="o.Station"):
        """Measures loads."""

        loads: list[int]  # type: ignore[assignment]
        validate: bool = False  # type: ignore[assignment]

    assert Station([1]).dumps() == b'{"loads":[1],"validate":false,"__faust":{"ns":"o.Station"}}'
    assert Station.from_data({"loads": [1], "validate": True}) == Station([1], True)
