"""Send the records of dead letters again, and remember which were acknowledged, also when that ends early."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence

import click

from stream_cli.clients import deadline
from stream_cli.cluster import Cluster
from stream_cli.letters import Letter, Letters
from stream_core.errors import ConfigurationError, DeadlineError, StreamError, TransportError, UnknownTopicError
from stream_core.ports import Delivery
from stream_core.primitives import TP

__all__ = ["send_again"]

INTERRUPTED = 5.0
"""Seconds after Ctrl+C in which the broker may still be told what was acknowledged."""


async def send_again(cluster: Cluster, letters: Letters, meant: Sequence[Letter], step: Callable[[], None]) -> None:
    """Send the records of letters to where they came from; those that are acknowledged are done with, whatever becomes of the others.

    Args:
        cluster: has the letters, and gets the records.
        letters: all letters of the topic.
        meant: those to send.
        step: called for each record that is acknowledged.

    Raises:
        ConfigurationError: one of them does not say where its record comes from; nothing was sent.
        UnknownTopicError: a topic that they come from is gone; nothing was sent.
        TransportError: not all were acknowledged, or the broker was not told that they were; the message says which.
    """
    topics = await _sources(cluster, meant)
    sent: list[tuple[Letter, Delivery]] = []
    failure: StreamError | asyncio.CancelledError | None = None
    try:
        await _send(cluster, topics, meant, sent, step)
    except (
        StreamError,
        asyncio.CancelledError,
    ) as error:  # Ctrl+C cancels: what is acknowledged is remembered all the same
        failure = error
    said = [str(failure)] if isinstance(failure, StreamError) else []
    done = [one for one, delivery in sent if delivery.acknowledged()]
    said.append(f"{len(done)} of {len(meant)} records were sent again")
    if doubtful := [one for one, delivery in sent if not delivery.acknowledged()]:
        said.append(f"not acknowledged, and perhaps there all the same: {_ids(doubtful)}")
    timeout = min(cluster.timeout, INTERRUPTED) if isinstance(failure, asyncio.CancelledError) else cluster.timeout
    try:
        await _remember(cluster, letters, done, timeout)
    except (StreamError, asyncio.CancelledError) as error:
        said.append(
            f"that these are done with may be forgotten: {str(error) or 'interrupted'}; so that they are not sent twice, type "
            f"`stream dlq drop --topic {done[0].tp.topic} {_ids(done)}`"
        )
        failure = error if isinstance(error, asyncio.CancelledError) else failure or error
    if isinstance(failure, asyncio.CancelledError):
        click.echo("; ".join(said), err=True)
        raise failure
    if failure is not None:
        raise TransportError("; ".join(said)) from failure


async def _sources(cluster: Cluster, meant: Iterable[Letter]) -> set[str]:
    """Return the topics that records come from, when all of them can be sent there."""
    topics = {_source(one).topic for one in meant}
    async with cluster.answering():
        found = await cluster.admin.describe(topics, config=False)
    if missing := sorted(topics - found.keys()):
        raise UnknownTopicError(
            f"topic {missing[0]}, where some of the records come from, is not on the broker; nothing was sent"
        )
    return topics


async def _send(
    cluster: Cluster,
    topics: Iterable[str],
    meant: Iterable[Letter],
    sent: list[tuple[Letter, Delivery]],
    step: Callable[[], None],
) -> None:
    """Send records, and wait for what becomes of each; raise the first error when all that were sent are decided, or late."""
    failure: StreamError | None = None
    producer = cluster.transport.producer()
    try:
        async with cluster.answering():
            await producer.start()
            for topic in topics:
                await producer.partitions(topic)
        try:
            for one in meant:
                (to, partition), record = _source(one), one.record
                async with deadline(
                    cluster.timeout, f"topic {to}: the broker took nothing more for {cluster.timeout:g} s"
                ):
                    await producer.room()
                sent.append((one, producer.send(to, partition, record.key, record.value, None, one.headers)))
        except StreamError as error:  # those before it are on their way
            failure = error
        for one, delivery in sent:
            to = _source(one).topic
            try:
                async with deadline(
                    cluster.timeout, f"topic {to}: a record was not acknowledged within {cluster.timeout:g} s"
                ):
                    await delivery
                step()
            except DeadlineError as error:  # the next ones would be waited for as long
                failure = failure or error
                break
            except TransportError as error:  # other partitions may take theirs
                failure = failure or error
    finally:
        await producer.stop()
    if failure is not None:
        raise failure


async def _remember(cluster: Cluster, letters: Letters, done: Sequence[Letter], timeout: float) -> None:
    if done:
        async with deadline(timeout, f"the broker did not answer within {timeout:g} s"):
            await letters.finish(cluster, done)


def _source(letter: Letter) -> TP:
    if letter.source is None:
        raise ConfigurationError(
            f"letter {letter.id} of {letter.tp.topic} does not say where its record comes from; nothing was sent"
        )
    return letter.source


def _ids(letters: Iterable[Letter]) -> str:
    return " ".join(one.id for one in letters)
