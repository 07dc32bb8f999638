"""What may be said of the stores behind ``rocksdb://``: in the query of the URL, or with ``options=`` of a table."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any, Final

import msgspec

from stream_core.errors import ConfigurationError

__all__ = ["COMPRESSIONS", "PYTHON_ROCKSDB", "ROCKSDICT", "RocksDBOptions", "read_options", "size"]

MIB = 1 << 20
UNITS: Final = {"": 1, "k": 1 << 10, "m": MIB, "g": 1 << 30}
WORDS: Final = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}

ROCKSDICT, PYTHON_ROCKSDB = "rocksdict", "python-rocksdb"
COMPRESSIONS: Final = ("none", "snappy", "lz4", "lz4hc", "zstd")

OTHER_NAMES: Final = {
    "block_cache_size": "cache",
    "bloom_filter_size": "bloom",
    "max_open_files": "open_files",
    "write_buffer_size": "write_buffer",
}
"""Names of Faust's options, and what they are called here."""

REFUSED: Final = {
    "block_cache_compressed_size": "RocksDB has no such cache any more: give its memory to cache",
    "max_write_buffer_number": "write_buffer bounds what all buffers have together",
    "target_file_size_base": "RocksDB's own size is taken",
    "ttl": "values that the store drops by itself would come back from the changelog: say ttl= of the table itself",
    "read_only": "a table is written by its recovery, too",
}
"""Options of Faust's stores that have no effect here, and why."""


def size(value: object) -> int:
    """Read a number of bytes: a number, or text with a unit such as ``64M``, ``64MB``, ``64MiB`` (all powers of 1024) or ``1.5G``."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmg]?)(?:i?b)?\s*", str(value).lower())
    if found is None:
        raise ValueError("write a number of bytes, such as 64M, 512K or 1.5G")
    return round(float(found[1]) * UNITS[found[2]])


def _count(value: object) -> int:
    try:
        if not isinstance(value, bool):
            return int(str(value))
    except ValueError:
        pass
    raise ValueError("write a whole number")


def _flag(value: object) -> bool:
    known = value if isinstance(value, bool) else WORDS.get(str(value).strip().lower())
    if known is None:
        raise ValueError("write true or false")
    return known


def _one_of(*words: str) -> Callable[[object], str]:
    def choose(value: object) -> str:
        if value not in words:
            near = get_close_matches(str(value), words, 1)
            raise ValueError(f"did you mean {near[0]}?" if near else f"write one of {', '.join(words)}")
        return str(value)

    return choose


READERS: Final[Mapping[str, Callable[[object], Any]]] = {
    "bloom": _count,
    "cache": size,
    "compression": _one_of(*COMPRESSIONS),
    "driver": _one_of(ROCKSDICT, PYTHON_ROCKSDB),
    "open_files": _count,
    "wal": _flag,
    "write_buffer": size,
}
"""How each option is read."""


class RocksDBOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How stores use memory, disk and processor.

    Attributes:
        driver: the library: ``rocksdict``, or ``python-rocksdb``.
        cache: bytes for blocks read from disk. All stores of the process that name the same ``cache`` and ``write_buffer`` share them, so
            that these are the bounds of a worker. The write buffers are charged to the cache.
        write_buffer: bytes for changes that are not yet in a table file, shared likewise; a store writes a file when it holds a
            quarter of it. It also bounds what is read again after ``kill -9``. With python-rocksdb each store has so much of its own.
        bloom: bits of the Bloom filter for each key: with 10 one in a hundred look-ups of a missing key reads a block in vain; 0 for none.
            The write buffers of 16 stores have such filters, too, of a fiftieth of their size (not with python-rocksdb).
        wal: whether changes are written to the write-ahead log. Without it a worker that is killed replays from the changelog what its
            stores had not yet in table files.
        compression: of table files, one of :data:`COMPRESSIONS`; python-rocksdb lacks zstd.
        open_files: table files that a store keeps open; -1 for all of them.

    Raises:
        ConfigurationError: a value makes no sense; the message names the option.
    """

    driver: str = ROCKSDICT
    cache: int = 128 * MIB
    write_buffer: int = 64 * MIB
    bloom: int = 10
    wal: bool = True
    compression: str = "lz4"
    open_files: int = -1

    def __post_init__(self) -> None:
        for name, number in (("cache", self.cache), ("write_buffer", self.write_buffer)):
            if number <= 0:
                raise ConfigurationError(f"{name} is {number}: give a positive number of bytes")
        if self.cache <= self.write_buffer:
            raise ConfigurationError(
                f"cache is {self.cache}, which must be more than write_buffer ({self.write_buffer}): write buffers are charged to the cache"
            )
        if self.driver == PYTHON_ROCKSDB and self.compression == "zstd":
            raise ConfigurationError("compression is zstd, which is not in the library of python-rocksdb: take lz4hc")
        if not 0 <= self.bloom <= 64:
            raise ConfigurationError(f"bloom is {self.bloom}: give 0 to 64 bits for each key")
        if self.open_files < -1 or 0 <= self.open_files < 20:
            raise ConfigurationError(f"open_files is {self.open_files}: give at least 20, or -1 for all of them")

    @classmethod
    def of(cls, options: Mapping[str, object], where: str = "rocksdb://") -> RocksDBOptions:
        """Make the options that :func:`read_options` reads.

        Args:
            options: value by name.
            where: what begins each message.

        Raises:
            ConfigurationError: there is no such option, or its value is none.
        """
        read = read_options(options, where)
        if "write_buffer" in read and "cache" not in read:  # who says one of them need not know the other
            read["cache"] = max(cls().cache, 2 * read["write_buffer"])
        elif "cache" in read and "write_buffer" not in read:
            read["write_buffer"] = min(cls().write_buffer, read["cache"] // 2)
        try:
            return cls(**read)
        except ConfigurationError as error:
            raise ConfigurationError(f"{where}: {error}") from error


def read_options(options: Mapping[str, object], where: str = "rocksdb://") -> dict[str, Any]:
    """Read options as people write them, by our names or Faust's, as text or as they are; returns them by our names.

    Args:
        options: value by name.
        where: what begins each message.

    Raises:
        ConfigurationError: there is no such option, or its value is none.
    """
    read: dict[str, Any] = {}
    for given, value in options.items():
        name, value_ = _named(given, value, where)
        if name in read:
            raise ConfigurationError(f"{where}: {name} is said twice: leave {given} out")
        try:
            read[name] = READERS[name](value_)
        except ValueError as error:
            raise ConfigurationError(f"{where}: {given}={value!r} is no {name}: {error}") from error
    return read


def _named(given: str, value: object, where: str) -> tuple[str, object]:
    """Give our name of an option, and its value."""
    if given == "use_rocksdict":
        return "driver", ROCKSDICT if _flag(value) else PYTHON_ROCKSDB
    name = OTHER_NAMES.get(given, given)
    if name in READERS:
        return name, value
    if name in REFUSED:
        raise ConfigurationError(f"{where}: there is no {name} here: {REFUSED[name]}")
    near = get_close_matches(str(name), [*READERS, *OTHER_NAMES], 1)
    hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(READERS)}"
    raise ConfigurationError(f"{where} has no option {name!r}; {hint}")
