"""Tools for tests: a hand-driven clock, and one contract suite per port (:mod:`stream_core.testing.contracts`)."""

from stream_core.testing.clock import ManualClock

__all__ = ["ManualClock"]
