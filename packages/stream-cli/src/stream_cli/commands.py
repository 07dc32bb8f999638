"""What commands of programs are made of: the classes, how they are called, and how ``app.command()`` becomes one of them."""

from __future__ import annotations

import asyncio
import inspect
import re
import signal
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from types import FunctionType, TracebackType
from typing import IO, Any, ClassVar, cast

import click

from stream_cli.clients import TIMEOUT, client
from stream_cli.context import Invocation, json_option
from stream_cli.locate import Application
from stream_cli.names import full_name
from stream_cli.output import format_table, is_of_output
from stream_cli.texts import decode_text
from stream_core.errors import ConfigurationError, StreamError
from stream_core.event_loops import loop_factory
from stream_core.runs import starting_when_needed
from stream_core.values.codecs import json_dumps

__all__ = ["AppCommand", "Command", "argument", "commands_of", "option"]

argument = click.argument
"""An argument of a command: ``argument("name")``. What can be said of it is in the documentation of click."""

option = partial(click.option, show_default=True)
"""An option of a command: ``option("--count", type=int, default=1, help="How many.")``. Its default is shown in the help."""

_OURS = str(Path(__file__).parent)
_LOOPS = {"asyncio", "uvloop"}


class Command(ABC):
    """A command of a program: override :meth:`run`, with the options as its arguments. The docstring of the class is its help.

    Args:
        context: of the call, as click has it.

    Attributes:
        context: the same.
        name: what is typed; made from the name of the class when it is empty.
        options: its options and arguments, made by :func:`option` and :func:`argument`.
        daemon: go on when :meth:`run` has returned, until Ctrl+C or SIGTERM, which then end the program with 0.
    """

    name: ClassVar[str] = ""
    options: ClassVar[Sequence[Callable[[Any], Any]]] = ()
    daemon: ClassVar[bool] = False

    def __init__(self, context: click.Context) -> None:
        self.context = context
        invocation = context.find_object(Invocation)
        self._invocation = Invocation() if invocation is None else invocation

    @abstractmethod
    def run(self, *args: Any, **options: Any) -> Any:
        """Do it. It may be plain or async, and gets the values of the options and arguments by their names."""

    async def execute(self, *args: Any, **options: Any) -> Any:
        """Call an async :meth:`run`, and :meth:`on_stop` after it; override it to do something around both."""
        try:
            return await self.run(*args, **options)
        finally:
            await self.on_stop()

    async def on_stop(self) -> None:  # noqa: B027 - a hook that most commands leave alone
        """Override to clean up after an async :meth:`run`, whatever it has raised."""

    # -- what the call says

    @property
    def as_json(self) -> bool:
        """Whether ``--json`` was given: print JSON and nothing else."""
        return self._invocation.as_json

    @property
    def quiet(self) -> bool:
        """Whether ``--quiet`` was given."""
        return self._invocation.quiet

    @property
    def debug(self) -> bool:
        """Whether ``--debug`` was given."""
        return self._invocation.debug

    # -- what is printed

    def say(self, message: Any = "", file: IO[Any] | None = None, err: bool = False, **options: Any) -> None:
        """Print a message, unless ``--quiet`` was given.

        Args:
            message: what to print.
            file: where to; standard output when left out.
            err: print it on standard error.
            options: more of ``click.echo``, such as ``nl=False``.
        """
        if not self.quiet:
            click.echo(message, file=file, err=err, **options)

    def carp(self, message: Any = "", file: IO[Any] | None = None, err: bool = True, **options: Any) -> None:
        """Print a message on standard error when ``--debug`` was given; the arguments are those of :meth:`say`."""
        if self.debug:
            self.say(message, file=file, err=err, **options)

    def abort(self, message: str, code: int = 1) -> None:
        """End the command with an error message and an exit code. It raises, so nothing after it is done."""
        raise _AbortedError(message, code)

    def dumps(self, value: Any) -> str:
        """Return a value as one line of JSON."""
        return json_dumps(value).decode()

    def tabulate(self, data: Sequence[Sequence[Any]], headers: Sequence[str] | None = None, title: str = "") -> str:
        """Return rows as a table, or, when ``--json`` was given, as JSON: a list of objects, of lists where there are no headers.

        Args:
            data: the rows, all of one length.
            headers: names of the columns.
            title: stands in the upper edge.
        """
        if self.as_json:
            return self.dumps([dict(zip(headers, row, strict=True)) if headers else list(row) for row in data])
        return format_table(title, headers, [[str(cell) for cell in row] for row in data]).removesuffix("\n")

    table = tabulate

    def color(self, name: str, text: str) -> str:
        """Return a text in a colour, such as ``red``; the colour is left out where no terminal is written to."""
        return click.style(text, fg=name)

    def bold(self, text: str) -> str:
        """Return a bold text."""
        return click.style(text, bold=True)

    def dark(self, text: str) -> str:
        """Return a text that stands back."""
        return click.style(text, dim=True)

    # -- how it is called

    @classmethod
    def as_click_command(cls) -> click.Command:
        """Return it as a command of click, for a group of your own or an entry point of the group ``stream.commands``.

        Raises:
            ConfigurationError: :meth:`run` does not take what the options give.
        """

        def call(context: click.Context, /, **options: Any) -> None:
            cls(context)._call(options)

        parameters = _parameters(cls.options)
        cls._check([parameter.name or "" for parameter in parameters])
        if all("--json" not in parameter.opts for parameter in parameters):
            parameters += _parameters((json_option,))
        name = cls.name or re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", cls.__name__).replace("_", "-").lower()
        text = inspect.cleandoc(cls.__doc__ or cls.run.__doc__ or "")
        return click.Command(name, params=parameters, callback=click.pass_context(call), help=text)

    @classmethod
    def _check(cls, names: Sequence[str]) -> None:
        signature, given_by_options = inspect.signature(cls.run), dict.fromkeys(names)
        try:
            if isinstance(inspect.getattr_static(cls, "run"), staticmethod):
                signature.bind(**given_by_options)
            else:
                signature.bind(None, **given_by_options)
        except TypeError as error:
            given = ", ".join(names) or "none"
            raise ConfigurationError(
                f"the command {cls.__name__} does not take what its options give ({error}): name its parameters like these: {given}"
            ) from None

    def _call(self, options: Mapping[str, Any]) -> None:
        """Run it, and end the process with the right code when it has failed, in the words of whoever is to blame."""
        try:
            if inspect.iscoroutinefunction(self.run):
                with asyncio.Runner(loop_factory=loop_factory(self._invocation.loop)) as runner:
                    code = runner.run(self._until_signal(options))
                self.context.exit(code)
            else:
                self.run(**options)
        except (StreamError, click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            if isinstance(error, OSError) and is_of_output(error):
                raise  # nobody reads what is printed: no fault of the user's code
            error.__traceback__ = _of_users(error.__traceback__)
            click.echo("".join(traceback.format_exception(error)), err=True, nl=False)
            self.context.exit(1)

    async def _until_signal(self, options: Mapping[str, Any]) -> int:
        """Run until it is done; SIGTERM cancels it, so that what it has begun is cleaned up. Returns the exit code."""
        loop, ended = asyncio.get_running_loop(), []
        work = asyncio.create_task(self._whole(options), name=f"command {type(self).__name__}")

        def end(number: int) -> None:
            ended.append(number)
            work.cancel()

        for number in (signal.SIGTERM, signal.SIGINT) if self.daemon else (signal.SIGTERM,):
            loop.add_signal_handler(number, end, number)
        try:
            await work
        except asyncio.CancelledError:
            if not ended:
                raise
        finally:
            for number in (signal.SIGTERM, signal.SIGINT) if self.daemon else (signal.SIGTERM,):
                loop.remove_signal_handler(number)
        return 128 + ended[0] if ended and not self.daemon else 0

    async def _whole(self, options: Mapping[str, Any]) -> None:
        await self.execute(**options)
        if self.daemon:
            await asyncio.Event().wait()


class _AbortedError(click.ClickException):
    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.exit_code = code  # type: ignore[misc]  # click has it on the class


class AppCommand(Command):
    """A command of an app. What it sends or asks goes out by a client of the app, which starts with the first of it.

    Args:
        context: of the call, as click has it.

    Attributes:
        require_app: whether the command needs an app; if not, :attr:`app` is ``None`` where none is given.
        timeout: seconds that the client waits for the broker when it starts.
    """

    require_app: ClassVar[bool] = True
    timeout: ClassVar[float] = TIMEOUT

    def __init__(self, context: click.Context) -> None:
        super().__init__(context)
        given = self.require_app or self._invocation.has_app
        self.app: Any = self._invocation.whole_app() if given else None
        """The app."""

    @classmethod
    def from_handler(cls, *options: Callable[[Any], Any], **attributes: Any) -> Callable[[Any], type[AppCommand]]:
        """Make a command of a function: a decorator.

        Args:
            options: its options and arguments.
            attributes: of the class that is made.
        """

        def make(body: Any) -> type[AppCommand]:
            names = {parameter.name for parameter in _parameters(options)}
            first = next(iter(inspect.signature(body).parameters.values()), None)
            takes_command = isinstance(body, FunctionType) and first is not None and first.name not in names
            inside = {
                "run": body if takes_command else staticmethod(body),
                "options": options,
                "__doc__": body.__doc__,
                "__module__": body.__module__,
            }
            return cast(
                "type[AppCommand]", type(getattr(body, "__name__", "command"), (cls,), {**inside, **attributes})
            )

        return make

    async def execute(self, *args: Any, **options: Any) -> Any:
        """Call an async :meth:`run`, and stop after it the client that it has made necessary."""
        lock, waiting = asyncio.Lock(), [] if self.app is None else [self.app]
        ends = (asyncio.CancelledError,) if self.daemon else ()

        async def start() -> None:
            async with lock:  # whoever comes second waits for the client, too
                if waiting:
                    await stack.enter_async_context(client(waiting[0], self.timeout, ends))
                    waiting.clear()

        async with AsyncExitStack() as stack:
            stack.enter_context(starting_when_needed(start))
            return await super().execute(*args, **options)

    # -- what is typed

    def to_key(self, type_: Any, text: str) -> Any:
        """Return the key that ``text`` says, of a type (or the name of one), as :meth:`to_model`."""
        return self.to_model(type_, text)

    def to_value(self, type_: Any, text: str) -> Any:
        """Return the value that ``text`` says, of a type (or the name of one), as :meth:`to_model`."""
        return self.to_model(type_, text)

    def to_model(self, type_: Any, text: str) -> Any:
        """Return what ``text`` says: numbers, dates and ``str`` as one would say them, everything else as JSON.

        Args:
            type_: a type, or the name of one as ``stream send --value-type`` takes it.
            text: what was typed.

        Raises:
            ValidationError: it does not fit.
            ConfigurationError: there is no type of that name.
        """
        return decode_text(type_, text)

    def to_topic(self, entity: str) -> Any:
        """Return a topic by its name, or that of an agent, as ``@name``. Raises ConfigurationError when there is no such agent."""
        if entity.startswith("@"):
            return self.app.agents[full_name(entity[1:], self.app.agents)].topic
        return self.app.topics.get(entity) or self.app.topic(entity)


def commands_of(app: Application) -> dict[str, click.Command]:
    """Return the commands that an app adds, by the first word that is typed; groups have those below them.

    Raises:
        ConfigurationError: one of them cannot be a command.
    """
    found: dict[str, click.Command] = {}
    for typed, definition in app.commands.items():
        group, _, name = typed.rpartition(" ")
        made = _made(definition, name)
        if not group:
            found[name] = made
            continue
        below = found.setdefault(group, click.Group(group, help=f"Commands of {group}."))
        if not isinstance(below, click.Group):
            raise ConfigurationError(
                f"app {app.id} has a command {group!r} and a group of that name: rename one of them"
            )
        below.add_command(made, name)
    return found


def _made(definition: Any, name: str) -> click.Command:
    body = definition.body
    if isinstance(body, click.Command):
        return body
    if isinstance(body, type):
        if not issubclass(body, Command):
            raise ConfigurationError(
                f"the command {name!r} is {body!r}, which is not a subclass of faust.cli.AppCommand"
            )
        made = type(
            body.__name__, (body,), {"__doc__": body.__doc__, "__module__": body.__module__, **definition.attributes}
        )
        command = cast("type[Command]", made).as_click_command()
    else:
        base = definition.base or AppCommand
        if not issubclass(base, AppCommand):
            raise ConfigurationError(f"base={base!r} of the command {name!r} is not a subclass of faust.cli.AppCommand")
        command = base.from_handler(*definition.options, **definition.attributes)(body).as_click_command()
    command.name = name
    return command


def _parameters(options: Sequence[Callable[[Any], Any]]) -> list[click.Parameter]:
    """Return the parameters that decorators of click describe, in their order."""

    def carrier() -> None: ...

    for each in options:
        each(carrier)
    return list(getattr(carrier, "__click_params__", ()))


def _of_users(frames: TracebackType | None) -> TracebackType | None:
    """Leave out the frames of this package and of the event loop that stand in front of the user's."""
    first = frames
    while first is not None and (
        (file := first.tb_frame.f_code.co_filename).startswith(_OURS) or not _LOOPS.isdisjoint(Path(file).parts)
    ):
        first = first.tb_next
    return first or frames
