"""Finds the app that ``-A`` names: ``module`` or ``module:attribute``, importable from the current directory."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, TypeGuard

from stream_core.engine.engine import Engine
from stream_core.errors import ConfigurationError
from stream_core.ports import Transport
from stream_core.sending.topic import AnyTopic
from stream_core.stacks import report_of

__all__ = ["Application", "Runnable", "is_app", "locate"]

DEFAULT_ATTRIBUTE = "app"


class Runnable(Protocol):
    """A worker of an app."""

    def execute_from_commandline(self) -> int:
        """Run until stopped; returns the exit code of the process."""


class Application(Protocol):
    """What this package needs of an app; it knows no class of it."""

    conf: Any
    """Its settings: flat names that can be read and assigned."""

    @property
    def id(self) -> str:
        """Its id."""

    @property
    def agents(self) -> Mapping[str, Any]:
        """Its agents by full name; each has a ``topic`` and a ``help``."""

    @property
    def tables(self) -> Mapping[str, Any]:
        """Its tables by name; each has a ``changelog`` and a ``help``."""

    @property
    def commands(self) -> Mapping[str, Any]:
        """The commands that it adds, by what is typed; each has ``body``, ``options``, ``base`` and ``attributes``."""

    @property
    def topics(self) -> Mapping[str, AnyTopic]:
        """The topics that it describes, by name."""

    @property
    def local_state(self) -> Any:
        """What it keeps on this machine: ``tables``, ``old_versions``, ``held`` and ``delete``."""

    @property
    def engine(self) -> Engine:
        """What runs, once it is started."""

    def make_transport(self) -> Transport:
        """Make the driver of its broker."""

    def finalize(self) -> None:
        """Make the settings final, and import what belongs to it."""

    async def start_client(self, *, fail_fast: bool = False, timeout: float | None = 30.0) -> None:
        """Start without agents and tables."""

    async def stop(self) -> None:
        """Stop what was started."""

    def worker(self, **options: Any) -> Runnable:
        """Make a worker."""


def is_app(value: object) -> TypeGuard[Application]:
    """Say whether ``value`` can do what this package needs of an app."""
    return not isinstance(value, type) and callable(getattr(value, "worker", None)) and hasattr(value, "conf")


def locate(path: str) -> Application:
    """Find the app at ``path``.

    Args:
        path: ``module`` (its attribute ``app``), ``module:attribute``, or a package that has a module ``app`` with it.

    Raises:
        ConfigurationError: there is no such module, it raised when it was imported, it has no such attribute, or that is not
            an app; or the working directory was removed. Says which of these, and what was meant, if that can be told.
    """
    name, colon, attribute = path.partition(":")
    attribute = attribute or DEFAULT_ATTRIBUTE
    if name.endswith(".py") or os.sep in name:
        file = Path(name).with_suffix("")
        where = f"-W {file.parent} " if file.is_absolute() else ""
        dotted = file.name if where else ".".join(file.parts)
        raise ConfigurationError(
            f"-A takes a module, not a file: try {where}-A {dotted}{colon}{path.partition(':')[2]}"
        )
    try:
        here = os.getcwd()
    except FileNotFoundError as error:
        message = "the working directory does not exist any more: change to another, or name one with -W"
        raise ConfigurationError(message) from error
    if here not in sys.path:
        sys.path.insert(0, here)
    module = _import(name)
    value = getattr(module, attribute, None)
    if value is None and _is_package_with(module, attribute):
        value = _import(f"{name}.{attribute}")
    if isinstance(value, ModuleType):
        module, value = value, getattr(value, DEFAULT_ATTRIBUTE, None)
    if not is_app(value):
        raise ConfigurationError(_explain(module, attribute, value))
    return value


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise ConfigurationError(_raised(name, error)) from error
        raise ConfigurationError(_not_found(name, error.name)) from error
    except Exception as error:
        raise ConfigurationError(_raised(name, error)) from error


def _is_package_with(module: ModuleType, submodule: str) -> bool:
    return any((Path(base) / f"{submodule}.py").is_file() for base in getattr(module, "__path__", ()))


def _not_found(name: str, missing: str) -> str:
    here = Path.cwd()
    modules = [path.stem for path in here.glob("*.py")] + [path.parent.name for path in here.glob("*/__init__.py")]
    near = get_close_matches(name, modules, n=1)
    hint = f"; did you mean -A {near[0]}?" if near else "; -W DIR looks in another directory"
    return f"there is no module {missing!r} in {here} or among the installed packages{hint}"


def _raised(name: str, error: BaseException) -> str:
    return f"the module {name!r} was found, but raised when it was imported:\n{report_of(error)}"


def _explain(module: ModuleType, attribute: str, value: object) -> str:
    apps = [name for name, each in vars(module).items() if is_app(each)]
    if apps:
        near = (get_close_matches(attribute, apps, n=1, cutoff=0.0) or apps)[0]
        hint = f"it has the app {near!r}: try -A {module.__name__}:{near}"
    else:
        hint = f'it has no app at all: define one, such as {attribute} = App("{module.__name__.rpartition(".")[2]}")'
    if value is None:
        return f"the module {module.__name__!r} has no attribute {attribute!r}; {hint}"
    return f"{attribute!r} of the module {module.__name__!r} is not an app but {_kind(value)}; {hint}"


def _kind(value: object) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else f"of type {type(value).__name__}"
