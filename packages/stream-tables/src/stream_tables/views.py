"""What ``keys()``, ``values()`` and ``items()`` of a table give, and a table as text."""

from __future__ import annotations

from collections.abc import Callable, ItemsView, Iterable, Iterator, KeysView, Mapping, Sequence, ValuesView
from typing import Any, TypeVar, cast

from stream_tables.values import ABSENT

__all__ = ["TableItems", "TableKeys", "TableValues", "as_text"]

K = TypeVar("K")
V = TypeVar("V")


class TableKeys(KeysView[K]):
    """The keys of a table; also a set, so that ``table.keys() & other`` works."""


class TableValues(ValuesView[V]):
    """The values of a table.

    Args:
        table: the table.
        entries: gives its keys, each with what decodes its value.
    """

    def __init__(self, table: Mapping[Any, V], entries: Callable[[], Iterator[tuple[Any, Callable[[], V]]]]) -> None:
        super().__init__(table)
        self._entries = entries

    def __iter__(self) -> Iterator[V]:
        return (value() for _, value in self._entries())

    def __contains__(self, value: object) -> bool:
        return any(value == one for one in self)


class TableItems(ItemsView[K, V]):
    """The keys and values of a table.

    Args:
        table: the table.
        entries: gives its keys, each with what decodes its value.
    """

    def __init__(self, table: Mapping[K, V], entries: Callable[[], Iterator[tuple[K, Callable[[], V]]]]) -> None:
        super().__init__(table)
        self._table = table
        self._entries = entries

    def __iter__(self) -> Iterator[tuple[K, V]]:
        return ((key, value()) for key, value in self._entries())

    def __contains__(self, item: object) -> bool:
        match item:
            case (key, value):
                # The default of a table is not a value of it.
                found = cast("Mapping[Any, Any]", self._table).get(key, ABSENT)
                return found is not ABSENT and found == value
        return False


def as_text(
    items: Iterable[tuple[Any, Any]],
    *,
    title: str,
    heads: Sequence[str],
    sort: bool,
    sortkey: Callable[[tuple[Any, Any]], Any],
) -> str:
    """Draw keys and values as a table of text.

    Args:
        items: keys and values.
        title: stands over them.
        heads: names of the two columns.
        sort: whether the rows are sorted.
        sortkey: gives of ``(key, value)`` what they are sorted by.
    """
    rows = [tuple(map(_cell, item)) for item in (sorted(items, key=sortkey) if sort else items)]
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    line = "+" + "+".join("-" * (width + 2) for width in widths) + "+"
    drawn = ["|" + "|".join(f" {cell:{width}} " for cell, width in zip(row, widths, strict=True)) + "|" for row in rows]
    head = "|" + "|".join(f" {name:{width}} " for name, width in zip(heads, widths, strict=True)) + "|"
    return "\n".join([*([title] if title else []), line, head, line, *drawn, *([line] if drawn else [])])


def _cell(value: Any) -> str:
    """Show a value in one line that tells a terminal to do nothing."""
    text = str(value)
    return text if text.isprintable() else repr(value)
