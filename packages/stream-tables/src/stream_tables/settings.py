"""Settings of the table stores."""

from __future__ import annotations

from pathlib import Path

import msgspec

from stream_core.errors import ConfigurationError

__all__ = ["TablesSettings"]

MIB = 1 << 20


class TablesSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where the stores of a worker are, and what they may use.

    Attributes:
        directory: state directory of one version of the app, ``{datadir}/v{version}``. Stores are in its ``tables``,
            the locks of the worker instances in its ``instances``.
        block_cache_bytes: memory for blocks read from disk, shared by all stores of the worker. The write buffers are
            charged to it, so this is the bound for both.
        write_buffer_bytes: memory for changes that are not yet in a table file, shared by all stores of the worker; a
            store writes a file when it holds a quarter of it. It also bounds what is read again after ``kill -9``.
        lock_timeout: seconds to wait for a store that another process holds, before the partition is replayed into a
            directory of its own.

    Raises:
        ConfigurationError: a size or time makes no sense; the message names the setting.
    """

    directory: Path
    block_cache_bytes: int = 128 * MIB
    write_buffer_bytes: int = 64 * MIB
    lock_timeout: float = 10.0

    def __post_init__(self) -> None:
        if self.write_buffer_bytes <= 0:
            raise ConfigurationError(
                f"write_buffer_bytes is {self.write_buffer_bytes}: give a positive number of bytes"
            )
        if self.block_cache_bytes <= self.write_buffer_bytes:
            raise ConfigurationError(
                f"block_cache_bytes is {self.block_cache_bytes}, which must be more than "
                f"write_buffer_bytes ({self.write_buffer_bytes}): write buffers are charged to the cache"
            )
        if self.lock_timeout < 0:
            raise ConfigurationError(f"lock_timeout is {self.lock_timeout}: give seconds, zero or more")
