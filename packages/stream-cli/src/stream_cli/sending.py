"""Send records to one topic, as a client of the app: neither its agents nor its web server run."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from threading import Semaphore, Thread
from typing import BinaryIO

import click

from stream_cli.clients import client, deadline
from stream_cli.locate import Application
from stream_cli.names import suggest
from stream_core.errors import EncodeError, UnknownTopicError
from stream_core.primitives import RecordMetadata
from stream_core.sending.topic import Topic
from stream_core.values.schemas import Schema

__all__ = ["Sending", "lines"]

WINDOW = 1000
"""Records that may wait for their acknowledgements."""


@dataclass(frozen=True)
class Sending:
    """Where records go, and how.

    Attributes:
        app: the app whose broker it is.
        topic: name of the topic.
        key: the key of all of them.
        partition: the partition; ``None`` to choose it by the key.
        pause: least and greatest seconds between two records.
        timeout: seconds to wait for the broker, at start and for each acknowledgement.
        show: told where each record is.
        by_line: the values are lines: what is wrong with one of them names its line.
    """

    app: Application
    topic: str
    key: bytes | None
    partition: int | None
    pause: tuple[float, float]
    timeout: float
    show: Callable[[RecordMetadata], None]
    by_line: bool = False

    async def run(self, values: AsyncIterable[bytes | None]) -> None:
        """Send these values, and return when all of them are acknowledged.

        Raises:
            BrokerUnavailableError: no broker answered in time.
            DeadlineError: the broker did not acknowledge a record in time.
            UnknownTopicError: there is no such topic.
            EncodeError: the broker refused a record, or the topic has no such partition.
            click.ClickException: the values could not be read any further.
        """
        async with client(self.app, self.timeout):
            await self._require_topic()
            sent: asyncio.Queue[Awaitable[RecordMetadata] | None] = asyncio.Queue(WINDOW)
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._report(sent))
                    sending = group.create_task(self._send(values, sent))
            except BaseExceptionGroup as errors:
                raise errors.exceptions[0] from None
            if problem := sending.result():
                raise problem

    async def _require_topic(self) -> None:
        async with deadline(
            self.timeout, f"the broker did not say within {self.timeout:g} s whether topic {self.topic} exists"
        ):
            found = await self.app.engine.clients.admin.describe([self.topic])
        if self.topic not in found:
            hint = (
                suggest(self.topic, self.app.topics) or "a topic that the app describes is created when it is missing"
            )
            raise UnknownTopicError(f"topic {self.topic} is not on the broker, and not of this app; {hint}")

    async def _send(
        self, values: AsyncIterable[bytes | None], sent: asyncio.Queue[Awaitable[RecordMetadata] | None]
    ) -> EncodeError | click.ClickException | None:
        """Send all values up to the first that cannot be sent, or read, and return its error: those before it are reported first."""
        topic: Topic[bytes, bytes] = Topic(self.topic, schema=Schema(bytes, bytes))  # what comes is encoded already
        topic.bind(self.app.engine.run, self.app.engine.outbox)
        problem: EncodeError | click.ClickException | None = None
        number = 1
        try:
            async for value in values:
                if number > 1 and self.pause[1] > 0:
                    await asyncio.sleep(random.uniform(*self.pause))
                async with deadline(
                    self.timeout, f"topic {self.topic}: the broker took nothing more for {self.timeout:g} s"
                ):
                    waiting = await topic.send(value, key=self.key, partition=self.partition)
                await sent.put(waiting)
                number += 1
        except EncodeError as error:
            problem = self._of_line(number, error)
        except click.ClickException as error:
            problem = error
        await sent.put(None)
        return problem

    async def _report(self, sent: asyncio.Queue[Awaitable[RecordMetadata] | None]) -> None:
        number = 1
        while (waiting := await sent.get()) is not None:
            message = f"topic {self.topic}: the record was not acknowledged within {self.timeout:g} s; it may be there all the same"
            try:
                async with deadline(self.timeout, message):
                    metadata = await waiting
            except EncodeError as error:
                raise self._of_line(number, error) from error
            self.show(metadata)
            number += 1

    def _of_line(self, number: int, error: EncodeError) -> EncodeError:
        return EncodeError(f"line {number}: {error}", error.topic) if self.by_line else error


async def lines(stream: BinaryIO) -> AsyncIterator[bytes]:
    """Give the lines of standard input without their ends, as they come; the thread that reads them keeps no program from ending.

    Raises:
        click.ClickException: it cannot be read; after the lines that came before.
    """
    loop = asyncio.get_running_loop()
    read: asyncio.Queue[bytes | OSError | None] = asyncio.Queue()
    room = Semaphore(WINDOW)

    def pump() -> None:
        end: OSError | None = None
        with suppress(RuntimeError):  # the loop is closed: nobody wants the rest
            try:
                for line in stream:
                    room.acquire()
                    loop.call_soon_threadsafe(read.put_nowait, line.removesuffix(b"\n").removesuffix(b"\r"))
            except OSError as error:
                end = error
            loop.call_soon_threadsafe(read.put_nowait, end)

    Thread(target=pump, name="standard input", daemon=True).start()
    while isinstance(line := await read.get(), bytes):
        room.release()
        yield line
    if line is not None:
        raise click.ClickException(f"standard input cannot be read: {line.strerror or line}")
