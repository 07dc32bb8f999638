"""The keys of a table: as users have them, and as bytes, which are what they are compared by."""

from __future__ import annotations

import logging
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

KNOWN = 20_000
"""Text keys whose encoded form is remembered."""

FEW = 64
"""How many of them where a key is forgotten before it comes again. An event uses its key several times."""

LOOKED_AT = 512
"""Keys by which it is found out whether what was forgotten comes again."""

COME_AGAIN = LOOKED_AT // 4
"""How many of these have to, to be worth remembering."""

UNTIL = 5000
"""How often few keys are forgotten until many are remembered once more, to find out again: a third of a million keys."""

FITTING = frozenset({str, int, bool, bytes, UUID})
"""Types of keys that come back from JSON as what they were, whatever their value."""

FOREIGN = 1000
"""Keys that cannot be read of which it is remembered that they were reported."""


class Keys(Generic[K]):
    """The keys of one table.

    Args:
        table: name of the table.
        schema: how they are encoded.

    Attributes:
        known: text keys that were encoded lately, with their bytes; tables look here first.
    """

    __slots__ = (
        "_before",
        "_come_again",
        "_fitting",
        "_foreign",
        "_forgotten",
        "_looked_at",
        "_of_text",
        "_room",
        "_schema",
        "_table",
        "known",
    )

    def __init__(self, table: str, schema: Schema) -> None:
        self._table = table
        self._schema = schema
        untyped = {str, bool} if schema.key_codec == "json" else {bytes}
        kinds = untyped if schema.key_type in (None, Any) else {schema.key_type}
        self._fitting = FITTING & kinds if schema.native_keys else frozenset[type]()
        encoders = schema.encoders[0]
        # Most tables have keys of text, and each key of a large one comes here.
        self._of_text = encoders[str] if encoders and str in self._fitting else self._encode
        self._foreign: set[bytes] = set()
        self.known: dict[str, bytes] = {}
        self._room = KNOWN
        self._before = frozenset[str]()
        self._forgotten = self._looked_at = self._come_again = 0

    def encode(self, key: object) -> bytes:
        """Give the bytes of a key.

        Raises:
            TableError: it is not a key of this table.
        """
        if type(key) is not str:
            return self._encode(key)
        try:
            data = self._of_text(key)
        except (TypeError, ValueError):
            data = self._encode(key)  # it says what is wrong
        if len(self.known) >= self._room:
            self._forget()
        if self._before:
            self._look(key)
        self.known[key] = data
        return data

    def _forget(self) -> None:
        """Forget all keys. What is remembered in vain takes the place of other things in the caches of the processor."""
        if self._room == KNOWN:
            self._before, self._room = frozenset(self.known), FEW
            self._forgotten = self._looked_at = self._come_again = 0
        elif self._forgotten < UNTIL:
            self._forgotten += 1
        else:
            self._room = KNOWN
        self.known.clear()

    def _look(self, key: str) -> None:
        """Find out whether keys that were forgotten come again: then as many as before are worth remembering."""
        self._looked_at += 1
        self._come_again += key in self._before
        if self._looked_at >= LOOKED_AT:
            self._before = frozenset()
            if self._come_again >= COME_AGAIN:
                self._room = KNOWN

    def _encode(self, key: object) -> bytes:
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
