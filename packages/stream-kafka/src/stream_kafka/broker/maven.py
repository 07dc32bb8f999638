"""Maven artifacts without Maven: jgo resolves what depends on what, this module fetches the files safely."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import requests  # type: ignore[import-untyped, unused-ignore]
from jgo.config import GlobalSettings
from jgo.constants import MAVEN_CENTRAL_URL
from jgo.maven import Artifact, MavenContext, PythonResolver

from stream_core.errors import BrokerUnavailableError
from stream_kafka.broker.artifacts import Say

__all__ = ["Resolver", "download"]

_SCOPES = ("compile", "runtime", None)  # None is the scope of what was asked for by name
_PARALLEL = 4
_TIMEOUT = 20.0


class Resolver(PythonResolver):
    """A jgo resolver that fetches files over kept connections, checked, and whole or not at all.

    jgo opens a connection per file, only warns of a wrong checksum, and leaves half a file behind when it is interrupted,
    which it then takes for the file.
    """

    def __init__(self) -> None:
        super().__init__()
        self._session = requests.Session()

    def download(self, artifact: Artifact) -> Path:
        """Fetch ``artifact`` into the cache of its context; raises BrokerUnavailableError when no repository has it."""
        target = artifact.context.repo_cache / artifact.component.path_prefix / artifact.filename
        target.parent.mkdir(parents=True, exist_ok=True)
        for repository in artifact.context.remote_repos.values():
            url = f"{repository}/{artifact.component.path_prefix.as_posix()}/{artifact.filename}"
            body = self._get(url)
            if body is None:
                continue
            if target.suffix == ".jar":
                self._verify(url, body)
            partial = target.with_name(f"{target.name}.{os.getpid()}.part")
            partial.write_bytes(body)
            partial.replace(target)
            return target
        names = ", ".join(artifact.context.remote_repos)
        raise BrokerUnavailableError(f"no Maven repository ({names}) has {artifact}: is a mirror incomplete?")

    def _get(self, url: str) -> bytes | None:
        answer = self._session.get(url, timeout=_TIMEOUT)
        if answer.status_code == requests.codes.not_found:
            return None
        answer.raise_for_status()
        body: bytes = answer.content
        return body

    def _verify(self, url: str, body: bytes) -> None:
        published = self._get(f"{url}.sha1")
        if published and published.split()[0].decode() != hashlib.sha1(body, usedforsecurity=False).hexdigest():
            raise BrokerUnavailableError(f"{url} was damaged on its way (wrong checksum): try again")


def download(
    coordinates: Sequence[str], cache: Path, say: Say, repositories: dict[str, str] | None = None
) -> list[Path]:
    """Fetch the jars of ``coordinates`` and of everything they need at run time; what the cache holds is not fetched again.

    Args:
        coordinates: Maven coordinates, ``group:artifact:version``.
        cache: the directory for the files, in the layout of a Maven repository.
        say: is told about the progress.
        repositories: name to URL; unless given Maven's central repository, and those of jgo's own configuration file.

    Returns:
        the jars, in an order for the class path.

    Raises:
        BrokerUnavailableError: a repository cannot be reached, has not got a file, or sent a damaged one.
    """
    remotes = repositories or {"central": MAVEN_CENTRAL_URL, **GlobalSettings.load().repositories}
    context = MavenContext(resolver=Resolver(), repo_cache=cache, remote_repos=remotes)
    try:
        inputs, transitive = context.resolver.resolve([context.create_dependency(text) for text in coordinates])
        artifacts = [found.artifact for found in (*inputs, *transitive) if found.scope in _SCOPES]
        say(f"{len(artifacts)} files to fetch")
        jars: list[Path] = []
        with ThreadPoolExecutor(_PARALLEL) as pool:
            for jar in pool.map(Artifact.resolve, artifacts):
                jars.append(jar)
                if len(jars) % 15 == 0:
                    say(f"{len(jars)} of {len(artifacts)} files")
    except requests.RequestException as error:
        message = (
            f"the files of Apache Kafka could not be fetched: {error}. Check the network and its proxy settings, "
            "or name a mirror under [repositories] in jgo's configuration file"
        )
        raise BrokerUnavailableError(message) from error
    return jars
