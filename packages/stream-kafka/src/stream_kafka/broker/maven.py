"""Fetch files of a Maven repository: verified, and whole or not at all."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

from stream_core.errors import BrokerUnavailableError, MissingPackageError
from stream_kafka.broker.progress import Say

if TYPE_CHECKING:
    import requests  # type: ignore[import-untyped, unused-ignore]

__all__ = ["REPOSITORY", "download"]

REPOSITORY = "STREAM_MAVEN_REPOSITORY"
"""The environment variable that names a mirror of Maven's central repository."""

_PARALLEL = 4
_TIMEOUT = 20.0
"""Seconds without a byte after which a download is given up."""


def download(files: Mapping[str, str], cache: Path, say: Say, repository: str | None = None) -> None:
    """Fetch files into a directory that has the layout of the repository.

    Args:
        files: path in the repository and SHA-256 sum of each; one that has another sum is not kept.
        cache: the directory.
        say: is told about the progress.
        repository: the URL of the repository; unless given what ``STREAM_MAVEN_REPOSITORY`` names, else Maven's central one.

    Raises:
        MissingPackageError: ``stream-kafka[broker]`` is not installed.
        BrokerUnavailableError: the repository cannot be reached, does not have a file, or has another one than it should.
    """
    # An extra, which only a start that has to download asks for.
    try:
        import requests  # noqa: PLC0415
        from jgo.constants import MAVEN_CENTRAL_URL  # noqa: PLC0415 - where the central repository is
    except ModuleNotFoundError as error:
        message = f'Apache Kafka is not in {cache} and cannot be downloaded: pip install "stream-kafka[broker]"'
        raise MissingPackageError(message) from error
    source = (repository or os.environ.get(REPOSITORY) or MAVEN_CENTRAL_URL).rstrip("/")
    say(f"{len(files)} files to fetch")
    try:
        with requests.Session() as session, ThreadPoolExecutor(_PARALLEL) as pool:
            fetched = pool.map(lambda path: _fetch(session, source, path, files[path], cache), files)
            for number, _ in enumerate(fetched, 1):
                if number % 15 == 0:
                    say(f"{number} of {len(files)} files")
    except requests.RequestException as error:
        message = (
            f"the files of Apache Kafka could not be fetched: {error}. Check the network and its proxy settings, "
            f"or name a mirror of Maven's central repository in {REPOSITORY}"
        )
        raise BrokerUnavailableError(message) from error


def _fetch(session: requests.Session, source: str, path: str, digest: str, cache: Path) -> None:
    url = f"{source}/{path}"
    answer = session.get(url, timeout=_TIMEOUT)
    if answer.status_code == HTTPStatus.NOT_FOUND:
        raise BrokerUnavailableError(f"there is no {url}: is a mirror incomplete?")
    answer.raise_for_status()
    found = hashlib.sha256(answer.content).hexdigest()
    if found != digest:
        message = (
            f"{url} is not the file that it should be, and is not used: its SHA-256 sum is {found}, not {digest}. "
            f"If trying again does not help, name another mirror in {REPOSITORY}"
        )
        raise BrokerUnavailableError(message)
    target = cache / path
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.name}.{os.getpid()}.part")
    partial.write_bytes(answer.content)
    partial.replace(target)
