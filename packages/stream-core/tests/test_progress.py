"""Progress: the smallest offset delivered and unfinished, whatever finishes first."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from stream_core.streams.progress import Progress


class AnyOrder(RuleBasedStateMachine):
    """Deliveries with gaps and completions in any order, against the definition of the position."""

    delivered = Bundle("delivered")

    def __init__(self) -> None:
        super().__init__()
        self.progress = Progress(5)
        self.next = 5
        self.open: set[int] = set()
        self.last = 5

    @rule(target=delivered, gap=st.integers(0, 5))
    def deliver(self, gap: int) -> int:
        """An event, behind a few offsets that hold none."""
        offset = self.next + gap
        self.progress.deliver(offset)
        self.open.add(offset)
        self.next = offset + 1
        return offset

    @rule(offset=delivered)
    def finish(self, offset: int) -> None:
        """Some event is finished, maybe not for the first time."""
        self.progress.finish(offset)
        self.open.discard(offset)

    @rule(offset=st.integers(0, 100))
    def finish_anything(self, offset: int) -> None:
        """Something is called finished that may never have been delivered."""
        self.progress.finish(offset)
        self.open.discard(offset)

    @rule(gap=st.integers(-3, 5))
    def advance(self, gap: int) -> None:
        """A fetch saw that there is nothing up to an offset; one that lies behind changes nothing."""
        self.progress.advance(self.next + gap)
        self.next = max(self.next, self.next + gap)

    @invariant()
    def position_is_the_smallest_unfinished(self) -> None:
        """The position is the smallest delivered and unfinished offset, else the next; it never moves back."""
        assert self.progress.position == min(self.open, default=self.next)
        assert self.progress.position >= self.last
        assert self.progress.unfinished == len(self.open)
        self.last = self.progress.position


TestAnyOrder = AnyOrder.TestCase


@given(st.lists(st.integers(0, 3), min_size=1, max_size=30), st.randoms(use_true_random=False))
def test_everything_finished_reaches_the_end(gaps: list[int], random: object) -> None:
    """Once all events are finished, in whatever order, the position is behind the last of them."""
    progress, offsets, offset = Progress(0), [], 0
    for gap in gaps:
        offset += gap
        progress.deliver(offset)
        offsets.append(offset)
        offset += 1
    random.shuffle(offsets)  # type: ignore[attr-defined]
    for finished in offsets:
        progress.finish(finished)
    assert progress.position == offset


def test_offsets_rise() -> None:
    """An offset that was delivered, or lies behind one that was, is refused."""
    progress = Progress(0)
    progress.deliver(3)
    for offset in (3, 2):
        with pytest.raises(ValueError, match=f"offset {offset} was delivered before; the next one is 4"):
            progress.deliver(offset)
