"""The commands that show the record classes of an app."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from click.testing import CliRunner, Result

from stream_cli.main import cli

Write = Callable[..., Path]

SHELF = """
from datetime import date
from stream_core.values.record import Record

class Book(Record):
    '''Something to read.

    And to keep.
    '''

    title: str
    bought: date | None
    pages: int = 0
    tags: list[str] = []

class Shelf(Record, rename={"books": "Books"}):
    books: list[Book]

app = App("library")
"""


def call(write: Write, *arguments: str) -> Result:
    """Run the program for an app with two record classes."""
    write("library", SHELF)
    return CliRunner().invoke(cli, ["-A", "library", *arguments])


def test_models(write: Write) -> None:
    """Each record class has a name that it can be called by, and the first line of what it is."""
    rows = {row["full_name"]: row for row in json.loads(call(write, "models", "--json").stdout)}
    assert rows["library.Book"] == {"name": "Book", "help": "Something to read.", "full_name": "library.Book"}
    assert rows["library.Shelf"]["help"] == ""
    assert "│ Book " in call(write, "models").stdout


def test_fields_of_a_model(write: Write) -> None:
    """A model shows what to type: names as on the wire, types, and the defaults of what may be left out."""
    assert json.loads(call(write, "model", "Book", "--json").stdout) == [
        {"field": "title", "in code": "title", "type": "str", "default": ""},
        {"field": "bought", "in code": "bought", "type": "datetime.date | None", "default": "None"},
        {"field": "pages", "in code": "pages", "type": "int", "default": "0"},
        {"field": "tags", "in code": "tags", "type": "list[str]", "default": "<factory>"},
    ]
    assert "in code" not in call(write, "model", "Book").stdout
    shelf = call(write, "model", "library.Shelf").stdout.splitlines()
    assert shelf[0].startswith("┌Shelf─")
    assert [word.strip() for word in shelf[1].split("│")[1:3]] == ["field", "in code"]
    assert [word.strip() for word in shelf[3].split("│")[1:3]] == ["Books", "books"]
    assert [row["field"] for row in json.loads(call(write, "model", "Shelf", "--json").stdout)] == ["Books"]


def test_what_is_no_model(write: Write) -> None:
    """The nearest is named, and a type that is not a record class is told apart."""
    result = call(write, "model", "Bok")
    assert result.exit_code == 1
    assert "there is no type Bok; did you mean Book?" in result.stderr
    assert "int is not a record class" in call(write, "model", "int").stderr
