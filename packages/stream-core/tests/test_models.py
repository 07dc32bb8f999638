"""Records: construction, the wire form with metadata, and which class a payload is decoded to."""

from __future__ import annotations

import importlib
import runpy
import types
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any, ClassVar, Generic, Optional, TypeVar
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_core.errors import ValidationError
from stream_core.values.codecs import get_codec
from stream_core.values.decoding import convert, decoder
from stream_core.values.record import Record
from stream_core.values.wire import encoders, registry

HERE = __name__
T = TypeVar("T")


class Color(Enum):
    """An enumeration."""

    RED = "red"


class Point(Record):
    """A flat record."""

    x: int
    y: int = 2


class Line(Record, namespace="geo.Line"):
    """A record of records, one of them of a class that is defined later."""

    points: list[Point]
    by_name: dict[str, Point] = {}  # noqa: RUF012 - copied for each record
    later: Optional[Later]  # noqa: UP045 - the old spelling too
    note: str | None


class Later(Record):
    """Defined after its use."""

    q: int


class Bare(Record, include_metadata=False):
    """Without metadata of its own, but with a record inside."""

    inner: Point


class Everything(Record):
    """All that msgspec knows."""

    when: datetime
    day: date
    span: timedelta
    price: Decimal
    id: UUID
    color: Color
    data: bytes
    tags: set[str]
    pair: tuple[int, str]
    either: int | str
    flag: bool


class Shape(Record, abstract=True):
    """A family of records."""


class Circle(Shape):
    """One of the family."""

    r: float


class Square(Shape):
    """Another one."""

    a: float


class Animal(Record, allow_blessed_key=True):
    """A concrete base class that looks for subclasses."""

    name: str


class Dog(Animal):
    """A subclass with one more field."""

    breed: str


class Box(Record, Generic[T]):
    """A generic record."""

    content: T


def wire(record: Record) -> bytes:
    """The bytes of a record."""
    return record.dumps()


# -- construction


def test_construction_by_position_and_by_name() -> None:
    """Arguments are the fields in order, or by name; defaults fill the rest."""
    assert Point(1) == Point(x=1, y=2) == Point(1, 2)
    assert repr(Point(1)) == "Point(x=1, y=2)"


@pytest.mark.parametrize(("args", "kwargs"), [((), {}), ((1, 2, 3), {}), ((1,), {"z": 1})])
def test_wrong_arguments_are_type_errors(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Missing and unknown arguments raise TypeError, as calls do."""
    with pytest.raises(TypeError):
        Point(*args, **kwargs)


def test_optional_fields_default_to_none() -> None:
    """A field that may be None needs no default, wherever its type is defined."""
    line = Line([])
    assert line.later is None
    assert line.note is None


def test_mutable_defaults_belong_to_one_record() -> None:
    """Records do not share a default list, empty or not, nor a default record."""

    class Tagged(Record):
        """With mutable defaults."""

        tags: list[str] = ["a"]  # noqa: RUF012 - copied for each record
        empty: dict[str, int] = {}  # noqa: RUF012
        point: Point = Point(1)
        limits: ClassVar[list[int]] = [1]

    one, two = Tagged(), Tagged()
    one.tags.append("b")
    one.empty["x"] = 1
    one.point.x = 5
    assert two == Tagged(["a"], {}, Point(1))
    assert Tagged.limits == [1]


def test_fields_are_inherited_in_order() -> None:
    """A subclass has the fields of its base first."""
    assert Dog("Rex", "pug") == Dog(name="Rex", breed="pug")


def test_a_field_on_the_class_is_a_member_descriptor() -> None:
    """``Point.x`` is what group_by takes: a C descriptor that names the field."""
    assert isinstance(Point.x, types.MemberDescriptorType)
    assert (Point.x.__name__, Point.x.__objclass__) == ("x", Point)


def test_records_match_patterns() -> None:
    """A record matches by position."""
    match Point(1, 5):
        case Point(1, y):
            assert y == 5
        case _:
            pytest.fail("no match")


def test_frozen_records_are_keys() -> None:
    """A frozen record cannot be assigned, so that a key stays what it is; all records are hashed by their fields."""

    class Key(Record, frozen=True, order=True):
        """A key."""

        a: int

    assert {Key(1): 1}[Key(1)] == 1
    assert Key(1) < Key(2)
    with pytest.raises(AttributeError):
        Key(1).a = 2
    assert Key.__hash__ is msgspec.Struct.__hash__
    assert len({Point(1), Point(1), Point(2)}) == 2


def test_post_init_runs_on_construction_and_decoding() -> None:
    """``__post_init__`` sees every record, and what it raises on decoding is a decode error."""

    class Positive(Record):
        """Only above zero."""

        n: int

        def __post_init__(self) -> None:
            if self.n < 1:
                raise ValueError("n is not positive")

    with pytest.raises(ValueError, match="not positive"):
        Positive(0)
    with pytest.raises(ValidationError, match="Positive: n is not positive"):
        Positive.loads(b'{"n":0}')


# -- the wire


def test_metadata_follows_the_fields() -> None:
    """The wire form is Faust's: fields in order, then the namespace."""
    assert wire(Point(1)) == f'{{"x":1,"y":2,"__faust":{{"ns":"{HERE}.Point"}}}}'.encode()


def test_nested_records_have_metadata_of_their_own() -> None:
    """Records in lists, dicts and fields carry their namespace too."""
    point = f'{{"x":1,"y":2,"__faust":{{"ns":"{HERE}.Point"}}}}'
    later = f'{{"q":1,"__faust":{{"ns":"{HERE}.Later"}}}}'
    line = Line([Point(1)], {"a": Point(1)}, Later(1), "n")
    expected = (
        f'{{"points":[{point}],"by_name":{{"a":{point}}},"later":{later},"note":"n","__faust":{{"ns":"geo.Line"}}}}'
    )
    assert wire(line) == expected.encode()
    assert wire(Bare(Point(1))) == f'{{"inner":{point}}}'.encode()
    assert get_codec("json").dumps([Point(1)]) == f"[{point}]".encode()
    assert wire(Box(Point(1))) == f'{{"content":{point},"__faust":{{"ns":"{HERE}.Box"}}}}'.encode()
    assert line == Line([Point(1)], {"a": Point(1)}, Later(1), "n"), "encoding does not change the record"


@pytest.mark.parametrize("content", [[1, (Point(1), None)], {"a": {2}}, "text", None, msgspec.UNSET, Color.RED, 2**70])
def test_what_is_not_a_record_is_written_as_msgspec_writes_it(content: Any) -> None:
    """Looking for records in a field changes nothing else."""
    plain = msgspec.json.decode(msgspec.json.encode({"content": content} if content is not msgspec.UNSET else {}))
    written = msgspec.json.decode(wire(Box(content)))
    del written["__faust"]
    for item in (written.get("content") or []) if isinstance(content, list) else []:
        if isinstance(item, list):
            del item[0]["__faust"]
    assert written == plain


def test_a_record_without_fields_is_only_metadata() -> None:
    """There is no comma before the metadata when nothing comes first."""

    class Empty(Record, namespace="e"):
        """No fields."""

    class Sparse(Record, namespace="s", omit_defaults=True):
        """Writes only what differs."""

        a: int = 1

    assert wire(Empty()) == b'{"__faust":{"ns":"e"}}'
    assert wire(Sparse()) == b'{"__faust":{"ns":"s"}}'
    assert wire(Sparse(2)) == b'{"a":2,"__faust":{"ns":"s"}}'


def test_every_type_survives() -> None:
    """Dates, decimals, enumerations, bytes, collections and unions come back as they went."""
    record = Everything(
        when=datetime(2020, 1, 2, 3, 4, 5, 6, tzinfo=UTC),
        day=date(2020, 1, 2),
        span=timedelta(seconds=90),
        price=Decimal("1.10"),
        id=UUID(int=7),
        color=Color.RED,
        data=b"\xff",
        tags={"a"},
        pair=(1, "b"),
        either="c",
        flag=True,
    )
    assert Everything.loads(wire(record)) == record
    assert b'"2020-01-02T03:04:05.000006Z"' in wire(record)
    assert b'"1.10"' in wire(record)


@given(
    st.lists(st.builds(Point, st.integers(-(2**70), 2**70), st.integers())),
    st.dictionaries(st.text(), st.builds(Point)),
)
def test_any_record_survives(points: list[Point], by_name: Mapping[str, Point]) -> None:
    """Decoding is the inverse of encoding."""
    line = Line(points, dict(by_name))
    assert Line.loads(wire(line)) == line
    assert line.to_representation()["points"] == [point.to_representation() for point in points]


def test_foreign_metadata_and_unknown_fields_are_skipped() -> None:
    """A payload of another program, class or version decodes to the declared type."""
    assert Point.loads(b'{"x":1,"new":[1],"__faust":{"ns":"other.Class"}}') == Point(1)


def test_a_wrong_payload_names_the_field() -> None:
    """The message begins with the class and ends with the path."""
    with pytest.raises(ValidationError, match=r"^Line: Expected `int`, got `str` - at `\$.points\[0\].x`$"):
        Line.loads(b'{"points":[{"x":"a"}]}')


def test_representation_and_dict() -> None:
    """``asdict`` keeps values; ``to_representation`` is the wire as plain data, and ``from_data`` reads it."""
    line = Line([Point(1)])
    assert line.asdict() == {"points": [Point(1)], "by_name": {}, "later": None, "note": None}
    assert line.to_representation()["points"] == [{"x": 1, "y": 2, "__faust": {"ns": f"{HERE}.Point"}}]
    assert Line.from_data(line.to_representation()) == line


def test_derive_changes_some_fields() -> None:
    """``derive`` takes fields from other records, then from arguments."""
    assert Point(1, 1).derive(Point(5, 5), y=7) == Point(5, 7)


def test_serializers_by_argument_and_by_class() -> None:
    """``dumps`` and ``loads`` use the argument, else the codec of the class, else JSON."""

    class Packed(Record, serializer="json|binary"):
        """In base64."""

        x: int

    packed = Packed(1)
    assert packed.dumps() == packed.dumps(serializer="json|binary")
    assert Packed.loads(packed.dumps()) == packed
    assert packed.dumps(serializer="json").startswith(b'{"x":1')
    assert Packed.loads(packed.dumps(serializer="json"), serializer="json") == packed


# -- checks on construction


def test_validation_checks_and_converts_arguments() -> None:
    """With validation a record is built from what fits its types only; text becomes numbers and dates."""
    seen: list[Any] = []

    class Checked(Record, validation=True):
        """Checked on construction."""

        n: int
        day: date | None
        tags: tuple[str, ...] = ()

        def __post_init__(self) -> None:
            seen.append(self.n)

    assert Checked("1", day="2020-01-02") == Checked(1, date(2020, 1, 2))
    assert seen == [1, 1], "__post_init__ runs once, with converted values"
    with pytest.raises(ValidationError, match=r"^Checked: Expected `int`, got `str` - at `\$.n`$"):
        Checked("x")
    with pytest.raises(TypeError, match="missing a required argument"):
        Checked()
    with pytest.raises(TypeError, match="unexpected keyword"):
        Checked(1, other=2)


def test_coercion_converts_on_construction_and_decoding() -> None:
    """``coerce`` is inherited, and a subclass can take it back."""

    class Lax(Record, coerce=True):
        """Converts."""

        n: int

    class Strict(Lax, coerce=False):
        """Does not."""

    assert Lax("1").n == Lax.loads(b'{"n":"1"}').n == 1
    assert Strict("1").n == "1"
    with pytest.raises(ValidationError, match=r"^Strict: "):
        Strict.loads(b'{"n":"1"}')


def test_a_record_can_be_checked_later() -> None:
    """``validate`` says what an assignment broke."""
    point = Point(1)
    assert point.is_valid()
    point.x = "a"
    (error,) = point.validate()
    assert str(error) == "Point: Expected `int`, got `str` - at `$.x`"


# -- polymorphism


def test_an_abstract_type_decodes_to_the_named_subclass() -> None:
    """The payload picks among the subclasses of the declared type."""
    decode = decoder(Shape)
    assert [decode(wire(shape)) for shape in (Circle(1.0), Square(2.0))] == [Circle(1.0), Square(2.0)]
    assert decoder(Shape | None)(b"null") is None
    assert decoder(Record)(wire(Point(1))) == Point(1)
    assert convert(Circle(1.0).to_representation(), Shape) == Circle(1.0)


@pytest.mark.parametrize("payload", [wire(Point(1)), b'{"r":1.0}', b'{"__faust":{"ns":"os.system"}}'])
def test_a_payload_cannot_name_any_other_class(payload: bytes) -> None:
    """What is no subclass of the declared type is refused, be it registered or not."""
    with pytest.raises(msgspec.ValidationError, match=r"Expected a subclass of `Shape`.*`\$.__faust.ns`$"):
        decoder(Shape)(payload)


def test_a_concrete_base_is_the_fallback() -> None:
    """With ``allow_blessed_key`` an unknown or foreign name means the declared class."""
    decode = decoder(Animal)
    assert decode(wire(Dog("Rex", "pug"))) == Dog("Rex", "pug")
    assert decode(b'{"name":"Tom","__faust":{"ns":"gone"}}') == Animal("Tom")
    assert type(decoder(Point)(b'{"x":1,"__faust":{"ns":"geo.Line"}}')) is Point


# -- namespaces


def test_classes_are_registered_by_namespace() -> None:
    """The registry has concrete classes only, by their name on the wire."""
    assert registry[f"{HERE}.Point"] is Point
    assert registry["geo.Line"] is Line
    assert f"{HERE}.Shape" not in registry


def test_two_classes_cannot_share_a_namespace() -> None:
    """Whoever takes a namespace that is taken is told by whom; the same class again replaces itself."""
    with pytest.raises(TypeError, match=r"'geo.Line' of .*Other belongs to .*\.Line"):

        class Other(Record, namespace="geo.Line"):
            """Clashes."""

    def define() -> type[Record]:
        class Again(Record):
            """Defined twice."""

        return Again

    assert define() is not (second := define())
    assert registry[f"{HERE}.{second.__qualname__}"] is second


@pytest.mark.parametrize("name", ["__main__", "__mp_main__"])
def test_a_script_has_the_name_of_its_file(tmp_path: Path, name: str) -> None:
    """``__main__`` in a namespace is the module that other programs would import, in processes that the script starts too."""
    script = tmp_path / f"orders{name}.py"
    script.write_text("from stream_core.values.record import Record\nclass Order(Record):\n    id: int\n")
    order = runpy.run_path(str(script), run_name=name)["Order"]
    assert order(1).dumps().endswith(b'"__faust":{"ns":"orders%s.Order"}}' % name.encode())


@pytest.mark.parametrize("start", ["script", "package", "directory"])
def test_one_file_has_one_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: str) -> None:
    """A module of a package has the same namespace as a script, as a part of the package, and from the package's directory."""
    package, module = tmp_path / f"shop_as_{start}", f"orders_as_{start}"
    package.mkdir()
    (package / "__init__.py").touch()
    script = package / f"{module}.py"
    script.write_text("from stream_core.values.record import Record\nclass Order(Record):\n    id: int\n")
    if start == "script":
        order = runpy.run_path(str(script), run_name="__main__")["Order"]
    else:
        monkeypatch.syspath_prepend(tmp_path if start == "package" else package)
        order = importlib.import_module(f"{package.name}.{module}" if start == "package" else module).Order
    assert order(1).dumps().endswith(b'"__faust":{"ns":"%s.%s.Order"}}' % (package.name.encode(), module.encode()))


@pytest.mark.parametrize("option", ["forbid_unknown_fields", "array_like"])
def test_options_that_exclude_metadata_are_refused(option: str) -> None:
    """A record cannot forbid what it writes itself."""
    with pytest.raises(TypeError, match=f"{option}=True leaves no room"):
        type(Record)("Closed", (Record,), {"__module__": HERE, "__qualname__": "Closed"}, **{option: True})


def test_generic_records_decode_by_parameter() -> None:
    """``Box[int]`` decodes as msgspec decodes it."""
    assert decoder(Box[int])(b'{"content":1}') == Box(1)
    with pytest.raises(msgspec.ValidationError):
        decoder(Box[int])(b'{"content":"a"}')


def test_plain_values_are_encoded_natively() -> None:
    """The table of encoders serves any object."""
    assert encoders[int](2**70) == str(2**70).encode()
    assert encoders[dict]({"a": Point(1)}).startswith(b'{"a":{"x":1')


def test_records_that_a_function_defines() -> None:
    """They cannot name each other, nor themselves, and that is said."""

    class Inner(Record):
        number: int

    class Outer(Record):
        inner: Inner

    class Tree(Record):
        branches: list[Tree]

    for cls, attempt in (
        (Outer, lambda: Outer.loads(b"{}")),
        (Tree, lambda: Tree([]).dumps()),
        (Tree, Tree.make_final),
    ):
        with pytest.raises(
            NameError, match=f"is not defined: {cls.__name__} names it .* define both at its top, not in a function"
        ):
            attempt()
