"""Commands that an app adds to its command line."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

import stream_app as faust
from stream_app.cli import AppCommand, Command, argument, call_command, option
from stream_cli.main import cli
from stream_core.errors import BrokerUnavailableError, ConfigurationError, NoReplyError
from stream_core.memory import MemoryCluster
from stream_core.primitives import TP, TopicSpec


@pytest.fixture
def app(tmp_path: Path) -> Iterator[faust.App]:
    """An app on a broker in this process."""
    yield faust.App("shop", broker="memory://commands", datadir=tmp_path, web_enabled=False)
    MemoryCluster.discard("commands")


def run(app: faust.App, *arguments: str) -> Result:
    """Run the program of an app."""
    return CliRunner().invoke(cli, arguments, obj=app, prog_name="shop")


def test_a_function_is_a_command(app: faust.App) -> None:
    """The name has dashes, the docstring is the help, and the function stays what it is."""

    @app.command()
    async def show_all() -> None:
        """Show all of it."""
        print("SHOWN")

    assert run(app, "show-all").output == "SHOWN\n"
    assert "Show all of it." in run(app, "show-all", "--help").output
    assert "  show-all " in run(app, "--help").output
    assert asyncio.iscoroutinefunction(show_all)


def test_options_and_arguments_are_parameters(app: faust.App) -> None:
    """They come by their names, in the order of the help; the command itself is the parameter in front."""

    @app.command(argument("account"), option("--amount", type=int, default=1, help="How much."))
    async def deposit(self: AppCommand, account: str, amount: int) -> None:
        self.say(f"{self.app.id}: {amount} for {account}")

    @app.command(argument("first"), argument("second"))
    def pair(first: str, second: str) -> None:
        print(first, second)

    assert run(app, "deposit", "joe", "--amount", "3").output == "shop: 3 for joe\n"
    assert "How much.  [default: 1]" in run(app, "deposit", "--help").output
    assert run(app, "pair", "a", "b").output == "a b\n"


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (("deposit", "--amuont", "1"), "No such option '--amuont'. Did you mean '--amount'?"),
        (("deposit", "--amount", "many"), "'many' is not a valid integer"),
        (("deposit", "joe"), "unexpected extra argument"),
        (("depsit",), "Did you mean 'deposit'?"),
    ],
)
def test_what_is_typed_wrong_ends_with_two(app: faust.App, typed: tuple[str, ...], said: str) -> None:
    """A wrong option, value, argument or name is answered in a sentence, and the exit code is 2."""

    @app.command(option("--amount", type=int))
    def deposit(amount: int) -> None:
        raise AssertionError("it must not be called")

    result = run(app, *typed)
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in " ".join(result.stderr.split())


def test_a_command_sends_by_a_client(app: faust.App) -> None:
    """The first send starts a client, which is stopped behind the function, when all is acknowledged; also of many sends at once."""
    topic = app.topic("deposits", value_type=int, partitions=1)

    @app.command()
    async def deposit() -> None:
        await asyncio.gather(*(topic.send(number) for number in range(3)))
        await app.send("deposits", value=3)

    result = run(app, "deposit")
    assert (result.exit_code, result.output) == (0, "")
    log = MemoryCluster.named("commands").log(TP("deposits", 0))
    assert len(log) == 4
    assert not app.running


def test_a_command_without_sends_needs_no_broker(tmp_path: Path) -> None:
    """Nothing is asked of a broker until something is sent; without one that is a sentence."""
    app = faust.App("shop", broker="kafka://127.0.0.1:1", datadir=tmp_path)
    topic = app.topic("deposits", value_type=int, partitions=1)

    @app.command(option("--send", is_flag=True))
    async def look(send: bool) -> None:
        print("LOOKED")
        if send:
            await topic.send(1)
            print("SENT")

    assert run(app, "look").output == "LOOKED\n"
    result = run(app, "look", "--send")
    assert (result.exit_code, result.stdout) == (1, "LOOKED\n")
    assert "127.0.0.1:1" in result.stderr
    assert result.stderr.startswith("Error: ")
    assert "Traceback" not in result.stderr


def test_a_broker_that_does_not_answer_has_a_deadline(tmp_path: Path) -> None:
    """A client that cannot start in time is given up, in a sentence."""

    class Impatient(AppCommand):
        """It waits for a short time."""

        timeout = 0.05

        async def run(self) -> None:
            await self.app.send("deposits", value=1)

    with socket.create_server(("127.0.0.1", 0)) as silent:
        app = faust.App("shop", broker=f"kafka://127.0.0.1:{silent.getsockname()[1]}", datadir=tmp_path)
        app.command()(Impatient)
        result = run(app, "impatient")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "no broker answered within 0.05 s" in result.stderr


class Watched(faust.App):
    """An app whose stop tells how long it may take."""

    stopped_within = 0.0

    async def stop(self) -> None:
        if self.running:
            self.stopped_within = self.engine.stop_timeout
        await super().stop()


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    """Such an app, on a broker in this process."""
    yield Watched("shop", broker="memory://commands", datadir=tmp_path, web_enabled=False)
    MemoryCluster.discard("commands")


@pytest.mark.parametrize(
    ("error", "code", "seconds"),
    [
        (None, 0, 25.0),
        (click.exceptions.Exit(3), 3, 25.0),
        (SystemExit(3), 3, 25.0),
        (NoReplyError("nobody has answered"), 1, 1.0),
        (BrokerUnavailableError("no broker"), 1, 1.0),
        (click.exceptions.Exit(0), 0, 25.0),
        (click.ClickException("there is no money"), 1, 25.0),
        (ValueError("many"), 1, 25.0),
    ],
)
def test_who_waits_for_what_a_command_has_sent(
    watched: Watched, error: BaseException | None, code: int, seconds: float
) -> None:
    """Each delivers what it has sent, unless the broker was silent: whoever has waited for it is not to wait once more."""
    topic = watched.topic("deposits", value_type=int, partitions=1)

    @watched.command()
    async def deposit() -> None:
        await topic.send(1)
        if error is not None:
            raise error

    assert run(watched, "deposit").exit_code == code
    assert watched.stopped_within == seconds


@pytest.mark.parametrize(("daemon", "code", "seconds"), [(True, 0, 25.0), (False, 128 + signal.SIGTERM, 1.0)])
def test_a_daemon_delivers_what_it_has_sent(watched: Watched, daemon: bool, code: int, seconds: float) -> None:
    """A signal is how it ends; other commands are interrupted by one."""
    topic = watched.topic("deposits", value_type=int, partitions=1)

    @watched.command(daemon=daemon)
    async def deposit() -> None:
        await topic.send(1)
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.Event().wait()

    assert run(watched, "deposit").exit_code == code
    assert watched.stopped_within == seconds


@pytest.mark.parametrize("end", [None, SystemExit(0), SystemExit(), click.exceptions.Exit(0)])
def test_a_command_whose_sends_are_not_acknowledged(watched: Watched, end: BaseException | None) -> None:
    """It has not done what it says, also where it says that by an exit code."""
    cluster, tp = MemoryCluster.named("commands"), TP("deposits", 0)
    cluster.create(TopicSpec(tp.topic, 1))
    cluster.faults.pause_acks(tp)
    topic = watched.topic(tp.topic, value_type=int, partitions=1)

    @watched.command()
    async def deposit() -> None:
        await topic.send(1)
        await topic.send(2)
        watched.engine.stop_timeout = 1.0
        if end is not None:
            raise end

    result = run(watched, "deposit")
    assert result.exit_code == 1
    assert (
        result.stderr.splitlines()[-1] == "Error: not all that was sent is acknowledged: 2 of the records may be lost"
    )


def test_what_a_command_raises_is_shown_from_its_own_line_on(app: faust.App) -> None:
    """The traceback begins in the code of the user, and the exit code is 1; so with plain and with async functions."""

    def fails() -> None:
        raise ValueError("no such account")

    async def fails_too() -> None:
        fails()

    for body in (fails, fails_too):
        app.command()(body)
    for name in ("fails", "fails-too"):
        result = run(app, name)
        assert result.exit_code == 1
        assert result.stderr.splitlines()[0] == "Traceback (most recent call last):"
        assert __file__ in result.stderr.splitlines()[1]
        assert "stream_cli" not in result.stderr
        assert result.stderr.splitlines()[-1] == "ValueError: no such account"


@pytest.mark.parametrize("buffering", [-1, 0], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize("name", ["plain", "waiting"])
def test_nobody_reads_what_is_printed(app: faust.App, name: str, buffering: int) -> None:
    """As behind ``| head -1``: the command ends quietly, as all programs do there."""

    @app.command()
    def plain(self: AppCommand) -> None:
        self.say("hello")

    @app.command()
    async def waiting(self: AppCommand) -> None:
        self.say("hello")

    reader, writer = os.pipe()
    os.close(reader)
    with suppress(OSError), io.TextIOWrapper(open(writer, "wb", buffering), write_through=not buffering) as pipe:
        code, _, errors = call_command(name, app=app, stdout=pipe)
    assert isinstance(errors, io.StringIO)
    assert (code, errors.getvalue()) == (1, "")


def test_a_pipe_of_the_command_itself(app: faust.App) -> None:
    """One that breaks is an error as any other."""

    @app.command()
    def write() -> None:
        reader, writer = os.pipe()
        os.close(reader)
        try:
            os.write(writer, b"hello")
        finally:
            os.close(writer)

    result = run(app, "write")
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == "BrokenPipeError: [Errno 32] Broken pipe"


def test_an_error_of_ours_is_a_sentence(app: faust.App) -> None:
    """What Stream raises on purpose says all; a command ends itself with a message and a code."""

    @app.command()
    async def misses() -> None:
        raise ConfigurationError("there is no account")

    @app.command()
    async def gives_up(self: AppCommand) -> None:
        self.abort("there is no money", code=7)

    missed = run(app, "misses")
    assert (missed.exit_code, missed.stderr) == (1, "Error: there is no account\n")
    given_up = run(app, "gives-up")
    assert (given_up.exit_code, given_up.stderr) == (7, "Error: there is no money\n")


class Totals(AppCommand):
    """Show totals."""

    options = (argument("names", nargs=-1),)

    async def run(self, names: tuple[str, ...]) -> None:
        """Show those of some names."""
        self.say(self.tabulate([(name, len(name)) for name in names], headers=["name", "size"], title="Totals"))
        self.carp("all are shown")

    async def on_stop(self) -> None:
        """Say so."""
        self.carp("stopped")


def test_a_class_is_a_command(app: faust.App) -> None:
    """Its tables are JSON with ``--json``; what it carps is seen with ``--debug``."""
    app.command()(Totals)
    assert run(app, "totals", "joe").output.splitlines() == [
        "┌Totals┬──────┐",
        "│ name │ size │",
        "├──────┼──────┤",
        "│ joe  │ 3    │",
        "└──────┴──────┘",
    ]
    assert json.loads(run(app, "totals", "joe", "--json").output) == [{"name": "joe", "size": 3}]
    assert run(app, "--debug", "totals", "--json").stderr == "all are shown\nstopped\n"
    assert run(app, "-q", "totals", "joe").output == ""


def test_a_class_of_ones_own_is_the_base(app: faust.App) -> None:
    """``base`` is what functions become commands of, and attributes are given to it."""

    class Greeting(AppCommand):
        word = ""

        async def execute(self, *args: Any, **options: Any) -> Any:
            self.say(self.word)
            return await super().execute(*args, **options)

    @app.command(base=Greeting, word="hello")
    async def greet(self: Greeting) -> None:
        self.say(self.bold("you"))

    assert run(app, "greet").output == "hello\nyou\n"


def test_commands_in_groups(app: faust.App) -> None:
    """A group is made by its name; commands and groups of click are taken as they are."""

    @app.command(group="users")
    def add() -> None:
        """Add one."""
        print("ADDED")

    @app.command()
    @click.group()
    def orders() -> None:
        """What was bought."""

    @orders.command()
    def cancel() -> None:
        print("CANCELLED")

    assert run(app, "users", "add").output == "ADDED\n"
    assert "  add  Add one." in run(app, "users", "--help").output
    assert run(app, "orders", "cancel").output == "CANCELLED\n"
    assert run(app, "users", "ad").exit_code == 2


def test_a_daemon_goes_on_until_it_is_told_to_stop(app: faust.App) -> None:
    """It goes on when its function has returned, and ends with 0 by a signal; the command cleans up."""

    class Clock(AppCommand):
        daemon = True

        async def run(self) -> None:
            self.say("running")
            asyncio.get_running_loop().call_soon(os.kill, os.getpid(), signal.SIGTERM)

        async def on_stop(self) -> None:
            self.say("stopped")

    app.command()(Clock)
    result = run(app, "clock")
    assert (result.exit_code, result.output) == (0, "running\nstopped\n")


def test_sigterm_cancels_a_command(app: faust.App) -> None:
    """What it has begun is cleaned up, and the exit code is that of the signal."""

    @app.command()
    async def work() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        try:
            await asyncio.Event().wait()
        finally:
            print("CLEAN")

    result = run(app, "work")
    assert (result.exit_code, result.output) == (128 + signal.SIGTERM, "CLEAN\n")


@pytest.mark.parametrize("name", ["worker", "tables"])
def test_a_name_of_the_program_is_refused(app: faust.App, name: str) -> None:
    """A command that the program has itself cannot be added: each command says so."""
    app.command(name=name)(lambda: None)
    for typed in ((name,), ("agents",)):
        result = run(app, *typed)
        assert result.exit_code == 1
        assert f"app shop adds the command '{name}', which the program has itself" in result.stderr


def test_what_cannot_be_a_command_is_refused_where_it_is_defined(app: faust.App) -> None:
    """A name that is taken, a generator, and what cannot be called."""
    app.command(name="look")(lambda: None)
    with pytest.raises(ConfigurationError, match="has a command 'look' already"):
        app.command()(click.Command("look"))

    async def numbers() -> Any:
        yield 1

    for wrong in (numbers, 5):
        with pytest.raises(ConfigurationError, match="cannot be a command"):
            app.command(name="wrong")(wrong)  # type: ignore[type-var]
    with pytest.raises(ConfigurationError, match="cannot be typed"):
        app.command(name="a b")(print)


def test_an_option_that_the_function_does_not_take(app: faust.App) -> None:
    """It is said before anything is called, with the names."""

    @app.command(option("--amount"))
    def deposit() -> None:
        raise AssertionError("it must not be called")

    result = run(app, "deposit")
    assert result.exit_code == 1
    assert "the command deposit does not take what its options give" in result.stderr
    assert "amount" in result.stderr


def test_methods_partials_and_bare_decorators(app: faust.App) -> None:
    """Whatever can be called is a command; ``@app.command`` needs no parentheses."""

    class Desk:
        def method(self) -> None:
            print("METHOD")

    app.command()(Desk().method)
    app.command(name="part")(partial(print, "PARTIAL"))

    @app.command
    async def bare() -> None:
        print("BARE")

    assert [run(app, name).output for name in ("method", "part", "bare")] == ["METHOD\n", "PARTIAL\n", "BARE\n"]


def test_types_of_what_is_typed(app: faust.App) -> None:
    """A command reads values as ``send`` does, and finds topics and agents by their names."""

    @app.agent()
    async def count(stream: Any) -> None:
        async for _ in stream:
            pass

    class Pixel(faust.Record):
        x: int

    @app.command()
    def show(self: AppCommand) -> None:
        self.say(self.to_value("Pixel", '{"x": 1}'))
        self.say(self.to_key(int, "5") + 1)
        self.say(self.to_topic("@count") is count.topic)
        self.say(self.to_topic("orders").name)

    assert run(app, "show").output.splitlines() == [str(Pixel(1)), "6", "True", "orders"]


def test_a_command_is_called_from_code(app: faust.App) -> None:
    """``call_command`` returns the exit code and what was printed; ``Command`` needs no app."""

    class Hello(Command):
        """Say hello."""

        def run(self) -> None:
            self.say("hello")

    app.command()(Hello)
    code, out, err = call_command("hello", app=app)
    assert (code, out.read() or out.getvalue(), err.getvalue()) == (0, "hello\n", "")  # type: ignore[attr-defined]
    assert call_command("agents", ["--wrong"], app=app)[0] == 2
    assert CliRunner().invoke(Hello.as_click_command()).output == "hello\n"


def test_an_app_that_cannot_be_imported_leaves_the_help(app: faust.App) -> None:
    """``--help`` lists what there is, and says what is missing."""
    app.conf.autodiscover = ["no_such_project"]
    result = run(app, "--help")
    assert result.exit_code == 0
    assert "  worker " in result.stdout
    assert "The commands of the app are missing from this list: autodiscover: there is no module" in result.stderr


def test_definitions_from_threads(app: faust.App) -> None:
    """Commands may be defined in any thread."""
    threads = [threading.Thread(target=app.command(name=f"c{number}"), args=(print,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(app.commands) == 8


def test_a_module_of_the_project_that_raises(app: faust.App, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The traceback is that of the module, without a frame of ours, and the exit code is 1, whichever command was typed."""
    (tmp_path / "broken_commands.py").write_text("def fail():\n    raise ValueError('broken')\n\n\nfail()\n")
    monkeypatch.syspath_prepend(tmp_path)
    app.conf.autodiscover = ["broken_commands"]
    for typed in (("agents",), ("no-such-command",), ("worker",)):
        result = run(app, *typed)
        assert (result.exit_code, result.stdout) == (1, "")
        said = "Error: autodiscover: the module 'broken_commands' was found, but raised when it was imported:\n"
        assert result.stderr.startswith(said)
        assert result.stderr.count("File ") == result.stderr.count("broken_commands.py") == 2
        assert result.stderr.endswith("ValueError: broken\n")
