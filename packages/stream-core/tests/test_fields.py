"""Descriptors of fields, tags that hide values, and text made of numbers."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterable
from datetime import date
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_core.errors import SecurityError, ValidationError
from stream_core.streams.repartition import Key
from stream_core.values.decoding import decoder
from stream_core.values.fields import (
    BooleanField,
    BytesField,
    DatetimeField,
    DecimalField,
    FieldDescriptor,
    FloatField,
    IntegerField,
    StringField,
    field_for_type,
)
from stream_core.values.record import Record
from stream_core.values.tags import (
    OpaqueTag,
    Personal,
    Secret,
    Sensitive,
    TransparentTag,
    allow_protected_vars,
    tag_of,
)


class Choice(FieldDescriptor[str]):
    """One of some words."""

    def __init__(self, choices: Iterable[str] = (), **options: Any) -> None:
        super().__init__(choices=choices, **options)
        self.choices = list(choices)

    def validate(self, value: str) -> Iterable[ValidationError]:
        """Report any other word."""
        if value not in self.choices:
            yield self.validation_error(f"{self.field} must be one of {', '.join(self.choices)}")


class Order(Record, validation=True, include_metadata=False):
    """A record with fields that say more than their types."""

    side: str = Choice(["BUY", "SELL"])  # type: ignore[assignment]
    amount: int = IntegerField(min_value=0, max_value=10)  # type: ignore[assignment]
    name: str = StringField(max_length=5, min_length=2, trim_whitespace=True, default="none")  # type: ignore[assignment]
    price: Decimal | None = DecimalField(max_digits=4, max_decimal_places=2, required=False)  # type: ignore[assignment]


class Limited(Order, namespace="fields.Limited"):
    """It inherits them."""

    rest: int = 0


class Unchecked(Record):
    """The same without validation."""

    side: str = Choice(["BUY", "SELL"])  # type: ignore[assignment]


class Customer(Record):
    """Part of another."""

    name: str
    city: str = "Utrecht"


class Invoice(Record):
    """It has a record in it."""

    customer: Customer
    total: float = 0.0


class Wired(Record, include_metadata=False):
    """Other names on the wire."""

    id: int = FieldDescriptor(input_name="ID")  # type: ignore[assignment]
    old: str = FieldDescriptor(input_name="in", output_name="out", default="")  # type: ignore[assignment]
    cached: int = FieldDescriptor(exclude=True, default=7)  # type: ignore[assignment]
    customers: list[Customer] = []  # noqa: RUF012 - it is a field, and copied


class User(Record, include_metadata=False):
    """A record with something to hide."""

    name: Personal[str]
    password: Secret[str]
    income: Sensitive[int] | None = None


class Frozen(Record, frozen=True, coerce=True):
    """A frozen one, which converts."""

    token: Secret[str]


class Loose(Record, coerce=True, include_metadata=False):
    """It makes text of numbers."""

    text: str
    texts: list[str] = []  # noqa: RUF012 - it is a field, and copied
    by_name: dict[str, str | None] = {}  # noqa: RUF012 - it is a field, and copied
    number: int = 0


class Around(Record, include_metadata=False):
    """It is strict, and what is in it is not."""

    loose: Loose
    text: str = ""


MAKE = {"side": "BUY", "amount": 1}


@pytest.mark.parametrize("cls", [Order, Limited])
@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"side": "HOLD"}, "side must be one of BUY, SELL"),
        ({"amount": -1}, "amount is -1, and at least 0 is right"),
        ({"amount": 11}, "amount is 11, and at most 10 is right"),
        ({"name": "abcdef"}, "name has 6 characters, and at most 5 are right"),
        ({"name": " a "}, "name has 1 characters, and at least 2 are right"),
        ({"name": "  "}, "name is empty"),
        ({"price": Decimal("1.234")}, "price has 3 decimal places, and at most 2 are right"),
        ({"price": Decimal("123.45")}, "price has 5 digits, and at most 4 are right"),
        ({"price": Decimal("12E3")}, "price has 5 digits, and at most 4 are right"),
        ({"price": Decimal("NaN")}, "price is NaN, which is no number"),
    ],
)
def test_descriptors_check_values(cls: Any, values: dict[str, Any], reason: str) -> None:
    """A record with ``validation=True`` refuses what a descriptor reports, when it is made and when it is read."""
    with pytest.raises(ValidationError, match=reason):
        cls(**{**MAKE, **values})
    payload = Unlimited.from_data({**MAKE, **values}).dumps()
    with pytest.raises(ValidationError, match=reason):
        cls.loads(payload)


class Unlimited(Record, include_metadata=False):
    """The same fields without checks, to write payloads with."""

    side: str
    amount: int
    name: str = "none"
    price: Decimal | None = None


def test_values_within_bounds_are_taken() -> None:
    """What is right is taken, and white space is cut off where that is asked for."""
    order = Order("SELL", 10, " abc ", Decimal("12.34"))
    assert (order.name, order.is_valid()) == ("abc", True)
    assert Order.loads(order.dumps()) == order
    assert Order("BUY", 0) == Order("BUY", 0, "none", None)


def test_without_validation_only_validate_checks() -> None:
    """A record that does not ask for it is made and read with any value of the type; ``validate()`` reports it."""
    record = Unchecked.loads(Unchecked("HOLD").dumps())
    assert [str(error) for error in record.validate()] == ["Unchecked: side must be one of BUY, SELL"]
    record.side = 5  # type: ignore[assignment]
    assert [str(error) for error in record.validate()] == ["Unchecked: Expected `str`, got `int` - at `$.side`"]


def test_descriptors_tell_of_fields() -> None:
    """Each field has a descriptor, which knows class, name, type, default, and finds the value in a record."""
    amount, total = Order._options.descriptors["amount"], Invoice._options.descriptors["total"]
    assert (amount.ident, amount.type, amount.required, amount.model) == ("Order.amount", int, True, Order)
    assert (total.ident, total.default, total.required) == ("Invoice.total", 0.0, False)
    assert Limited._options.descriptors["amount"].ident == "Limited.amount"
    assert repr(total) == "<FieldDescriptor: Invoice.total: float = 0.0>"
    assert amount.getattr(Order("BUY", 3)) == 3
    assert list(Invoice._options.descriptors) == ["customer", "total"]


def test_events_are_grouped_by_descriptors() -> None:
    """``group_by`` takes a descriptor as it takes the field itself, and one of a record inside of a record."""
    descriptors = Invoice._options.descriptors
    for key in (descriptors["total"], Invoice.total):
        made = Key.of(key, None, None)
        assert (made.topic("agent", "in", Invoice), made.type) == ("agent-in-Invoice.total-repartition", float)
        assert made.compute(Invoice(Customer("a"), 2.5)) == 2.5
    assert Key.of(descriptors["customer"].name, None, None).compute(Invoice(Customer("a"))) == "a"


def test_descriptors_reach_into_records() -> None:
    """A descriptor of a field that holds a record has those of that record."""
    city = Invoice._options.descriptors["customer"].city
    assert city.getattr(Invoice(Customer("a", "Ulm"))) == "Ulm"
    with pytest.raises(AttributeError, match="customer has no street"):
        Invoice._options.descriptors["customer"].street  # noqa: B018


def test_names_on_the_wire() -> None:
    """``input_name`` is the name on the wire, ``output_name`` another one in what is written, and ``exclude`` leaves a field out."""
    wired = Wired.loads(b'{"ID":1,"in":"a","customers":[{"name":"b"}]}')
    assert wired == Wired(1, "a", 7, [Customer("b")])
    assert wired.to_representation() == {
        "ID": 1,
        "out": "a",
        "customers": [{"name": "b", "city": "Utrecht", "__faust": {"ns": Customer._options.namespace}}],
    }
    assert wired.asdict() == {"id": 1, "old": "a", "customers": [Customer("b")]}
    assert wired.derive(cached=8).cached == 8


def test_descriptors_that_cannot_be() -> None:
    """A descriptor needs a type; what is said for a class is not said for a field."""
    make: Any = type(Record)
    with pytest.raises(TypeError, match=r"Untyped\.name has no type: write name: str = StringField"):
        make("Untyped", (Record,), {"__module__": __name__, "__qualname__": "Untyped", "name": StringField()})
    for option in ({"coerce": True}, {"date_parser": date.fromisoformat}):
        with pytest.raises(TypeError, match="is said for all fields of a record"):
            StringField(**option)


def test_descriptors_in_annotations() -> None:
    """``Annotated[int, IntegerField(...)]`` is the same to a record, and right to a type checker; the default stands in its place."""

    class Noted(Record, validation=True, include_metadata=False):
        """Fields in annotations."""

        amount: Annotated[int, IntegerField(max_value=3, input_name="qty")]
        word: Annotated[str, StringField(trim_whitespace=True)] = "a"
        words: Annotated[list[str], FieldDescriptor(input_name="W")] = []  # noqa: RUF012 - it is a field, and copied

    assert Noted(3, " b ").dumps() == b'{"qty":3,"word":"b","W":[]}'
    assert Noted.loads(b'{"qty":1}') == Noted(1, "a", [])
    assert Noted(1).words is not Noted(1).words
    assert not Noted._options.descriptors["word"].required
    with pytest.raises(ValidationError, match="amount is 4, and at most 3 is right"):
        Noted(4)


def test_a_descriptor_is_shared() -> None:
    """One descriptor may describe fields of several classes: each has its own name, and the class may rename it."""
    short = StringField(max_length=2)

    class First(Record, validation=True):
        """One."""

        a_word: str = short  # type: ignore[assignment]

    class Second(Record, validation=True, rename="camel"):
        """Another."""

        b_word: str = short  # type: ignore[assignment]

    of_first, of_second = First._options.descriptors["a_word"], Second._options.descriptors["b_word"]
    assert (of_first.ident, of_first.input_name, of_first.output_name) == ("First.a_word", "a_word", "a_word")
    assert (of_second.ident, of_second.input_name, of_second.output_name) == ("Second.b_word", "bWord", "bWord")
    assert (short.field, Second("xy").to_representation()["bWord"]) == ("", "xy")
    with pytest.raises(ValidationError, match="Second: b_word has 3 characters"):
        Second("xyz")


def test_a_descriptor_with_a_constructor_of_its_own() -> None:
    """A subclass may keep to itself what it is made with."""

    class Below(FieldDescriptor[int]):
        """A number below another one."""

        def __init__(self, limit: int) -> None:
            super().__init__()
            self.limit = limit

        def validate(self, value: int) -> Iterable[ValidationError]:
            """Report a number that is not below."""
            if value >= self.limit:
                yield self.validation_error(f"{self.field} is not below {self.limit}")

    class Counted(Record, validation=True):
        """With it."""

        count: int = Below(3)  # type: ignore[assignment]

    assert Counted(2).count == 2
    with pytest.raises(ValidationError, match="count is not below 3"):
        Counted(3)


def test_a_tagged_number_out_of_bounds() -> None:
    """Is reported without the number."""

    class Pin(Record, validation=True):
        pin: Secret[int] = IntegerField(max_value=9)  # type: ignore[assignment]
        rate: Secret[Decimal] = DecimalField(min_value=10, default=None)  # type: ignore[assignment]

    with pytest.raises(ValidationError, match="pin is <Secret: pin>, and at most 9 is right"):
        Pin(1815)  # type: ignore[arg-type]
    for rate in ("NaN", "9"):
        with pytest.raises(ValidationError, match="rate is <Secret: rate>, "):
            Pin(1, Decimal(rate))  # type: ignore[arg-type]


@pytest.mark.parametrize("type_", [list[Secret[str]], dict[str, Secret[str]], list[list[Secret[str] | None]]])
def test_a_tag_is_on_the_whole_value(type_: Any) -> None:
    """A tag on a part of a value would hide nothing, and is refused when the class is made."""
    make: Any = type(Record)
    body = {"__module__": __name__, "__qualname__": "Parts", "__annotations__": {"parts": type_}}
    with pytest.raises(
        TypeError, match=r"Parts\.parts: a tag is on the value of a field as a whole: write Secret\[list"
    ):
        make("Parts", (Record,), body)
    assert tag_of(Secret[list[str]]) is tag_of(Secret[list[str]] | None) is Secret


def test_arrays_have_no_names() -> None:
    """A record that is written as an array cannot leave out a field."""
    make: Any = type(Record)
    body = {
        "__module__": __name__,
        "__qualname__": "Row",
        "__annotations__": {"a": int},
        "a": FieldDescriptor(exclude=True, default=1),
    }
    with pytest.raises(TypeError, match="Row: array_like=True does not go with exclude and output_name"):
        make("Row", (Record,), body, array_like=True, include_metadata=False)


def test_types_have_fields() -> None:
    """``field_for_type`` gives the class of fields of a type."""
    kinds = {bool: BooleanField, int: IntegerField, float: FloatField, str: StringField, bytes: BytesField}
    assert {type_: field_for_type(type_) for type_ in kinds} == kinds
    assert (field_for_type(list), field_for_type(type(None))) == (FieldDescriptor, FieldDescriptor)
    assert DatetimeField().required


def test_tagged_values_do_not_show() -> None:
    """No way of printing a record shows what is tagged."""
    user = User("Ada", "geheim", 5)  # type: ignore[arg-type]
    assert repr(user) == "User(name=<Personal: name>, password=<Secret: password>, income=<Sensitive: income>)"
    assert f"{user.password} {user.password!s}" == "*********** ***********"
    for value in (user.name, user.income):
        with pytest.raises(SecurityError, match="was about to become text"):
            str(value)
    assert (user.name.get_value(), user.password.get_value(), user.income and user.income.get_value()) == (
        "Ada",
        "geheim",
        5,
    )
    with allow_protected_vars():
        assert f"{user.name} {user.password} {user.income:03}" == "Ada geheim 005"
    with pytest.raises(SecurityError):
        str(user.name)


def test_tagged_values_travel() -> None:
    """On the wire a tagged field is as without the tag; copies, pickles and comparison work, and a tag is put on once."""
    user = User("Ada", "geheim")  # type: ignore[arg-type]
    assert user.dumps() == b'{"name":"Ada","password":"geheim","income":null}'
    assert User.loads(user.dumps()) == user
    assert user == User(Personal("Ada"), Secret("geheim"))
    assert user != User("Ada", "other")  # type: ignore[arg-type]
    assert sorted([User("b", ""), User("a", "")])[0].name.get_value() == "a"  # type: ignore[arg-type]
    assert copy.deepcopy(user) == pickle.loads(pickle.dumps(user)) == user
    assert len({user, copy.copy(user)}) == 1
    assert user.derive(income=3).income == Sensitive(3)
    assert user.is_valid()
    with pytest.raises(SecurityError, match="tagged already"):
        Secret(Secret("a"))


def test_tagged_values_are_converted() -> None:
    """A frozen record that converts has tags, too."""
    assert Frozen(5) == Frozen(Secret("5")) == Frozen.loads(b'{"token":5}')  # type: ignore[arg-type]
    with pytest.raises(ValidationError, match="Expected `str`, got `null`"):
        Frozen(None)  # type: ignore[arg-type]


def test_options_tell_which_fields_are_tagged() -> None:
    """The options of a class list its tagged fields, by what they are."""
    options = User._options
    assert options.tagged_fields == {"name", "password", "income"}
    assert options.personal_fields == {"name"}
    assert options.secret_fields == {"password"}
    assert options.sensitive_fields == {"income"}


def test_tags_of_ones_own() -> None:
    """A tag that shows its value, and one that says nothing of it."""

    class Marked(TransparentTag[str]):
        """Shown."""

    assert f"{Marked('a')}" == "a"
    with pytest.raises(SecurityError):
        f"{OpaqueTag('a')}"


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (5, "5"),
        (1.5, "1.5"),
        (True, "True"),
        (Decimal("1.10"), "1.10"),
        (date(2026, 1, 2), "2026-01-02"),
        (UUID(int=1), str(UUID(int=1))),
    ],
)
def test_text_is_made_of_numbers(given: Any, text: str) -> None:
    """``coerce=True`` makes text of what else is written in one way, when a record is made, also inside of lists and dictionaries."""
    loose = Loose(given, [given, "a"], {"k": given, "n": None})
    assert loose == Loose(text, [text, "a"], {"k": text, "n": None})


def test_text_is_made_of_numbers_that_are_read() -> None:
    """So it does when a record is read: alone, in a record that is strict, in a list, and by a decoder of a union with None."""
    data = b'{"text":1,"texts":[2,true],"by_name":{"k":3.5},"number":"4"}'
    loose = Loose("1", ["2", "True"], {"k": "3.5"}, 4)
    assert Loose.loads(data) == loose
    assert decoder(Loose | None)(data) == loose
    assert decoder(list[Loose])(b"[" + data + b"]") == [loose]
    assert Around.loads(b'{"loose":' + data + b"}") == Around(loose)
    with pytest.raises(ValidationError, match=r"Expected `str`, got `int` - at `\$.text`"):
        Around.loads(b'{"loose":' + data + b',"text":1}')


@pytest.mark.parametrize("value", ["null", "[]", "{}"])
def test_text_is_not_made_of_anything(value: str) -> None:
    """What has no text of its own is refused, and the error is that of a type that does not fit."""
    with pytest.raises(ValidationError, match=r"Expected `str`, got `(null|array|object)` - at `\$.text`"):
        Loose.loads(f'{{"text":{value}}}'.encode())


@given(
    st.text(),
    st.one_of(st.integers(-(2**63), 2**63 - 1), st.booleans(), st.floats(allow_nan=False, allow_infinity=False)),
)
def test_conversion_does_not_change_what_fits(text: str, number: float) -> None:
    """Text stays as it is, and a number becomes what Python writes for it."""
    assert Loose(text).text == Loose.loads(Loose(text).dumps()).text == text
    assert Loose(number).text == str(number)  # type: ignore[arg-type]
