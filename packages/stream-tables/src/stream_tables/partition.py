"""One partition of a table: its overlay over its store, and what a checkpoint does to both."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any

from stream_core.cursor import Cursor
from stream_core.errors import EncodeError, StoreCorruptError
from stream_core.participants import Change, Interval, Reading
from stream_core.ports import Store
from stream_core.records import TP
from stream_core.schemas import Schema
from stream_tables.changelog import encode_origin
from stream_tables.overlay import ABSENT, DELETED, FIXED, Encoded, Overlay
from stream_tables.stores import write_chunked

__all__ = ["Facts", "TablePartition"]


class Facts:
    """Names of the facts that a store keeps beside its values."""

    POSITION = "changelog_position"
    EPOCH = "epoch"
    TOPIC_ID = "changelog_id"
    WRITTEN_AT = "written_at"


class TablePartition:
    """The values of one table partition.

    Args:
        table: name of the table.
        changelog: its changelog partition.
        partitions: how many partitions the table has.
        schema: how keys and values are encoded.
        store: the durable values.
    """

    __slots__ = ("_schema", "changelog", "epoch", "overlay", "partitions", "store")

    def __init__(self, table: str, changelog: TP, partitions: int, schema: Schema, store: Store) -> None:
        self._schema = schema
        self.changelog = changelog
        self.store = store
        self.partitions = partitions
        self.overlay = Overlay(table, partitions)
        self.epoch = 0

    def get(self, cursor: Cursor | None, key: bytes) -> Any:
        """The value of ``key`` as the open event sees it, or ABSENT."""
        overlay = self.overlay
        if cursor is not None and cursor is not overlay.writer:
            overlay.entangle(cursor, key)
        value = overlay.active.get(key, ABSENT)
        if value is ABSENT:
            value = overlay.frozen.get(key, ABSENT)
            if value is ABSENT:
                return self.committed_value(key)
        if value is DELETED:
            return ABSENT
        return self._schema.decode_value(value.data) if type(value) is Encoded else value

    def committed_value(self, key: bytes) -> Any:
        """The value of ``key`` as of the last checkpoint, or ABSENT.

        Raises:
            StoreCorruptError: its files are damaged; it is empty now, and the next recovery replays it.
        """
        try:
            data = self.store.get(key)
        except StoreCorruptError:
            self.store.wipe()
            raise
        return ABSENT if data is None else self._schema.decode_value(data)

    def sealed(self, value: Any) -> Any:
        """What the overlay keeps for a value: itself when it cannot change in place, else its bytes.

        Raises:
            EncodeError: it cannot be encoded, or not be read again as the type of the table: in the event, not at a restart.
        """
        if self._schema.value_type is None and (type(value) in FIXED or isinstance(value, Enum)):
            return value
        data = self._encode(value)
        try:
            self._schema.decode_value(data)
        except Exception as error:
            raise EncodeError(f"{self.changelog.topic}: {value!r} is no value of this table: {error}") from error
        return Encoded(data)

    def set(self, cursor: Cursor, key: bytes, value: Any) -> None:
        """Change ``key`` as part of the open event."""
        self.overlay.set(cursor, key, self.sealed(value))

    def delete(self, cursor: Cursor, key: bytes) -> None:
        """Delete ``key`` as part of the open event."""
        self.overlay.set(cursor, key, DELETED)

    def _encode(self, value: Any) -> bytes:
        data = self._schema.encode_value(value)
        return b"" if data is None else data

    def items(self) -> Iterator[tuple[bytes, Any]]:
        """Encoded keys and decoded values, uncommitted ones included."""
        changes = self.overlay.keys()
        for key, data in self.store.items():
            if key not in changes:
                yield key, self._schema.decode_value(data)
        for key, value in changes.items():
            if value is not DELETED:
                yield key, self._schema.decode_value(value.data) if type(value) is Encoded else value

    # -- checkpoint

    def changes(self, intervals: Mapping[Reading, Interval]) -> Iterator[Change]:
        """One changelog record for each key in the frozen layer."""
        mine = {reading: intervals[reading] for reading in self.overlay.frozen_readings if reading in intervals}
        headers = encode_origin(self.epoch, mine)
        topic, partition = self.changelog
        for key, value in self.overlay.frozen.items():
            yield Change(topic, partition, key, self._bytes(value), headers)

    def _bytes(self, value: Any) -> bytes | None:
        return None if value is DELETED else value.data if type(value) is Encoded else self._encode(value)

    async def commit(self, end: int | None) -> None:
        """Write the frozen layer to the store; the changelog position moves with the last of it.

        Args:
            end: the changelog offset behind the last change, ``None`` when there was none.
        """
        frozen = self.overlay.frozen
        if end is not None and frozen:  # dropped by an abort meanwhile: recovery takes the values from the changelog
            changes = {key: self._bytes(value) for key, value in frozen.items()}
            facts = {
                Facts.POSITION: b"%d" % end,
                Facts.WRITTEN_AT: b"%d" % time.time(),
                Facts.EPOCH: b"%d" % self.epoch,
            }
            await write_chunked(self.store, changes, facts)
        self.overlay.thaw()
