"""One partition of a table: its overlay over its store, what a checkpoint does to both, and in which state it is.

==========  =====================================================  ============================
state       what it means                                          what may follow
==========  =====================================================  ============================
OPENING     the store is open, and not looked at yet               REPLAYING, LOST
REPLAYING   changelog records are applied to the store             RUNNING, LOST, OPENING
RUNNING     events change it, checkpoints store it                 OPENING (the interval was
                                                                   dropped), BEHIND, LOST
BEHIND      a write failed: the store lacks committed values       CLOSED, and opened anew
LOST        the files are damaged                                  OPENING, emptied
CLOSED      given up                                               nothing
==========  =====================================================  ============================

Each may become CLOSED. The changelog holds everything that was ever committed, so a store is never repaired:
one that is LOST is emptied and replayed from the beginning, one that is BEHIND is opened anew and replayed from its position.
What must never happen is that the position in a store moves past a value that the store does not have. So only a RUNNING
partition writes it in a checkpoint.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Set
from enum import Enum
from typing import Any, Final

from stream_core.cursor import Cursor
from stream_core.errors import EncodeError, StoreCorruptError, StoreError
from stream_core.participants import Change, Interval, OnLost, Reading
from stream_core.ports import Store
from stream_core.records import TP
from stream_core.schemas import Schema
from stream_core.states import Machine
from stream_tables.changelog import encode_origin
from stream_tables.overlay import ABSENT, DELETED, FIXED, Encoded, Overlay
from stream_tables.stores import write_chunked

__all__ = ["PARTITION", "Facts", "State", "TablePartition"]

logger = logging.getLogger(__name__)


class Facts:
    """Names of the facts that a store keeps beside its values."""

    POSITION = "changelog_position"
    EPOCH = "epoch"
    TOPIC_ID = "changelog_id"
    WRITTEN_AT = "written_at"


class State(Enum):
    """In which state a table partition is; see the top of this module."""

    OPENING = "opening"
    REPLAYING = "replaying"
    RUNNING = "running"
    BEHIND = "behind"
    LOST = "lost"
    CLOSED = "closed"


PARTITION: Final[Mapping[State, Set[State]]] = {
    State.OPENING: {State.OPENING, State.REPLAYING, State.LOST, State.CLOSED},
    State.REPLAYING: {State.OPENING, State.RUNNING, State.LOST, State.CLOSED},
    State.RUNNING: {State.OPENING, State.BEHIND, State.LOST, State.CLOSED},
    State.BEHIND: {State.LOST, State.CLOSED},
    State.LOST: {State.OPENING, State.CLOSED},
    State.CLOSED: set(),
}
"""The states that may follow each state."""


def _not_told(reason: str, error: BaseException) -> None:
    """Tell nobody: the partition belongs to no engine."""


class TablePartition:
    """The values of one table partition.

    Args:
        table: name of the table.
        changelog: its changelog partition.
        partitions: how many partitions the table has.
        schema: how keys and values are encoded.
        store: the durable values.
        on_lost: told when the store turns out to be damaged.

    Attributes:
        epoch: of its owner, which stands in each changelog record.
        ids: topic id by source.
        opening: differs for each time that it is opened.
        topic_id: of the changelog; empty when unknown.
    """

    __slots__ = (
        "_on_lost",
        "_schema",
        "_state",
        "changelog",
        "epoch",
        "ids",
        "opening",
        "overlay",
        "partitions",
        "store",
        "topic_id",
    )

    def __init__(
        self,
        table: str,
        changelog: TP,
        partitions: int,
        schema: Schema,
        store: Store,
        on_lost: OnLost = _not_told,
    ) -> None:
        self._schema = schema
        self._on_lost = on_lost
        self.changelog = changelog
        self.store = store
        self.partitions = partitions
        self.overlay = Overlay(table, partitions)
        self.epoch = 0
        self.ids: Mapping[str, str] = {}
        self.topic_id = ""
        self.opening: object = None
        self._state = Machine(f"table partition {changelog}", State.OPENING, PARTITION)

    # -- states

    @property
    def state(self) -> State:
        """In which state it is."""
        return self._state.state

    def enter(self, state: State) -> None:
        """Go over to ``state``. Raises IllegalStateError when it cannot follow the state before, which is a fault of this program."""
        self._state.to(state)

    def lose(self, error: BaseException) -> None:
        """Give up what the store has, because a read or a write met damage; whoever drives the partition replays it."""
        if self.state not in (State.LOST, State.CLOSED):
            self.enter(State.LOST)
            logger.error("table partition %s is replayed from the beginning: %s", self.changelog, error)
            self._on_lost(f"table partition {self.changelog} is lost here", error)

    # -- values

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
            StoreCorruptError: its files are damaged; the partition is lost, and is recovered from the changelog.
        """
        try:
            data = self.store.get(key)
        except StoreCorruptError as error:
            self.lose(error)
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
        for key, data in self._stored():
            if key not in changes:
                yield key, self._schema.decode_value(data)
        for key, value in changes.items():
            if value is not DELETED:
                yield key, self._schema.decode_value(value.data) if type(value) is Encoded else value

    def _stored(self) -> Iterator[tuple[bytes, bytes]]:
        """Keys and values as of the last checkpoint. Raises StoreCorruptError, as :meth:`committed_value` does."""
        try:
            yield from self.store.items()
        except StoreCorruptError as error:
            self.lose(error)
            raise

    # -- checkpoint

    def changes(self, intervals: Mapping[Reading, Interval]) -> Iterator[Change]:
        """One changelog record for each key in the frozen layer."""
        mine = {reading: intervals[reading] for reading in self.overlay.frozen_readings if reading in intervals}
        headers = encode_origin(self.epoch, mine, self.ids)
        topic, partition = self.changelog
        for key, value in self.overlay.frozen.items():
            yield Change(topic, partition, key, self._bytes(value), headers)

    def _bytes(self, value: Any) -> bytes | None:
        return None if value is DELETED else value.data if type(value) is Encoded else self._encode(value)

    def facts(self, position: int, epoch: int) -> dict[str, bytes]:
        """Make the facts that are written together with values.

        Args:
            position: the changelog offset up to which the store has everything.
            epoch: the highest epoch below it.
        """
        facts = {
            Facts.POSITION: b"%d" % position,
            Facts.EPOCH: b"%d" % epoch,
            Facts.WRITTEN_AT: b"%d" % time.time(),
        }
        if self.topic_id:
            facts[Facts.TOPIC_ID] = self.topic_id.encode()
        return facts

    async def commit(self, end: int | None) -> None:
        """Write the frozen layer to the store; the changelog position moves with the last of it.

        A partition that is lost or was given up meanwhile writes nothing: the next recovery takes the values from the changelog.

        Args:
            end: the changelog offset behind the last change, ``None`` when there was none.

        Raises:
            StoreError: the store takes no writes. The partition is behind, and the frozen layer stays frozen.
        """
        frozen = self.overlay.frozen

        def going_on() -> bool:  # else the interval was dropped while others ran, and the store may be in a replay
            return self.overlay.frozen is frozen and self.state not in (State.LOST, State.BEHIND, State.CLOSED)

        if not going_on():
            return
        if end is not None and frozen:
            changes = {key: self._bytes(value) for key, value in frozen.items()}
            try:
                await write_chunked(self.store, changes, self.facts(end, self.epoch), going_on)
            except StoreCorruptError as error:
                self.lose(error)
            except StoreError:
                if self.state is State.CLOSED:
                    return
                self.enter(State.BEHIND)
                raise
        if going_on():
            self.overlay.thaw()
