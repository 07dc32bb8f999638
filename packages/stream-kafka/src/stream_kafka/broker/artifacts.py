"""Where the jars of Apache Kafka are: in the user's cache directory, downloaded once, and verified at each start."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path

from stream_core.errors import MissingPackageError

__all__ = ["KAFKA_VERSION", "Say", "cache_dir", "jars", "pinned", "silent"]

KAFKA_VERSION = "4.3.1"

_PINS = Path(__file__).with_name("jars.sha256")
"""The jars of the broker, its storage tool and its log, and all that they depend on, in the order of the class path.

The format is that of ``sha256sum``. What runs is code, and a checksum from where the code comes from proves nothing: so the sums are
part of this package.
"""

Say = Callable[[str], None]
"""Is told one line about each step that takes time."""


def silent(line: str) -> None:
    """Say nothing."""


def cache_dir() -> Path:
    """The directory that keeps the jars: ``$XDG_CACHE_HOME/stream/kafka-<version>``, or the same under ``~/.cache``."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "stream" / f"kafka-{KAFKA_VERSION}"


def pinned() -> dict[str, str]:
    """Read the SHA-256 sum of each jar, by its path in a Maven repository, in the order of the class path."""
    lines = (line.split() for line in _PINS.read_text(encoding="utf-8").splitlines())
    return {path: digest for digest, path in lines}


def jars(cache: Path | None = None, say: Say = silent, pins: Mapping[str, str] | None = None) -> Sequence[Path]:
    """Find the class path of Apache Kafka; what the cache does not hold, or holds damaged, is downloaded.

    Args:
        cache: the directory to keep jars in; the user's cache directory unless given.
        say: is told about the progress of a download.
        pins: path and SHA-256 sum of each jar; unless given those of this package.

    Raises:
        MissingPackageError: something must be downloaded and ``requests`` is not installed.
        BrokerUnavailableError: the repository cannot be reached, does not have a file, or has another one.
    """
    cache = cache or cache_dir()
    pins = pinned() if pins is None else pins
    # 45 MB are hashed in less than a tenth of a second, which a start does not notice.
    if missing := {path: digest for path, digest in pins.items() if not _intact(cache / path, digest, say)}:
        _download(missing, cache, say)
    return [cache / path for path in pins]


def _intact(jar: Path, digest: str, say: Say) -> bool:
    try:
        with jar.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return False
    if found != digest:
        say(f"{jar} is not the file that Apache Kafka {KAFKA_VERSION} is made of: it is fetched again")
    return found == digest


def _download(missing: Mapping[str, str], cache: Path, say: Say) -> None:
    # requests is an extra: only a start that has to download asks for it.
    try:
        maven = import_module("stream_kafka.broker.maven")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "requests":
            raise
        message = f'Apache Kafka {KAFKA_VERSION} is not in {cache} and cannot be downloaded: pip install "stream-kafka[broker]"'
        raise MissingPackageError(message) from error
    say(f"Downloading Apache Kafka {KAFKA_VERSION} to {cache} (about 45 MB, once)")
    cache.mkdir(parents=True, exist_ok=True, mode=0o700)
    maven.download(missing, cache, say)
