"""Imports the modules in which the parts of an app are defined."""

from __future__ import annotations

import importlib
import pkgutil
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from stream_app.definitions import django
from stream_core.errors import ConfigurationError
from stream_core.stacks import report_of
from stream_core.values.annotations import module_name

__all__ = ["SCAN_IGNORE", "Ignore", "discover", "share_main"]

Ignore = str | Callable[[str], Any]
"""What is not imported: a module with all that is below it, or a function that says so of a module by its full name."""

SCAN_IGNORE: tuple[Ignore, ...] = (re.compile(r"(^|\.)(__main__|tests?|test_[^.]*|conftest)(\.|$)").search,)
"""What is not imported where nothing else is said: ``__main__``, and tests."""


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


def discover(
    origin: str | None,
    where: bool | str | Iterable[str] | Callable[[], Iterable[str]],
    ignore: Ignore | Iterable[Ignore] = SCAN_IGNORE,
) -> list[str]:
    """Import what the setting ``autodiscover`` names: each module once, a package before what is in it, and that by name.

    In a Django project, Django is set up first.

    Args:
        origin: the package of the project; needed when ``where`` is true.
        where: ``True`` for everything in the package of ``origin``, in a Django project in the apps of ``INSTALLED_APPS``; or modules and
            packages, or one, or a function that names them.
        ignore: what to leave out. ``"proj.old"`` is that module with all that is below it, ``".old"`` such a module of each package
            that ``where`` names; a function is called with the full name of a module, as in ``re.compile("_old$").search``.

    Returns:
        the modules that were imported.

    Raises:
        ConfigurationError: there is no such module, one raised when it was imported, ``origin`` is missing, or Django cannot be set up.
    """
    if not where:
        return []
    in_django = django.set_up()
    ignored: tuple[Ignore, ...] = (ignore,) if isinstance(ignore, str) or callable(ignore) else tuple(ignore)
    if where is not True:
        named = where() if callable(where) else where
        roots = [named] if isinstance(named, str) else list(named)
    elif in_django:
        roots = django.installed_apps()
        ignored += django.IGNORE
    elif origin:
        roots = [origin]
    else:
        raise ConfigurationError('autodiscover=True needs the package to look in: origin="proj"')
    return list(dict.fromkeys(name for root in roots for name in _import_all(root, root, ignored)))


def _import_all(name: str, root: str, ignore: tuple[Ignore, ...]) -> Iterator[str]:
    module = _import(name)
    yield name
    for below in _names_below(module):
        full = f"{name}.{below}"
        if not any(_is_ignored(full, root, each) for each in ignore):
            yield from _import_all(full, root, ignore)


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise _raised(name, error) from error
        raise ConfigurationError(
            f"autodiscover: there is no module {name!r}; check the name, and the directory"
        ) from error
    except Exception as error:
        raise _raised(name, error) from error


def _raised(name: str, error: Exception) -> ConfigurationError:
    return ConfigurationError(
        f"autodiscover: the module {name!r} was found, but raised when it was imported:\n{report_of(error)}"
    )


def _names_below(module: ModuleType) -> list[str]:
    """List the modules and packages directly in a package, sorted.

    Directories without ``__init__.py`` are packages where the one around them is of that kind too: in an ordinary package they hold
    something else, such as the scripts of a migration.
    """
    paths = list(getattr(module, "__path__", ()))
    names = {found.name for found in pkgutil.iter_modules(paths) if found.name.isidentifier()}
    if getattr(module, "__file__", None) is None:
        names.update(path.name for base in paths for path in Path(base).glob("*/") if _has_modules(path))
    return sorted(names)


def _has_modules(directory: Path) -> bool:
    return directory.name.isidentifier() and any(
        path.suffix == ".py" if path.is_file() else _has_modules(path) for path in directory.glob("*")
    )


def _is_ignored(name: str, root: str, ignored: Ignore) -> bool:
    if callable(ignored):
        return bool(ignored(name))
    without = f"{root}{ignored}" if ignored.startswith(".") else ignored
    return f"{name}.".startswith(f"{without}.")
