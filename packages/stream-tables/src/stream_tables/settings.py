"""Settings of the table stores."""

from __future__ import annotations

import msgspec

from stream_core.errors import ConfigurationError

__all__ = ["TablesSettings"]

MIB = 1 << 20


class TablesSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What the stores of a worker may use.

    Attributes:
        directory: where the databases are, ``{datadir}/v{version}/tables``.
        block_cache_bytes: memory for blocks read from disk, shared by all stores of the worker. The write buffers are
            charged to it, so this is the bound for both.
        write_buffer_bytes: memory for changes that are not yet in a table file, shared by all stores of the worker; a
            store writes a file when it holds a quarter of it. It also bounds what is read again after ``kill -9``.

    Raises:
        ConfigurationError: a size or time makes no sense; the message names the setting.
    """

    block_cache_bytes: int = 128 * MIB
    write_buffer_bytes: int = 64 * MIB

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
