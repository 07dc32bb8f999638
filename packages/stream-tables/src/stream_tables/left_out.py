"""Notice stored values that have fields which the type of the table does not have: an older version of the program has written them.

Such a value is read without these fields, and written without them when its key is assigned. That is right for a field that was removed.
One that was renamed would lose what it held without a word, if the new name has a default.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from typing import Any, Final
from weakref import ref

from stream_core.primitives import TP
from stream_core.values.encoding import type_name
from stream_core.values.schemas import Schema

__all__ = ["LOOKS", "LeftOut"]

LOOKS: Final = 1000
"""So many values of a table partition are looked at: what all versions of a program wrote is among them, and it costs a moment once."""

LARGEST: Final = 10_000
"""Bytes of the largest value that is looked at."""

logger = logging.getLogger(__name__)

_told: dict[int, ref[Schema]] = {}
"""The schemas of the tables of which it was said, by identity: partitions share that of their table."""


class LeftOut:
    """Looks at the first values of one table partition.

    Attributes:
        looks: how many values are looked at yet; 0 for none, which costs nothing.
    """

    __slots__ = ("_changelog", "_schema", "_show", "_table", "looks")

    def __init__(self, table: str, changelog: TP, schema: Schema, show: Callable[[bytes], str]) -> None:
        self._table = table
        self._changelog = changelog
        self._schema = schema
        self._show = show
        self.looks = (
            LOOKS if schema.native_values and schema.value_type not in (None, Any, int, float, str, bool) else 0
        )

    def look(self, key: bytes, data: bytes, value: Any) -> None:
        """Log a warning, once for each table, if some of what is stored under a key is not in the value that was read from it."""
        self.looks -= 1
        config = getattr(type(value), "__struct_config__", None)
        if len(data) > LARGEST or (config is not None and config.omit_defaults):
            return
        try:
            stored, read = (
                set(_paths(json.loads(text))) for text in (data, self._schema.encode_value(value) or b"null")
            )
        except Exception:  # a conversion of a user's: the event that assigns the value is told
            self.looks = 0
            return
        if not (gone := stored - read):
            return
        self.looks = 0
        known = _told.get(id(self._schema))
        if known is not None and known() is self._schema:
            return
        _told[id(self._schema)] = ref(self._schema)
        new = read - stored
        instead = f"; what is not stored has its default: {', '.join(sorted(new))}" if new else ""
        logger.warning(
            "table %s: the value of %s in %s was written by another version, with fields that %s does not have: %s%s. "
            "They are left out, and gone from the table when the key is assigned. If a field was renamed, keep its stored name with "
            'rename={"new": "old"}; see the page "Changing a model"',
            self._table,
            self._show(key),
            self._changelog,
            type_name(self._schema.value_type),
            ", ".join(sorted(gone)),
            instead,
        )


def _paths(value: Any, at: str = "") -> Iterator[str]:
    """Give the path of each field, also of those inside of others; the fields of all members of a list are as of one."""
    if isinstance(value, dict):
        for name, field in value.items():
            if name != "__faust":  # names the class
                yield at + name
                yield from _paths(field, f"{at}{name}.")
    elif isinstance(value, list):
        for member in value:
            yield from _paths(member, f"{at.removesuffix('.')}[].")
