"""Clients of an app: started for one command, with a deadline, and stopped when it ends. Its agents and web server do not run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import click

from stream_cli.context import Invocation
from stream_cli.locate import Application
from stream_core.errors import BrokerUnavailableError, DeadlineError

__all__ = ["TIMEOUT", "client", "deadline", "is_private", "tell_private", "timeout_option", "unavailable"]

TIMEOUT = 30.0
"""Seconds to wait for a broker."""

SILENT = 1.0
"""Seconds that a stop may take after the broker has not answered in time: whoever waits has waited for it already."""

timeout_option = click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=TIMEOUT,
    show_default=True,
    help="Seconds to wait for the broker.",
)
"""Decorator for commands that ask a broker."""


@asynccontextmanager
async def client(app: Application, timeout: float = TIMEOUT) -> AsyncIterator[None]:
    """Run the client of ``app`` during a block of code. After a DeadlineError in the block it is not waited for what is on its way.

    Raises:
        BrokerUnavailableError: no broker answered in time.
    """
    try:
        async with asyncio.timeout(timeout):
            await app.start_client(fail_fast=True)
    except TimeoutError as error:
        raise unavailable(timeout) from error
    try:
        yield
    except DeadlineError:
        app.engine.stop_timeout = SILENT
        raise
    finally:
        await app.stop()


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
