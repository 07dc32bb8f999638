"""Records as users write them: checked by ``mypy --strict`` only, never run.

A comment "error" marks a line that must be refused: its ``type: ignore`` is an error itself when nothing is wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Generic, TypeVar, assert_type

from stream_core.errors import ValidationError
from stream_core.primitives import RawRecord
from stream_core.values.codecs import Codec
from stream_core.values.decoding import decoder
from stream_core.values.record import Record
from stream_core.values.schemas import Schema

T = TypeVar("T")


class Transfer(Record, serializer="json", namespace="bank.Transfer"):
    """A flat record with class keywords."""

    account: str
    amount: float = 0.0
    note: str | None = None


class Key(Record, frozen=True, order=True):
    """A record that is a key."""

    region: str
    number: int


class Order(Record, validation=True):
    """A record of records."""

    id: int
    placed: datetime
    transfers: list[Transfer]


class Refund(Transfer, kw_only=True):
    """A subclass with a required field."""

    reason: str


class Box(Record, Generic[T]):
    """A generic record."""

    content: T


class Shape(Record, abstract=True):
    """A family of records."""


transfer = Transfer("a", 1.5)
assert_type(transfer.account, str)
assert_type(transfer.note, str | None)
assert_type(Transfer.account, str)  # what group_by takes: at run time a descriptor
assert_type(transfer.derive(amount=2.0), Transfer)
assert_type(Transfer.loads(b"{}"), Transfer)
assert_type(Transfer.from_data({}), Transfer)
assert_type(transfer.dumps(serializer="json|binary"), bytes)
assert_type(transfer.asdict(), dict[str, Any])
assert_type(Box(1), Box[int])
assert_type(Order(1, datetime.now(), [transfer]).transfers[0], Transfer)
assert_type(Refund("a", reason="late").reason, str)
assert_type({Key("eu", 1): 1}[Key("eu", 1)], int)
assert_type(Key("eu", 1) < Key("eu", 2), bool)
assert_type(Schema(key_type=str, value_type=Transfer).encode_value(transfer), bytes | None)
assert_type(decoder(Shape)(b"{}"), Any)

match transfer:
    case Transfer(account, amount):
        assert_type(account, str)
        assert_type(amount, float)

Transfer()  # type: ignore[call-arg]  # error: account is missing
Transfer("a", "b")  # type: ignore[arg-type]  # error: amount is a number
Transfer("a", unknown=1)  # type: ignore[call-arg]  # error: there is no such field
transfer.amount = "b"  # type: ignore[assignment]  # error: amount is a number
bool(transfer.unknown)  # type: ignore[attr-defined]  # error: there is no such field
Key("eu", 1).number = 2  # type: ignore[misc]  # error: it is frozen
assert_type(Transfer("a") < Transfer("b"), bool)


class Money:
    """A class of the user's own."""

    @classmethod
    def parse(cls, text: str) -> Money:
        return cls()


class Price(Record, coercions={Money: Money.parse}, date_parser=datetime.fromisoformat):
    """Values of a class that msgspec does not know."""

    price: Money
    since: datetime | None = None


class Circle(Shape):
    """One of the family."""

    r: float


class Drawing(Record):
    """Records of several classes."""

    shapes: list[Shape]
    event: Transfer | Refund | None = None


class Legacy(Record):
    """Options inside."""

    id: int

    class Options:
        namespace = "legacy"
        coerce = True


class Plain(Schema):
    """A schema with hooks."""

    def loads_value(self, message: RawRecord, loads: Callable[[bytes], Any]) -> Any:
        return dict(message.headers).get("type"), loads(message.value or b"")

    def dumps_value(self, value: Any, headers: list[tuple[str, bytes]], dumps: Callable[[Any], Any]) -> bytes | None:
        headers.append(("type", b"plain"))
        return None if value is None else bytes(dumps(value))


class Upper(Codec):
    """A codec."""

    def _dumps(self, obj: Any) -> bytes | None:
        return str(obj).upper().encode()

    def _loads(self, data: bytes) -> Any:
        return data.decode().lower()


assert_type(Price(Money()).price, Money)
assert_type(Drawing([Circle(1.0)]).shapes[0], Shape)
assert_type(Legacy(1).id, int)
assert_type(Circle.loads(b"{}", default_serializer="yaml"), Circle)
assert_type(transfer.validate(), list[ValidationError])
assert_type(transfer.validation_errors, list[ValidationError])
assert_type(transfer.is_valid(), bool)
assert_type(transfer.to_representation(), dict[str, Any])
assert_type(transfer.derive(refund := Refund("a", reason="b"), amount=1.0), Transfer)
assert_type(refund.derive(reason="c"), Refund)
assert_type(Plain(value_type=Transfer, value_serializer=Upper(), allow_empty=False).allow_empty, bool)
assert_type(Upper() | Upper(), Codec)

match Drawing([]).event:
    case Refund(reason=reason):
        assert_type(reason, str)

Price("1 EUR")  # type: ignore[arg-type]  # error: the checker does not know that it is converted
Drawing([Transfer("a")])  # type: ignore[list-item]  # error: it is no shape
Record.loads("{}")  # type: ignore[arg-type]  # error: bytes are read
