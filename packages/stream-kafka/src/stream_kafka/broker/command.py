"""The command ``stream broker``: a Kafka in the foreground, until it is told to stop."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

import click

from stream_core.errors import StreamError
from stream_core.signals import StopSignals, stop_signals
from stream_kafka.broker.artifacts import KAFKA_VERSION, VERSIONS
from stream_kafka.broker.properties import is_text
from stream_kafka.broker.server import Broker

__all__ = ["broker"]


class _StopError(Exception):
    """A signal that ends the command has come."""


@click.command(name="broker", epilog="Workers reach it as kafka://localhost:9092, which is their default.")
@click.option(
    "--port",
    default=9092,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="Port for clients; 0 takes a free one.",
)
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Directory that keeps topics and log; the next start goes on with them.  [default: a temporary one, removed at the end]",
)
@click.option("--heap", default="512m", show_default=True, help="Most memory for the Java heap, such as 2g.")
@click.option(
    "--kafka-version",
    "version",
    type=click.Choice(VERSIONS),
    default=KAFKA_VERSION,
    show_default=True,
    help="The version of Kafka: the one of your cluster, to see whether your app works with it.",
)
@click.option(
    "-o", "--property", "properties", multiple=True, metavar="NAME=VALUE", help="Broker property; may be repeated."
)
def broker(port: int, data_dir: Path | None, heap: str, version: str, properties: tuple[str, ...]) -> None:
    """Run a Kafka for development: one node, on this machine only.

    It is the real Apache Kafka, fetched once into your cache directory (about 45 MB); neither Docker nor an installed Java is
    needed. Ctrl+C stops it; a second one ends it at once.

    \b
    Examples:
      stream broker
      stream broker --data-dir kafka-data
      stream broker --kafka-version 3.9.1
      stream broker --port 9192 --property auto.create.topics.enable=true
    """
    given = dict(_name_and_value(text) for text in properties)
    server = Broker(port, data_dir, heap=heap, version=version, properties=given, say=click.echo)
    with suppress(_StopError), _signals_raise():
        try:
            server.start()
            click.echo(_ready_line(server, kept=data_dir is not None))
            server.wait()
            raise click.ClickException(f"Kafka ended by itself; {server.last_lines()}")
        except _StopError:
            click.echo("Stopping")
        except StreamError as error:
            raise click.ClickException(str(error)) from error
        finally:
            _stop(server)


def _stop(server: Broker) -> None:
    """Stop Kafka cleanly; a second signal meanwhile ends it as ``kill -9`` does."""
    try:
        server.stop()
    except _StopError:
        click.echo("Ending at once")
        server.kill()
        server.stop()


def _ready_line(server: Broker, *, kept: bool) -> str:
    data = f"data in {server.data_dir}" if kept else "its data goes with it, --data-dir DIR keeps it"
    return f"Kafka {server.version} is ready at kafka://localhost:{server.port}  (Ctrl+C stops it; {data})"


def _name_and_value(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise click.BadParameter(f"{text!r} is not NAME=VALUE", param_hint="--property")
    if not is_text(text):
        raise click.BadParameter(f"{text!r} has bytes that are no text", param_hint="--property")
    return name.strip(), value.strip()


@contextmanager
def _signals_raise(clock: Callable[[], float] = time.monotonic) -> Iterator[None]:
    """Raise _StopError in the body at the first signal that ends the command, and at a second one; further ones change nothing.

    Args:
        clock: gives seconds that never go back. Signals that come within one of them are one.
    """
    numbers = stop_signals()
    heard = StopSignals(clock)

    def stop(number: int, frame: FrameType | None) -> None:
        match heard.heard():
            case "again":
                return
            case "second":
                for each in numbers:
                    signal.signal(each, signal.SIG_IGN)
        raise _StopError

    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
