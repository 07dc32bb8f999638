"""Commands that an app adds to its command line, and what commands look at. Nothing here needs a command line to be installed."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar, overload

from stream_app.definitions.registry import Registry
from stream_app.running.state import LocalState
from stream_app.running.wiring import make_transport
from stream_core.errors import ConfigurationError
from stream_core.ports import Transport

__all__ = ["CommandDefinition", "CommandDefinitions"]

C = TypeVar("C", bound=Callable[..., Any])


@dataclass(frozen=True)
class CommandDefinition:
    """A command as it was defined.

    Attributes:
        name: what is typed; with the group in front of it, if it is in one.
        body: a function, a subclass of ``AppCommand``, or a command of click.
        options: its options and arguments, for a function.
        base: the class that a function becomes a command of; ``None`` for ``AppCommand``.
        attributes: of that class.
    """

    name: str
    body: Any
    options: tuple[Any, ...] = ()
    base: type | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)


class CommandDefinitions(Registry):
    """Defines commands, and has what commands look at beside the definitions: the broker, and the state on this machine."""

    @overload
    def command(self, body: C, /) -> C: ...
    @overload
    def command(
        self, *options: Any, base: type | None = None, name: str = "", group: str = "", **attributes: Any
    ) -> Callable[[C], C]: ...
    def command(
        self, *options: Any, base: type | None = None, name: str = "", group: str = "", **attributes: Any
    ) -> Any:
        """Define a command of the program: ``python app.py NAME``, or ``stream -A app NAME``.

        It decorates a function, plain or ``async``, whose docstring is the help; a subclass of ``faust.cli.AppCommand``; or a command or
        group of click. What an async function sends, or asks, is sent by a client of the app, which starts with the first of it and
        stops after the function.

        Args:
            options: of a function: ``faust.cli.option(...)`` and ``faust.cli.argument(...)``. The function gets them by their names,
                after the command itself when it has one more parameter in front, as in ``async def show(self, name)``.
            base: the class that the function becomes a command of; ``faust.cli.AppCommand`` when left out.
            name: what is typed; made from the name of the function or class when left out: ``show_all`` is ``show-all``.
            group: the command comes below this one: ``users`` makes it ``users NAME``.
            attributes: of that class, such as ``daemon=True``.

        Returns:
            what is decorated, as it is.

        Raises:
            ConfigurationError: there is a command of that name, or it is nothing that can be one.

        Example::

            @app.command(option("--amount", type=int, default=1), argument("account"))
            async def deposit(self, account: str, amount: int):
                '''Put an amount into an account.'''
                await deposits.send(key=account, value=amount)
                self.say("sent")
        """

        def define(body: Any) -> Any:
            self._add_command(CommandDefinition(_name(body, name, group), body, options, base, attributes))
            return body

        if len(options) == 1 and (isinstance(options[0], type) or inspect.iscoroutinefunction(options[0])):
            body, options = options[0], ()  # @app.command without parentheses
            return define(body)
        return define

    @property
    def commands(self) -> Mapping[str, CommandDefinition]:
        """The commands that the app adds, by what is typed."""
        return self._commands

    def make_transport(self) -> Transport:
        """Make the driver of the broker, for programs that look at topics and groups themselves; the app need not be started.

        Raises:
            ConfigurationError: there is no such driver, or its package is not installed.
        """
        return make_transport(self.conf)

    @property
    def local_state(self) -> LocalState:
        """What the app keeps on this machine, which may be deleted while it is stopped."""
        return LocalState(self.conf)

    def _add_command(self, definition: CommandDefinition) -> None:
        with self._defining:
            if definition.name in self._commands:
                raise ConfigurationError(
                    f"app {self.id} has a command {definition.name!r} already: give one of them another name, app.command(name=...)"
                )
            self._commands[definition.name] = definition


def _name(body: Any, name: str, group: str) -> str:
    """Give what is typed for a command. Raises ConfigurationError when it can be none."""
    if not callable(body) or inspect.isasyncgenfunction(body) or inspect.isgeneratorfunction(body):
        raise ConfigurationError(f"{body!r} cannot be a command: decorate a function, or a subclass of AppCommand")
    name = name or getattr(body, "name", None) or _dashed(getattr(body, "__name__", type(body).__name__))
    for part in filter(None, (name, group)):
        if not re.fullmatch(r"\w[\w.:-]*", part):
            raise ConfigurationError(f"{part!r} cannot be typed as a command: use letters, digits, '-' and '_'")
    return f"{group} {name}" if group else name


def _dashed(name: str) -> str:
    """``show_all`` and ``ShowAll`` as a command is typed: ``show-all``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name.strip("_")).replace("_", "-").lower()
