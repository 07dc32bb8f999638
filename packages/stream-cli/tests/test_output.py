"""What commands print for the values of records."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from stream_cli.output import print_json, shown
from stream_core.values.record import Record


class Freight(Record, namespace="output.Freight"):
    """A value with a namespace on the topic."""

    to: str
    grams: int


class Foreign:
    """What a codec of somebody else makes."""

    def __repr__(self) -> str:
        return "a foreign\nthing"


class Broken:
    """What cannot even be described."""

    def __repr__(self) -> str:
        raise ValueError("no")


def nested(depth: int) -> list[Any]:
    """A list in a list, so many times."""
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


ITSELF: list[Any] = [1]
ITSELF.append(ITSELF)

AT = datetime(2026, 11, 28, 14, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        ("tea", "tea"),
        (b"tea", "tea"),
        (b"a\xff", r"a\xff"),
        ("a\nb", r'"a\nb"'),
        ("a\ud800", r"a\ud800"),
        (["a\ud800"], r'["a\\ud800"]'),
        (True, "true"),
        (1.5, "1.5"),
        (10**30, "1" + "0" * 30),
        (-(10**30), "-1" + "0" * 30),
        ({"n": 10**30}, '{"n":1' + "0" * 30 + "}"),
        ([16**5000], '["<int>"]'),
        (AT, '"2026-11-28T14:30:00Z"'),
        (Freight(to="joe", grams=10**20), '{"to":"joe","grams":100000000000000000000}'),
        ((1, b"a"), '[1,"a"]'),
        ({1: "a", False: 1, None: 2, AT: 3}, '{"1":"a","false":1,"null":2,"2026-11-28T14:30:00Z":3}'),
        ({(1, "a"): 2, 10**30: 3}, r'{"[1,\"a\"]":2,"1000000000000000000000000000000":3}'),
        (frozenset([10**30]), "[1" + "0" * 30 + "]"),
        (1 + 2j, '"(1+2j)"'),
        ([1, 1 + 2j], '[1,"(1+2j)"]'),
        ([Foreign(), 1], r'["a foreign\nthing",1]'),
        ({"a": Broken(), "b": 1}, '{"a":"<Broken>","b":1}'),
        (ITSELF, '[1,"[1, [...]]"]'),
    ],
)
def test_whatever_a_codec_gives_is_shown(value: Any, text: str) -> None:
    """As JSON where JSON can have it, and else as Python describes it: a part at a time, on one line."""
    assert shown(value) == text


@pytest.mark.parametrize("value", [10**30, "a\ud800", {(1, 2): Foreign()}, ITSELF, Broken(), nested(5000)])
def test_whatever_a_codec_gives_is_a_line_of_json(capsys: pytest.CaptureFixture[str], value: Any) -> None:
    """Programs can read each line, and the other fields of the record are as they would be."""
    print_json({"value": value, "offset": 3})
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["offset"] == 3


def test_numbers_of_any_size_are_numbers_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    """No digit of them is lost."""
    print_json({"value": 10**30 + 1})
    assert json.loads(capsys.readouterr().out) == {"value": 10**30 + 1}


def test_what_is_nested_deeply_is_shown() -> None:
    """As far as it is plain to read; below that as Python has it."""
    assert shown(nested(100)) == "[" * 101 + "]" * 101
    assert shown(nested(5000)).startswith("[" * 200 + '"')
