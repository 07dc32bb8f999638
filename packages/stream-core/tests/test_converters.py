"""Unions of records, records with subclasses inside of others, and functions that make values of a type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, Generic, NamedTuple, Optional, TypeVar, Union

import msgspec
import pytest

from stream_core.errors import ConfigurationError, ValidationError
from stream_core.primitives import StoredRecord
from stream_core.values.codecs import get_codec
from stream_core.values.decoding import convert, decoder
from stream_core.values.record import Record
from stream_core.values.schemas import Schema

T = TypeVar("T")


class Deposit(Record, namespace="c.Deposit"):
    """One kind of event."""

    account: str
    amount: int


class Withdrawal(Record, namespace="c.Withdrawal"):
    """Another one, with the same fields."""

    account: str
    amount: int


class Shape(Record, abstract=True):
    """A family."""


class Circle(Shape, namespace="c.Circle"):
    """One of the family."""

    r: int


class Group(Shape, namespace="c.Group"):
    """One that holds others."""

    shapes: list[Shape] = []  # noqa: RUF012 - copied for each record


class Animal(Record, namespace="c.Animal", polymorphic_fields=True):
    """A concrete base class that looks for subclasses."""

    name: str


class Dog(Animal, namespace="c.Dog"):
    """A subclass."""

    breed: str


class Corner(NamedTuple):
    """A tuple with a record in it."""

    at: int
    shape: Shape


class Drawing(Record, namespace="c.Drawing"):
    """Holds records of several classes, in all that can hold them."""

    first: Shape
    many: list[Shape]
    by_name: Mapping[str, Shape]
    pair: tuple[int, Shape]
    row: tuple[Shape, ...]
    sequence: Sequence[Shape]
    corner: Corner
    pet: Animal
    event: Deposit | Withdrawal
    maybe: Optional[Shape]  # noqa: UP045 - the old spelling too
    loose: Union[int, list[Shape], Deposit, None] = None  # noqa: UP007


class Money:
    """A class that msgspec does not know."""

    def __init__(self, amount: Decimal, currency: str) -> None:
        self.amount, self.currency = amount, currency

    @classmethod
    def parse(cls, text: str) -> Money:
        """From ``"1.50 EUR"``."""
        amount, currency = text.split(" ")
        return cls(Decimal(amount), currency)

    def __json__(self) -> str:
        return f"{self.amount} {self.currency}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Money) and (self.amount, self.currency) == (other.amount, other.currency)

    def __hash__(self) -> int:
        return hash((self.amount, self.currency))


class Price(Record, namespace="c.Price", coercions={Money: Money.parse}):
    """Values of a class of one's own."""

    price: Money
    others: list[Money] = []  # noqa: RUF012
    best: Money | None = None
    by_shop: dict[str, Money] = {}  # noqa: RUF012
    checked: Annotated[Money, "a note"] | None = None


def german(text: str) -> datetime:
    """Dates as Germans write them."""
    return datetime.strptime(text, "%d.%m.%Y")


class Visit(Record, namespace="c.Visit", date_parser=german):
    """Dates in another format."""

    when: datetime
    day: date | None = None
    number: int = 0


class Trip(Record, namespace="c.Trip"):
    """Records with functions of their own, inside of one without."""

    visits: list[Visit]
    cost: Price | None = None


class Box(Record, Generic[T], namespace="c.Box"):
    """A generic record."""

    content: T


class Lax(Record, coerce=True, namespace="c.Lax"):
    """Converts."""

    n: int


class Holder(Record, namespace="c.Holder"):
    """Strict, with one inside that converts."""

    lax: Lax
    n: int = 0


class Silent(Record, include_metadata=False):
    """Does not say what it is."""


class Holds(Record):
    """Holds it."""

    one: Deposit | Silent


class Cat(Record, tag=True, include_metadata=False):
    """Tagged."""


class Cow(Record, tag=True, include_metadata=False):
    """Tagged."""


class Farm(Record):
    """Holds tagged records, and one that needs help."""

    animal: Cat | Cow
    shape: Shape


DRAWING = Drawing(
    first=Circle(1),
    many=[Circle(2), Group([Circle(3), Group()])],
    by_name={"a": Circle(4)},
    pair=(5, Circle(5)),
    row=(Circle(6), Group()),
    sequence=[Circle(7)],
    corner=Corner(1, Circle(8)),
    pet=Dog("Rex", "pug"),
    event=Withdrawal("a", 9),
    maybe=Circle(10),
    loose=[Circle(11)],
)

BAD_CIRCLE = {"r": "x", "__faust": {"ns": "c.Circle"}}


def test_a_topic_of_several_records() -> None:
    """Each payload of a union is decoded to the class that it names; a tombstone stays one."""
    schema = Schema(value_type=Deposit | Withdrawal)
    schema.check()
    values = [Deposit("a", 1), Withdrawal("b", 2), None]
    batch = [StoredRecord(at, 0, None, schema.encode_value(value)) for at, value in enumerate(values)]
    assert schema.decode_values(batch) == (values, False)
    assert decoder(Deposit | Withdrawal | None)(b"null") is None
    assert convert(Withdrawal("b", 2).to_representation(), Deposit | Withdrawal) == Withdrawal("b", 2)


@pytest.mark.parametrize("payload", [b'{"account":"a","amount":1}', Circle(1).dumps(), b'{"__faust":{"ns":"gone"}}'])
def test_a_payload_that_names_none_of_a_union(payload: bytes) -> None:
    """It is refused: nobody could tell which class it is of."""
    with pytest.raises(
        ValidationError, match=r"Expected one of `Deposit \| Withdrawal`, got '.*' - at `\$.__faust.ns`$"
    ):
        Schema(value_type=Deposit | Withdrawal).decode_value(payload)


def test_a_union_of_families() -> None:
    """Members that look for subclasses find them."""
    decode = decoder(Animal | Shape)
    for value in (Dog("Rex", "pug"), Animal("Tom"), Circle(1)):
        assert decode(value.dumps()) == value


def test_a_union_whose_members_do_not_say_what_they_are() -> None:
    """Inside of a record too it is refused before the first payload comes."""
    with pytest.raises(ConfigurationError, match="Silent must not have include_metadata=False"):
        Schema(value_type=Holds).check()


def test_tagged_unions_are_msgspecs_own() -> None:
    """Records with tags need no namespace."""
    assert decoder(Cat | Cow)(Cow().dumps()) == Cow()
    assert Farm.loads(Farm(Cow(), Circle(1)).dumps()) == Farm(Cow(), Circle(1))


@pytest.mark.parametrize("serializer", ["json", "json|binary", "yaml"])
def test_records_of_several_classes_inside_of_others(serializer: str) -> None:
    """Wherever a record class with subclasses stands, the payload says which of them it is, in every codec."""
    assert Drawing.loads(DRAWING.dumps(serializer=serializer), serializer=serializer) == DRAWING
    schema = Schema(value_type=Drawing, value_serializer=serializer)
    assert schema.decode_value(schema.encode_value(DRAWING)) == DRAWING


@pytest.mark.parametrize("loose", [3, [Circle(1)], Deposit("a", 1), None])
def test_a_union_of_records_and_other_things(loose: Any) -> None:
    """Objects are the record, everything else is one of the other members."""
    drawing = DRAWING.derive(loose=loose)
    assert Drawing.loads(drawing.dumps()) == drawing


@pytest.mark.parametrize(
    ("path", "change"),
    [
        ("first.r", {"first": BAD_CIRCLE}),
        ("many[1].shapes[0].r", {"many": [Circle(1), {"shapes": [BAD_CIRCLE], "__faust": {"ns": "c.Group"}}]}),
        ("by_name[...].r", {"by_name": {"a": BAD_CIRCLE}}),
        ("pair[1].__faust.ns", {"pair": [1, {"r": 1}]}),
        ("corner[1].__faust.ns", {"corner": [1, {"r": 1}]}),
        ("row", {"row": 5}),
        ("event", {"event": 5}),
        ("event.amount", {"event": {"account": "a", "amount": "b", "__faust": {"ns": "c.Deposit"}}}),
        ("loose", {"loose": "text"}),
    ],
)  # fmt: skip
def test_the_path_of_a_wrong_value(path: str, change: dict[str, Any]) -> None:
    """Errors have the whole path, through all that was converted by itself."""
    with pytest.raises(ValidationError) as caught:
        Drawing.from_data({**DRAWING.to_representation(), **change})
    assert str(caught.value).startswith("Drawing: Expected ")
    assert str(caught.value).endswith(f" - at `$.{path}`")


def test_what_is_missing_and_what_is_unknown() -> None:
    """Such classes treat missing and unknown fields as others do."""
    with pytest.raises(ValidationError, match=r"^Drawing: Object missing required field `many`$"):
        Drawing.from_data({"first": Circle(1).to_representation()})
    assert Group.loads(b'{"new":1,"__faust":{"ns":"c.Group"}}') == Group()
    assert Group.loads(b"{}").shapes is not Group.loads(b"{}").shapes


def test_post_init_of_converted_records() -> None:
    """``__post_init__`` runs once, and what it raises has the path."""
    seen: list[int] = []

    class Checked(Shape):
        """Checks itself."""

        n: int

        def __post_init__(self) -> None:
            seen.append(self.n)
            if self.n < 0:
                raise ValueError("below zero")

    assert Group.loads(Group([Checked(1)]).dumps()) == Group([Checked(1)])
    assert seen == [1, 1, 1]
    payload = Group([Checked(1)]).dumps().replace(b'"n":1', b'"n":-1')
    with pytest.raises(ValidationError, match=r"^Group: below zero - at `\$.shapes\[0\]`$"):
        Group.loads(payload)


def test_values_of_other_classes() -> None:
    """``coercions`` make values of a class of one's own, on construction and decoding, wherever the type stands in a field."""
    price = Price("1.50 EUR", ["2 USD"], "3 EUR", {"a": "4 EUR"}, "5 EUR")  # type: ignore[arg-type, list-item, dict-item]
    euros = [Money(Decimal(amount), "EUR") for amount in ("1.50", "3", "4", "5")]
    assert [price.price, price.best, price.by_shop["a"], price.checked] == euros
    assert price.others == [Money(Decimal(2), "USD")]
    assert Price(euros[0]).price is euros[0]
    assert b'"price":"1.50 EUR"' in price.dumps()
    assert Price.loads(price.dumps()) == price
    assert Price.loads(price.dumps(serializer="yaml"), serializer="yaml") == price
    assert price.is_valid()


def test_what_a_function_refuses() -> None:
    """What the function raises about a value is a ValidationError with the path."""
    with pytest.raises(ValidationError, match=r"^Price: not enough values to unpack .* - at `\$.price`$"):
        Price("1.50")  # type: ignore[arg-type]
    with pytest.raises(ValidationError, match=r"^Price: .*ConversionSyntax.* - at `\$.others\[1\]`$"):
        Price.loads(b'{"price":"1 EUR","others":["1 EUR","x EUR"]}')
    with pytest.raises(ValidationError, match=r"^Price: 'int' object has no attribute 'split' - at `\$.price`$"):
        Price.loads(b'{"price":1}')


def test_the_result_of_a_function_is_checked() -> None:
    """A function that makes something else is found out."""

    class Wrong(Record, coercions={date: str}):
        """Its function makes text of dates."""

        day: date

    with pytest.raises(ValidationError, match=r"^Wrong: Invalid RFC3339 .*|^Wrong: Expected `date`.* - at `\$.day`$"):
        Wrong(5)  # type: ignore[arg-type]


def test_dates_in_another_format() -> None:
    """``date_parser`` reads dates and times from text; what is a date already stays."""
    visit = Visit("24.12.2026", "25.12.2026")  # type: ignore[arg-type]
    assert visit == Visit(datetime(2026, 12, 24), date(2026, 12, 25))
    assert Visit.loads(b'{"when":"24.12.2026","day":null}') == Visit(datetime(2026, 12, 24))
    with pytest.raises(
        ValidationError, match=r"^Visit: time data '2026-12-24' does not match format .* - at `\$.when`$"
    ):
        Visit.loads(b'{"when":"2026-12-24"}')
    with pytest.raises(ValidationError, match=r"^Visit: Expected `int`, got `str` - at `\$.number`$"):
        Visit(datetime(2026, 12, 24), number="5")  # type: ignore[arg-type]


def test_functions_hold_inside_of_other_records() -> None:
    """Each record is converted by the functions of its own class, and subclasses have those of their base too."""

    class Later(Visit, coercions={Money: Money.parse}):
        """A subclass with one more function."""

        cost: Money | None = None

    trip = Trip.loads(b'{"visits":[{"when":"24.12.2026"}],"cost":{"price":"1 EUR"}}')
    assert trip == Trip([Visit(datetime(2026, 12, 24))], Price(Money(Decimal(1), "EUR")))
    assert Later.loads(b'{"when":"24.12.2026","cost":"1 EUR"}').cost == Money(Decimal(1), "EUR")
    assert decoder(list[Visit])(b'[{"when":"24.12.2026"}]') == [Visit(datetime(2026, 12, 24))]


def test_a_function_for_one_member_of_a_union() -> None:
    """It is asked for what the other members do not take."""

    class Either(Record, coercions={Money: Money.parse}):
        """Money or a number."""

        value: int | Money | None

    assert [Either.loads(data).value for data in (b'{"value":1}', b'{"value":"1 EUR"}', b'{"value":null}')] == [
        *(1, Money(Decimal(1), "EUR"), None)
    ]


def test_generic_records_hold_records_of_several_classes() -> None:
    """The parameter of a generic record may be one that the payload names."""
    box = Box[Shape](Circle(1))
    assert decoder(Box[Shape])(box.dumps()) == box
    assert decoder(Box[Deposit | Withdrawal])(Box(Withdrawal("a", 1)).dumps()) == Box(Withdrawal("a", 1))
    assert Schema(value_type=Box[Shape]).decode_value(box.dumps()) == box


def test_each_record_decides_whether_it_converts() -> None:
    """A record that converts does so inside of one that does not, and in a collection; the one around it stays strict."""
    assert Holder.loads(b'{"lax":{"n":"1"}}') == Holder(Lax(1))
    assert decoder(list[Lax])(b'[{"n":"1"}]') == [Lax(1)]
    assert decoder(dict[str, Lax])(b'{"a":{"n":"1"}}') == {"a": Lax(1)}
    with pytest.raises(msgspec.ValidationError, match=r"at `\$.n`$"):
        decoder(Holder)(b'{"lax":{"n":1},"n":"1"}')


def test_construction_checks_records_inside() -> None:
    """With validation an argument may be a record, one of a subclass, or a plain object."""

    class Owner(Record, validation=True):
        """Checked."""

        pet: Animal
        account: Deposit
        events: list[Deposit | Withdrawal] = []  # noqa: RUF012

    class Special(Deposit):
        """A subclass of a class that does not look for any."""

        why: str

    special = Special("a", 1, "b")
    owner = Owner(Dog("Rex", "pug"), special, [Withdrawal("a", 1)])
    assert owner.account is special
    assert Owner(Animal("Tom"), {"account": "a", "amount": "1"}).account == Deposit("a", 1)  # type: ignore[arg-type]
    with pytest.raises(ValidationError, match=r"^Owner: Expected `object`, got `int` - at `\$.events\[0\]`$"):
        Owner(Animal("Tom"), special, [5])  # type: ignore[list-item]


def test_records_that_hold_themselves() -> None:
    """A class may be recursive, with and without parts that need help."""

    class Tree(Record):
        """Holds itself, and shapes."""

        children: list[Tree]
        shape: Shape | None = None

    class Plain(Record):
        """Holds itself."""

        children: list[Plain]

    globals().update(Tree=Tree, Plain=Plain)
    tree = Tree([Tree([], Circle(1)), Tree([Tree([])])], Group())
    assert Tree.loads(tree.dumps()) == tree
    assert Plain.loads(Plain([Plain([])]).dumps()) == Plain([Plain([])])
    assert getattr(decoder(Plain), "__self__", None).__class__ is msgspec.json.Decoder


def test_only_such_types_are_converted_by_python() -> None:
    """All other types are decoded by msgspec alone, from bytes to values."""
    for type_ in (
        Deposit,
        Deposit | None,
        list[Deposit],
        Box[int],
        dict[str, tuple[Deposit, ...]],
        Annotated[int, 1],
    ):
        assert isinstance(decoder(type_).__self__, msgspec.json.Decoder)  # type: ignore[attr-defined]
    assert not hasattr(decoder(Drawing), "__self__")


def test_arrays_have_no_names() -> None:
    """A record that is written as an array cannot hold what needs help, and says so."""

    class Row(Record, array_like=True, include_metadata=False):
        """An array."""

        shape: Shape

    with pytest.raises(TypeError, match="Row: array_like=True does not go with shape"):
        Row.loads(b"[{}]")


def test_other_codecs_get_the_same() -> None:
    """What a codec has read is converted as JSON is."""
    binary = get_codec("json|binary")
    schema = Schema(value_type=Deposit | Withdrawal, value_serializer=binary)
    assert schema.decode_value(schema.encode_value(Withdrawal("a", 1))) == Withdrawal("a", 1)
