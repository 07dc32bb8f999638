"""Where the jars of Apache Kafka are: in the user's cache directory, downloaded once."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

from stream_core.errors import MissingPackageError

__all__ = ["COORDINATES", "KAFKA_VERSION", "Say", "cache_dir", "jars", "silent"]

KAFKA_VERSION = "4.3.1"

COORDINATES = (
    f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}",
    # Kafka logs through slf4j and brings no backend of its own: without one a broker that fails says nothing.
    "org.slf4j:slf4j-simple:1.7.36",
)
"""What is resolved, with everything it depends on: the broker (with its storage tool) and its log."""

Say = Callable[[str], None]
"""Is told one line about each step that takes time."""


def silent(line: str) -> None:
    """Say nothing."""


def cache_dir() -> Path:
    """The directory that keeps the jars: ``$XDG_CACHE_HOME/stream/kafka-<version>``, or the same under ``~/.cache``."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "stream" / f"kafka-{KAFKA_VERSION}"


def jars(cache: Path | None = None, say: Say = silent) -> Sequence[Path]:
    """The class path of Apache Kafka; what the cache does not hold yet is downloaded.

    Args:
        cache: the directory to keep jars in; the user's cache directory unless given.
        say: is told about the progress of a download.

    Raises:
        MissingPackageError: something must be downloaded and ``jgo`` is not installed.
        BrokerUnavailableError: the package registry cannot be reached or does not have a file.
    """
    cache = cache or cache_dir()
    index = cache / "classpath"  # written last: a directory that has it is complete
    known = [cache / line for line in index.read_text().splitlines()] if index.exists() else []
    if known and all(jar.is_file() for jar in known):
        return known
    found = _download(cache, say)
    partial = index.with_name(f"classpath.{os.getpid()}")
    partial.write_text("".join(f"{jar.relative_to(cache)}\n" for jar in found))
    partial.replace(index)
    return found


def _download(cache: Path, say: Say) -> Sequence[Path]:
    # jgo is an extra and takes half a second to import: only a start that has to download asks for it.
    try:
        maven = import_module("stream_kafka.broker.maven")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("jgo", "requests"):
            raise
        message = f'Apache Kafka {KAFKA_VERSION} is not in {cache} and cannot be downloaded: pip install "stream-kafka[broker]"'
        raise MissingPackageError(message) from error
    say(f"Downloading Apache Kafka {KAFKA_VERSION} to {cache} (about 45 MB, once)")
    found: Sequence[Path] = maven.download(COORDINATES, cache, say)
    return found
