"""Imports the modules in which the parts of an app are defined."""

from __future__ import annotations

import importlib
import pkgutil
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from stream_core.errors import ConfigurationError
from stream_core.values.annotations import module_name

__all__ = ["discover", "share_main"]

_LEFT_OUT = re.compile(r"(^|\.)(__main__|tests?|test_[^.]*|conftest)(\.|$)")


def share_main(app: Any) -> None:
    """Let other modules import the program that runs under its own name, when it is where ``app`` is defined.

    A program is the module ``__main__``. An import of it by its name, as in ``from proj.main import app``, would run the file once more
    and make a second app, and what is defined for that one would never run.

    A file of a package that is started by its path has its own directory in ``sys.path``, and not the one that has the package: that
    is added.
    """
    main = sys.modules["__main__"]
    name = module_name("__main__")
    if name == "__main__" or name in sys.modules or all(value is not app for value in vars(main).values()):
        return
    sys.modules[name] = main
    package, _, own = name.rpartition(".")
    if package:
        if getattr(main, "__spec__", None) is None and (file := getattr(main, "__file__", None)):
            sys.path.append(str(Path(file).absolute().parents[name.count(".")]))
        try:
            setattr(importlib.import_module(package), own, main)
        except ImportError:  # it cannot be imported by that name from here
            del sys.modules[name]


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
