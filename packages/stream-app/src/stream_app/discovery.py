"""Imports the modules in which the parts of an app are defined."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Callable, Iterable, Iterator

from stream_core.errors import ConfigurationError

__all__ = ["discover"]

_LEFT_OUT = re.compile(r"(^|\.)(__main__|tests?|test_[^.]*|conftest)(\.|$)")


def discover(origin: str | None, where: bool | Iterable[str] | Callable[[], Iterable[str]]) -> list[str]:
    """Import what the setting ``autodiscover`` names.

    Args:
        origin: the package of the project; needed when ``where`` is true.
        where: ``True`` for everything in the package of ``origin``, or modules and packages, or a function that names them. Tests
            and ``__main__`` are left out.

    Returns:
        the modules that were imported.

    Raises:
        ConfigurationError: there is no such module, or ``origin`` is missing.
    """
    if where is True and not origin:
        raise ConfigurationError('autodiscover=True needs the package to look in: origin="proj"')
    roots = [str(origin)] if where is True else list(where() if callable(where) else where or ())
    return [module for root in roots for module in _walk(root)]


def _walk(root: str) -> Iterator[str]:
    try:
        module = importlib.import_module(root)
    except ModuleNotFoundError as error:
        if error.name is None or not root.startswith(error.name):
            raise
        raise ConfigurationError(
            f"autodiscover: there is no module {root!r}; check the name, and the directory"
        ) from error
    yield root
    for found in pkgutil.walk_packages(getattr(module, "__path__", ()), f"{root}."):
        if not _LEFT_OUT.search(found.name):
            importlib.import_module(found.name)
            yield found.name
