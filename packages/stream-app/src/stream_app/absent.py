"""Names of Faust that are not here: each is answered with a sentence that says why, and what to use.

``faust.Monitor`` is an attribute that is looked up, ``from faust import Monitor`` and ``import faust.livecheck`` are imports. Python asks a
module for the first (:func:`answers`), and its import system for the others (:class:`Finder`).
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Collection
from difflib import get_close_matches
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

__all__ = ["ABSENT", "Finder", "answers", "listen"]

TABLES = "an app has only ordinary tables so far: app.Table(...)"
INSIDE = "it belongs to the inside of Faust, and nothing takes its place"

ABSENT: dict[str, str] = {
    "AgentManagerT": "app.agents is a mapping of agents by their names: annotate it as Mapping[str, Agent]",
    "AlreadyConfiguredWarning": "a setting that is changed after the start is a ConfigurationError",
    "ConsumerNotStarted": "the broker's client waits, and raises BrokerUnavailableError; a send before the start is a ConfigurationError",
    "FaustPredicate": INSIDE,
    "FaustWarning": "what looks wrong is logged, and nothing here is a Python warning",
    "FixupT": INSIDE,
    "GlobalTable": TABLES,
    "JoinT": "streams cannot be joined, in Faust neither: keep one side in a table",
    "JoinableT": "streams cannot be joined, in Faust neither: keep one side in a table",
    "NotReady": "what is not ready yet waits",
    "PendingMessage": "what was not sent yet is not seen: what `await topic.send(...)` returns can be awaited for its metadata",
    "Registry": "codecs are registered once for the process: faust.serializers.codecs.register(name, codec)",
    "RegistryT": "codecs are registered once for the process: faust.serializers.codecs.register(name, codec)",
    "SameNode": "requests are passed on to the worker that has a key by @app.table_route and @app.topic_route",
    "SecurityWarning": "pickle is refused unless a topic asks for it by name",
    "SetGlobalTable": TABLES,
    "SetTable": TABLES + ", with value_type=set[str], for instance",
    "assignor": "the assignment of partitions is not for programs to change",
    "contrib": "for ASGI servers there is faust.lifespan(app), and `async with app:` starts and stops an app in any program",
    "fixups": INSIDE,
    "joins": "streams cannot be joined, in Faust neither: keep one side in a table",
    "livecheck": "LiveCheck is not here: test apps with faust.TestDriver, agents with agent.test_context()",
    "router": "requests are passed on to the worker that has a key by @app.table_route and @app.topic_route",
    "transport": "brokers are named by URL, App(..., broker='kafka://host'); a driver of your own is App(..., broker='package.module:Class://')",
}
"""Names of Faust, of modules and in modules, and why they are not here."""


def sentence(where: str, name: str, names: Collection[str]) -> str:
    """Say what is to be said of a name that does not exist."""
    if reason := ABSENT.get(name):
        return f"{where} has no {name}: {reason}"
    near = get_close_matches(name, names, n=1)
    return f"{where} has no {name}" + (f": did you mean {near[0]}?" if near else "")


def answers(where: str, names: Collection[str], modules: Collection[str] = ()) -> Callable[[str], Any]:
    """Make the function ``__getattr__`` of a module: it loads submodules when they are first used, and explains what does not exist."""

    def __getattr__(name: str) -> Any:  # noqa: N807 - modules have such a function
        if name in modules:
            return importlib.import_module(f"{where}.{name}")
        raise AttributeError(sentence(where, name, names), name=name)

    return __getattr__


class Finder(MetaPathFinder):
    """Explains imports of what is absent. Python asks it last, and imports nothing through it."""

    def __init__(self, package: str) -> None:
        self.package = package

    def find_spec(self, fullname: str, path: object = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Raise ModuleNotFoundError with the reason for an absent name; leave all others to Python's own message."""
        where, _, name = fullname.rpartition(".")
        if name in ABSENT and f"{where}.".startswith(f"{self.package}."):
            # Without name=: `from package import name` would drop the message.
            raise ModuleNotFoundError(sentence(where, name, ()))
        return None


def listen(package: str) -> None:
    """Let imports in ``package`` be explained."""
    if not any(isinstance(one, Finder) and one.package == package for one in sys.meta_path):
        sys.meta_path.append(Finder(package))
