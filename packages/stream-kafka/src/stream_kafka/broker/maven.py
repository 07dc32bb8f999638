"""Fetch files of a Maven repository: verified, and whole or not at all."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from http import HTTPStatus
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from stream_core.errors import BrokerUnavailableError, ConfigurationError, MissingPackageError
from stream_kafka.broker.progress import Say

if TYPE_CHECKING:
    import requests  # type: ignore[import-untyped, unused-ignore]

__all__ = ["REPOSITORY", "download", "in_cache"]

REPOSITORY = "STREAM_MAVEN_REPOSITORY"
"""The environment variable that names a mirror of Maven's central repository."""

_PARALLEL = 4
_TIMEOUT = 20.0
"""Seconds without a byte after which a download is given up."""

_PATIENCE = 60.0
"""Seconds in which a whole file, or ``_LEAST`` bytes, must come: a repository that gives a byte now and then would never be done."""

_LEAST = 60_000
_CHUNK = 8192


def download(
    files: Mapping[str, str], cache: Path, say: Say, repository: str | None = None, patience: float = _PATIENCE
) -> None:
    """Fetch files into a directory that has the layout of the repository.

    What is raised in the calling thread meanwhile, as by Ctrl+C, ends it at once.

    Args:
        files: path in the repository and SHA-256 sum of each; one that has another sum is not kept.
        cache: the directory.
        say: is told about the progress.
        repository: the URL of the repository; unless given what ``STREAM_MAVEN_REPOSITORY`` names, else Maven's central one.
        patience: seconds after which a repository is given up that has sent neither a whole file nor 60 kB.

    Raises:
        MissingPackageError: ``stream-kafka[broker]`` is not installed.
        BrokerUnavailableError: the repository cannot be reached, is too slow, does not have a file, or has another one than it should.
        ConfigurationError: the directory cannot be written, or the disk is full.
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
    with requests.Session() as session, closing(_Fetches(session, source, files).contents(patience)) as fetched:
        for number, (path, content) in enumerate(fetched, 1):
            _verify(f"{source}/{path}", content, files[path])
            with in_cache(cache):
                _keep(cache / path, content)
            if number % 15 == 0:
                say(f"{number} of {len(files)} files")


@contextmanager
def in_cache(cache: Path) -> Iterator[None]:
    """Turn what the system says about a directory that keeps fetched files into a ConfigurationError that names it."""
    try:
        yield
    except OSError as error:
        message = (
            f"the cache directory {cache} cannot be used: {error.strerror}. "
            "Mend that, or name another place for caches in XDG_CACHE_HOME"
        )
        raise ConfigurationError(message) from error


class _Fetches:
    """Files that are being fetched, by threads that only hand over what they have got.

    Nobody waits for them, the end of the process neither (as it would for those of a ThreadPoolExecutor): one that reads from a slow
    repository sees only at its next bytes that it is not needed any more.
    """

    def __init__(self, session: requests.Session, source: str, paths: Iterable[str]) -> None:
        self._session = session
        self._source = source
        self._received = dict.fromkeys(paths, 0)
        self._waiting: SimpleQueue[str] = SimpleQueue()
        self._fetched: SimpleQueue[tuple[str, bytes | Exception]] = SimpleQueue()
        self._left = threading.Event()
        for path in self._received:
            self._waiting.put(path)

    def contents(self, patience: float) -> Generator[tuple[str, bytes]]:
        """Give path and content of each file, as they come; raises what the first that fails has raised."""
        for _ in range(min(_PARALLEL, len(self._received))):
            threading.Thread(target=self._work, daemon=True).start()
        try:
            for _ in self._received:
                path, result = self._next(patience)
                if isinstance(result, OSError):  # as the errors of requests are, and some that have no class there
                    message = (
                        f"the files of Apache Kafka could not be fetched: {result}. Check the network and its proxy settings, "
                        f"or name a mirror of Maven's central repository in {REPOSITORY}"
                    )
                    raise BrokerUnavailableError(message) from result
                if isinstance(result, Exception):
                    raise result
                yield path, result
        finally:
            self._left.set()

    def _next(self, patience: float) -> tuple[str, bytes | Exception]:
        before = sum(self._received.values())
        while True:
            try:
                return self._fetched.get(timeout=patience)
            except Empty:
                now = sum(self._received.values())
                if now - before < _LEAST:
                    message = (
                        f"{self._source} is too slow: it sent {now - before} bytes in {patience:g} s. "
                        f"Try again later, or name another mirror in {REPOSITORY}"
                    )
                    raise BrokerUnavailableError(message) from None
                before = now

    def _work(self) -> None:
        while not self._left.is_set():
            try:
                path = self._waiting.get_nowait()
            except Empty:
                return
            try:
                self._fetched.put((path, self._fetch(path)))
            except Exception as error:
                self._fetched.put((path, error))

    def _fetch(self, path: str) -> bytes:
        url = f"{self._source}/{path}"
        content = bytearray()
        with self._session.get(url, timeout=_TIMEOUT, stream=True) as answer:
            if answer.status_code == HTTPStatus.NOT_FOUND:
                raise BrokerUnavailableError(f"there is no {url}: is a mirror incomplete?")
            answer.raise_for_status()
            for chunk in answer.iter_content(_CHUNK):
                if self._left.is_set():
                    break
                content += chunk
                self._received[path] = len(content)
        return bytes(content)


def _verify(url: str, content: bytes, digest: str) -> None:
    found = hashlib.sha256(content).hexdigest()
    if found != digest:
        message = (
            f"{url} is not the file that it should be, and is not used: its SHA-256 sum is {found}, not {digest}. "
            f"If trying again does not help, name another mirror in {REPOSITORY}"
        )
        raise BrokerUnavailableError(message)


def _keep(target: Path, content: bytes) -> None:
    partial = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(content)
        partial.replace(target)
    except BaseException:
        with suppress(OSError):
            partial.unlink()
        raise
