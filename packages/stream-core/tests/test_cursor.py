"""What an event has done becomes final as a whole, or is taken back."""

from __future__ import annotations

from typing import Any

import pytest

from stream_core.errors import EncodeError
from stream_core.primitives import TP, StoredRecord
from stream_core.streams.cursor import Cursor
from stream_core.streams.effects import Session
from stream_core.values.schemas import Schema


class Balances:
    """Values that can be restored."""

    def __init__(self) -> None:
        self.values: dict[bytes, Any] = {}

    def restore(self, key: bytes, previous: Any) -> None:
        """Take a change back."""
        self.values[key] = previous


@pytest.mark.parametrize("refused", [0, 1])
def test_an_event_whose_sends_are_refused_when_it_finishes_is_taken_back(refused: int) -> None:
    """Its changes are undone; the interval is replayed, because a send before the refused one may have left."""
    left: list[int] = []

    def emit(sends: list[int]) -> None:
        for send in sends:
            if send == refused:
                raise EncodeError("the partitioner refuses it")
            left.append(send)

    balances = Balances()
    cursor = Cursor("count[0]", "count", emit)
    cursor.session = Session(TP("orders", 0), Schema(), 1)
    cursor.record = StoredRecord(0, 0, None, b"1", ())
    balances.values[b"a"] = 2
    cursor.undo.append((balances, b"a", 1))
    cursor.held = [0, 1]
    with pytest.raises(EncodeError):
        cursor.finish()
    assert cursor.rollback(), "the interval must be replayed"
    assert balances.values == {b"a": 1}
    assert left == list(range(refused))
