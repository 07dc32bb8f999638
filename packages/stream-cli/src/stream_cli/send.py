"""The command ``send``: a record, or some, to an agent or a topic."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import AsyncIterator
from typing import Any, BinaryIO

import click

from stream_cli.clients import tell_private, timeout_option
from stream_cli.context import Invocation, json_option, pass_invocation
from stream_cli.locate import Application
from stream_cli.names import complete_agents_and_topics, full_name, short_name
from stream_cli.output import moment, print_json
from stream_cli.sending import Sending, lines
from stream_cli.texts import TextEncoder
from stream_cli.times import Seconds
from stream_core.errors import ConfigurationError
from stream_core.event_loops import loop_factory
from stream_core.primitives import RecordMetadata
from stream_core.sending.several import TopicGroup
from stream_core.sending.topic import AnyTopic, Topic
from stream_core.streams.channel import Channel
from stream_core.values.schemas import Schema

__all__ = ["send"]


@click.command()
@click.argument("entity", shell_complete=complete_agents_and_topics)
@click.argument("value", required=False)
@click.option("-k", "--key", help="The key; it chooses the partition.  [default: none]")
@click.option("-K", "--key-type", metavar="TYPE", help="Check the key against this type.  [default: the topic's]")
@click.option("-V", "--value-type", metavar="TYPE", help="Check the value against this type.  [default: the topic's]")
@click.option("--key-serializer", metavar="CODEC", help="Encode the key with this codec.  [default: the topic's]")
@click.option("--value-serializer", metavar="CODEC", help="Encode the value with this codec.  [default: the topic's]")
@click.option("--partition", type=click.IntRange(min=0), help="The partition.  [default: by the key]")
@click.option("-r", "--repeat", type=click.IntRange(min=1), default=1, show_default=True, help="Send it so many times.")
@click.option("--min-latency", type=Seconds(), default=0.0, help="Least seconds between two records.  [default: 0]")
@click.option("--max-latency", type=Seconds(), default=0.0, help="Most seconds between two records.  [default: 0]")
@timeout_option
@json_option
@pass_invocation
def send(invocation: Invocation, /, entity: str, value: str | None, repeat: int, **options: Any) -> None:
    """Send VALUE to ENTITY, and print where it is.

    ENTITY is an agent, as "stream agents" names it (@count), or a topic. Without VALUE the record has none, which deletes its key
    from a compacted topic; - sends each line of the standard input.

    Text is sent as it is. If the topic has a type, or you name one, the text is checked first: numbers, dates and str as you would
    say them, anything else as JSON. TYPE is a record class of the app (Deposit), module.Class, str, int, float, bool or bytes.
    A VALUE that begins with - stands after --.

    \b
    Examples:
      stream -A bank send @count hello
      stream -A bank send deposits '{"account": "joe", "amount": 5}' --key joe
      stream -A bank send deposits '{"account": "joe", "amount": 5}' -k joe --repeat 10 --max-latency 0.5
      stream -A bank send deposits '{"amount":' --value-serializer raw      # not checked
      stream -A bank send numbers -- -5
      stream -A bank send deposits - < deposits.jsonl
      stream -A bank send totals --key joe                                  # no value
    """
    if value == "-" and repeat > 1:
        raise click.UsageError("--repeat sends one value again; the lines of the standard input come once")
    # What fails is said once, as the error of the command.
    logging.basicConfig(level=logging.DEBUG if invocation.debug else logging.CRITICAL)
    app = invocation.whole_app()
    topic, schema = _find_topic(app, entity)
    if value is None and options["key"] is None and schema.value_type is not None:
        raise click.UsageError("VALUE is missing; a record without one deletes its key: name that with --key")
    key = TextEncoder("key", schema, options["key_type"], options["key_serializer"])
    values = TextEncoder("value", schema, options["value_type"], options["value_serializer"])
    least, most = options["min_latency"], options["max_latency"]
    sending = Sending(
        app,
        topic,
        None if options["key"] is None else key.encode(options["key"]),
        options["partition"],
        pause=(least, max(least, most)),
        timeout=options["timeout"],
        show=lambda metadata: _show(invocation, metadata),
        by_line=value == "-",
    )
    source = (
        _lines_of_input(values) if value == "-" else _repeated(None if value is None else values.encode(value), repeat)
    )
    tell_private(invocation, app, "nobody else gets this")
    with asyncio.Runner(loop_factory=loop_factory(invocation.loop)) as runner:
        runner.run(sending.run(source))


def _find_topic(app: Application, entity: str) -> tuple[str, Schema]:
    """Return the name and the schema of the topic that is meant."""
    conf = app.conf
    if not entity.startswith("@"):
        if known := app.topics.get(entity):
            return known.name, known.schema
        for name in app.agents:
            if entity in (name, name.rpartition(".")[2]):
                raise ConfigurationError(
                    f"the app describes no topic {entity}; its agent is {short_name(name, app.agents)}"
                )
        schema = Schema(key_default=conf.key_serializer, value_default=conf.value_serializer)
        return Topic(entity, schema=schema).name, schema
    name = full_name(entity[1:], app.agents)
    read: AnyTopic | Channel[Any, Any] = app.agents[name].topic
    if isinstance(read, Channel):
        raise ConfigurationError(
            f"agent {name} reads the channel {read}, which is in the memory of its worker; only the program itself sends to it"
        )
    if isinstance(read, TopicGroup):
        raise ConfigurationError(f"agent {name} reads several topics, {read}: send to one of them")
    return read.name, read.schema


async def _repeated(value: bytes | None, times: int) -> AsyncIterator[bytes | None]:
    for _ in range(times):
        yield value


async def _lines_of_input(encoder: TextEncoder) -> AsyncIterator[bytes | None]:
    async for line in lines(_standard_input()):
        yield encoder.encode(os.fsdecode(line))


def _standard_input() -> BinaryIO:
    """Return standard input in a buffer of its own, which the end of the program leaves alone: a thread may be waiting in it then."""
    try:
        return open(sys.stdin.fileno(), "rb", closefd=False)
    except OSError:  # it is not a file
        return sys.stdin.buffer


def _show(invocation: Invocation, metadata: RecordMetadata) -> None:
    place = f"topic={metadata.topic} partition={metadata.partition} offset={metadata.offset}"
    try:
        if invocation.as_json:
            print_json(metadata._asdict())
        elif not invocation.quiet:
            said = f" timestamp={moment(metadata.timestamp)}" if metadata.timestamp >= 0 else ""
            click.echo(f"{place}{said}")
    except OSError as error:
        error.add_note(f"the record is sent: {place}")
        raise
