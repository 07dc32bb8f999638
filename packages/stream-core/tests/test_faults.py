"""Errors of values that do not fit: where tags hide fields, no error shows a value, however it is asked for."""

from __future__ import annotations

import traceback
from datetime import UTC, datetime
from enum import Enum
from typing import Any, Literal

import pytest

from stream_core.errors import ValidationError
from stream_core.values.record import Record
from stream_core.values.schemas import Schema
from stream_core.values.tags import Secret

SECRET = "hunter2"  # apart, because a traceback shows lines of code
DATA = b'{"value":"hunter2"}'


class Grade(Enum):
    """An enumeration."""

    GOOD = "good"


def parse(text: str) -> datetime:
    """A parser that says what it has got."""
    if text == "now":
        return datetime(2026, 1, 1, tzinfo=UTC)
    raise ValueError(f"Expected a date and got {text}")


class Graded(Record):
    """Has an enumeration."""

    value: Secret[Grade]


class Chosen(Record, coerce=True):
    """Has a literal."""

    value: Secret[Literal["x", "y"]] | None = None


class Dated(Record, date_parser=parse):
    """Has a date that a function reads."""

    value: Secret[datetime]


class Inside(Record):
    """Has a record with a tag."""

    part: Graded


class Plain(Record):
    """Has no tag."""

    value: Grade


def told(error: BaseException) -> str:
    """All that a log would show."""
    return "".join(traceback.format_exception(error)) + repr(error)


@pytest.mark.parametrize("cls", [Graded, Chosen, Dated])
def test_no_error_shows_a_value_with_a_tag(cls: Any) -> None:
    """Neither of bytes, of data, of arguments and of a schema, nor what is found after assignments; the field is named."""
    schema = Schema(value_type=cls)
    for read in (
        lambda: cls.loads(DATA),
        lambda: cls.from_data({"value": SECRET}),
        lambda: schema.decode_value(DATA),
    ):
        with pytest.raises(ValidationError, match=rf"{cls.__name__}: .*`\$\.value`") as caught:
            read()
        assert SECRET not in told(caught.value)
    record = cls.from_data({"value": {Graded: "good", Chosen: "x", Dated: "now"}[cls]})
    record.value = SECRET
    assert all(SECRET not in told(error) for error in record.validate())


def test_a_record_inside_is_named_by_its_path() -> None:
    """The tag may be at any depth."""
    with pytest.raises(ValidationError, match=r"^Inside: Invalid enum value - at `\$\.part\.value`$") as caught:
        Inside.loads(b'{"part":' + DATA + b"}")
    assert SECRET not in told(caught.value)


def test_types_are_told_whatever_tags_there_are() -> None:
    """What is wrong with the shape of a value is no secret."""
    with pytest.raises(ValidationError, match=r"^Graded: Object missing required field `value`$"):
        Graded.loads(b"{}")
    with pytest.raises(ValidationError, match=r"^Graded: Expected `object`, got `array`$"):
        Graded.loads(b"[]")
    with pytest.raises(ValidationError, match=r"^Dated: the value does not fit - at `\$\.value`$"):
        Dated.loads(DATA)


def test_values_without_tags_are_shown() -> None:
    """They are what one looks for."""
    with pytest.raises(ValidationError, match="Invalid enum value 'bad'"):
        Plain.loads(b'{"value":"bad"}')
