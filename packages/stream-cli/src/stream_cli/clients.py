"""Clients of an app: started for one command, with a deadline, and stopped when it ends. Its agents and web server do not run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import click

from stream_cli.context import Invocation
from stream_cli.locate import Application
from stream_cli.times import Seconds
from stream_core.errors import BrokerUnavailableError, DeadlineError, NoReplyError, ProduceError

__all__ = ["TIMEOUT", "client", "deadline", "is_private", "tell_private", "timeout_option", "unavailable"]

TIMEOUT = 30.0
"""Seconds to wait for a broker."""

GIVEN_UP = 1.0
"""Seconds that a stop may take after a command was interrupted, or the broker has not answered it: nobody is to wait for it once more."""

SILENT = (BrokerUnavailableError, DeadlineError, NoReplyError, asyncio.CancelledError, KeyboardInterrupt)
"""What a command ends with then. Whatever else it raises says nothing of the broker, which gets what was sent."""

timeout_option = click.option(
    "--timeout",
    type=Seconds(min_open=True),
    default=TIMEOUT,
    show_default=True,
    help="Seconds to wait for the broker.",
)
"""Decorator for commands that ask a broker."""


@asynccontextmanager
async def client(
    app: Application, timeout: float = TIMEOUT, ends: tuple[type[BaseException], ...] = ()
) -> AsyncIterator[None]:
    """Run the client of ``app`` during a block of code, and deliver behind it what it has sent, unless the broker has been silent.

    Args:
        app: whose client.
        timeout: seconds for the start.
        ends: how the block may be interrupted and is to deliver all the same.

    Raises:
        BrokerUnavailableError: no broker answered in time.
        ProduceError: the block has not failed, also by its exit code, but not all that it has sent was acknowledged.
    """
    try:
        async with asyncio.timeout(timeout):
            await app.start_client(fail_fast=True, timeout=None)
    except TimeoutError as error:
        raise unavailable(timeout) from error
    engine, done = app.engine, None
    try:
        yield
    except (click.exceptions.Exit, SystemExit) as error:
        if error.exit_code if isinstance(error, click.exceptions.Exit) else error.code:
            raise
        done = error
    except SILENT as error:
        if not isinstance(error, ends):
            engine.stop_timeout = GIVEN_UP
        raise
    finally:
        await app.stop()
    if lost := engine.outbox.aside.records.lost:
        raise ProduceError(f"not all that was sent is acknowledged: {lost} of the records may be lost")
    if done is not None:
        raise done


def unavailable(timeout: float) -> BrokerUnavailableError:
    """Make the error of a broker that has not answered for ``timeout`` seconds."""
    return BrokerUnavailableError(
        f"no broker answered within {timeout:g} s; check the setting broker, or start one with `stream broker`"
    )


@asynccontextmanager
async def deadline(timeout: float, message: str) -> AsyncIterator[None]:
    """Raise DeadlineError with a message when a block of code takes longer than ``timeout`` seconds."""
    try:
        async with asyncio.timeout(timeout):
            yield
    except TimeoutError as error:
        raise DeadlineError(message) from error


def is_private(app: Application) -> bool:
    """Tell whether the broker of ``app`` is inside this process."""
    return any(str(url).startswith("memory:") for url in app.conf.broker)


def tell_private(invocation: Invocation, app: Application, what: str) -> None:
    """Say on standard error that a broker in this process is nobody else's, where it is one; then add ``what``."""
    if is_private(app) and not invocation.quiet:
        click.echo(f"The broker memory:// is inside this program and ends with it: {what}.", err=True)
