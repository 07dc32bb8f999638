"""What tests of tables leave as they found it: the code that runs is nobody's, and files may be large."""

from __future__ import annotations

import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from stream_core.streams.effects import set_effects
from stream_core.testing.contracts import store


@pytest.fixture(autouse=True)
def nobody_is_left() -> Iterator[None]:
    """After each test the code that runs is nobody's: what comes next in this process, in another file as well, sends as a program does."""
    yield
    set_effects(None)


@pytest.fixture
def no_large_files() -> store.NoWrites:
    """Lets every file of this process end at 64 KiB, which RocksDB takes for a full disk."""

    @contextmanager
    def limited(table: str, partition: int) -> Iterator[None]:
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (64 << 10, limits[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            signal.signal(signal.SIGXFSZ, handler)

    return limited
