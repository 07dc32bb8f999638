"""Where the jars of Apache Kafka are: in the user's cache directory, downloaded once, and verified at each start."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from stream_core.errors import ConfigurationError
from stream_kafka.broker.maven import download, in_cache
from stream_kafka.broker.progress import Say, silent

__all__ = ["KAFKA_VERSION", "VERSIONS", "WITHOUT_USERS", "cache_dir", "jars", "pinned"]

KAFKA_VERSION = "4.3.1"
"""The version that runs unless another one is asked for."""

WITHOUT_USERS = "3.3.2"
"""The version whose storage tool creates no users: that came with Kafka 3.5."""

VERSIONS = (WITHOUT_USERS, "3.9.1", KAFKA_VERSION)
"""All that can be run: the oldest whose nodes need no ZooKeeper in production, the last of Kafka 3, and the newest."""

_PINS = Path(__file__).with_name("jars")
"""The directory with a file for each version: the jars of the broker, its storage tool and its log, and all that they depend on, in
the order of the class path.

The format is that of ``sha256sum``. A jar is code that runs here, and a checksum that comes from the same place as the jar proves nothing:
so the sums are part of this package.
"""


def cache_dir(version: str = KAFKA_VERSION) -> Path:
    """Return the directory that keeps the jars: ``$XDG_CACHE_HOME/stream/kafka-<version>``, or the same under ``~/.cache``.

    Raises:
        ConfigurationError: neither the environment nor the system says where the user's home is.
    """
    try:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError as error:
        message = (
            "there is no place for the files of Apache Kafka: set HOME, or name a place for caches in XDG_CACHE_HOME"
        )
        raise ConfigurationError(message) from error
    return Path(base) / "stream" / f"kafka-{version}"


def pinned(version: str = KAFKA_VERSION) -> dict[str, str]:
    """Read the SHA-256 sum of each jar, by its path in a Maven repository, in the order of the class path.

    Args:
        version: of Kafka.

    Raises:
        ConfigurationError: the version is none of :data:`VERSIONS`.
    """
    if version not in VERSIONS:
        raise ConfigurationError(f"Kafka {version} cannot be run here: choose one of {', '.join(VERSIONS)}")
    lines = (line.split() for line in (_PINS / f"{version}.sha256").read_text(encoding="utf-8").splitlines())
    return {path: digest for digest, path in lines}


def jars(
    cache: Path | None = None,
    say: Say = silent,
    pins: Mapping[str, str] | None = None,
    version: str = KAFKA_VERSION,
) -> Sequence[Path]:
    """Find the class path of Apache Kafka; what the cache does not hold, or holds damaged, is downloaded.

    Args:
        cache: the directory to keep jars in; the user's cache directory unless given.
        say: is told about the progress of a download.
        pins: path and SHA-256 sum of each jar; unless given those of this package.
        version: of Kafka.

    Raises:
        ConfigurationError: the version is none of :data:`VERSIONS`, or the cache cannot be used.
        MissingPackageError: something must be downloaded and ``requests`` is not installed.
        BrokerUnavailableError: the repository cannot be reached, does not have a file, or has another one.
    """
    cache = cache or cache_dir(version)
    pins = pinned(version) if pins is None else pins
    # The files are hashed in less than a tenth of a second, which a start does not notice.
    if missing := {path: digest for path, digest in pins.items() if not _intact(cache, path, digest, version, say)}:
        say(f"Downloading Apache Kafka {version} to {cache} (about 45 MB, once)")
        with in_cache(cache):
            cache.mkdir(parents=True, exist_ok=True, mode=0o700)
        download(missing, cache, say)
    return [cache / path for path in pins]


def _intact(cache: Path, path: str, digest: str, version: str, say: Say) -> bool:
    jar = cache / path
    found = None
    with in_cache(cache), suppress(FileNotFoundError), jar.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found not in (None, digest):
        say(f"{jar} is not the file that Apache Kafka {version} is made of: it is fetched again")
    return found == digest
