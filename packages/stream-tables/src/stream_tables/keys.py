"""The keys of a table: as users have them, and as bytes, which are what they are compared by."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Generic, TypeVar
from uuid import UUID

from stream_core.errors import EncodeError
from stream_core.primitives import TP
from stream_core.values.encoding import type_name
from stream_core.values.schemas import Schema
from stream_tables.changelog import RESERVED
from stream_tables.errors import TableError
from stream_tables.values import short

__all__ = ["Keys"]

K = TypeVar("K")

logger = logging.getLogger(__name__)

FITTING = frozenset({str, int, bool, bytes, UUID})
"""Types of keys that come back from JSON as what they were, whatever their value."""

KNOWN = 20_000
"""Keys of text whose bytes are remembered, where a codec or hook of somebody's own makes them."""

FOREIGN = 1000
"""Keys that cannot be read of which it is remembered that they were reported."""


class Keys(Generic[K]):
    """The keys of one table.

    Args:
        table: name of the table.
        schema: how they are encoded.

    Attributes:
        of_text: encodes a key that is a str as :meth:`encode` does, which says what is wrong when this raises ValueError.
    """

    __slots__ = ("_fitting", "_foreign", "_schema", "_table", "of_text")

    def __init__(self, table: str, schema: Schema) -> None:
        self._table = table
        self._schema = schema
        untyped = {str, bool} if schema.key_codec == "json" else {bytes}
        kinds = untyped if schema.key_type in (None, Any) else {schema.key_type}
        self._fitting = FITTING & kinds if schema.native_keys else frozenset[type]()
        encoders = schema.encoders[0]
        # Nearly all keys are text. Of most tables their encoder is a function of C, which takes less time than to look up what it gave.
        self.of_text: Callable[[Any], bytes] = (
            encoders[str] if encoders and str in self._fitting else lru_cache(KNOWN)(self.bytes_of)
        )
        self._foreign: set[bytes] = set()

    def encode(self, key: object) -> bytes:
        """Give the bytes of a key.

        Raises:
            TableError: it is not a key of this table.
        """
        if type(key) is not str:
            return self.bytes_of(key)
        try:
            return self.of_text(key)
        except ValueError:
            return self.bytes_of(key)  # it says what is wrong

    def bytes_of(self, key: object) -> bytes:
        """Give the bytes of a key, of whatever type. Raises TableError as :meth:`encode`."""
        try:
            data: bytes | None = self._schema.encode_key(key)
        except EncodeError as error:
            raise self._unfit(key, str(error)) from error
        if data is None:
            raise TableError(f"table {self._table}: None is not a key")
        if data.startswith(RESERVED):
            raise self._unfit(key, f"keys that begin with {RESERVED!r} are those of the changelog itself")
        if type(key) not in self._fitting:
            self._check(key, data)
        return data

    def _check(self, key: object, data: bytes) -> None:
        """Raise TableError for a key that would come back as another one: it would be found under that, or never again."""
        try:
            again = self._schema.decode_key(data)
            same = again == key and self._schema.encode_key(again) == data
        except Exception as error:
            raise self._unfit(key, str(error)) from error
        if not same:
            raise self._unfit(key, f"it would come back as {short(again)}, of type {type(again).__name__}")

    def _unfit(self, key: object, why: str) -> TableError:
        kind, declared = type(key).__name__, self._schema.key_type
        what = "has no key_type" if declared in (None, Any) else f"has keys of type {type_name(declared)}"
        return TableError(
            f"table {self._table} {what}, and {short(key)} is of type {kind}: {why}; convert it, or declare the table with key_type={kind}"
        )

    def fits(self, data: bytes) -> bool:
        """Tell whether these bytes are a key of this table."""
        try:
            return self._schema.decode_key(data) is not None
        except Exception:
            return False

    def decode(self, changelog: TP, data: bytes) -> K | None:
        """Make a key from its bytes; ``None`` stands for one that is of another type, and is reported once.

        Args:
            changelog: the changelog partition, for the message.
            data: the bytes.
        """
        try:
            return self._schema.decode_key(data)  # type: ignore[no-any-return]
        except Exception as error:
            if data not in self._foreign and len(self._foreign) < FOREIGN:
                self._foreign.add(data)
                logger.error(
                    "table %s: %s has a key that is not of type %s, and is left out of iterations: %r (%s); it was written with another "
                    "key_type. An event of partition %d can delete it: del table[%r]",
                    self._table,
                    changelog,
                    type_name(self._schema.key_type),
                    data,
                    error,
                    changelog.partition,
                    data,
                )
            return None

    def decode_found(self, changelog: TP, data: bytes, found: object) -> K | None:
        """Make a key from its bytes and from what a range has found there; ``None`` as above."""
        return self.decode(changelog, data)
