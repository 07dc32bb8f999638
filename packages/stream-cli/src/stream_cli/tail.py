"""The command ``tail``: the records of a topic, decoded, as they come."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import click

from stream_cli.clients import tell_private, timeout_option
from stream_cli.cluster import Cluster, run
from stream_cli.context import Invocation, json_option, pass_invocation
from stream_cli.locate import Application
from stream_cli.names import complete_topics, full_name
from stream_cli.output import moment, print_json, shown
from stream_core.errors import DeadlineError
from stream_core.primitives import TP, RawRecord
from stream_core.values.schemas import Schema

__all__ = ["as_row", "read_until", "schema_of", "tail"]


@click.command()
@click.argument("topic", shell_complete=complete_topics)
@click.option("--from-beginning", is_flag=True, help="Begin with the first record that there is.")
@click.option(
    "-n",
    "--count",
    type=click.IntRange(min=1),
    help="Show the last COUNT records and end; with --from-beginning the first.",
)
@click.option("--partition", type=click.IntRange(min=0), help="Only this partition.  [default: all]")
@click.option("--key", "wanted_key", help="Only records with this key, as it is shown, or as it is on the topic.")
@click.option("--contains", help="Only records whose value, as it is on the topic, has this text in it.")
@click.option("--no-follow", is_flag=True, help="End at the end of the topic, instead of waiting for more.")
@timeout_option
@json_option
@pass_invocation
def tail(
    invocation: Invocation,
    /,
    topic: str,
    from_beginning: bool,
    count: int | None,
    partition: int | None,
    wanted_key: str | None,
    contains: str | None,
    no_follow: bool,
    timeout: float,
) -> None:
    """Print the records of TOPIC as they come, until Ctrl+C.

    TOPIC is a topic, or an agent, as "stream agents" names it (@count). Keys and values are decoded by the types that the app has for
    the topic; what does not fit is shown as it is. No group is joined, and nothing is committed. With --json each record is an object
    of its own.

    \b
    Examples:
      stream -A bank tail deposits
      stream -A bank tail deposits --from-beginning
      stream -A bank tail deposits -n 5
      stream -A bank tail deposits --from-beginning --key alice --contains '"amount":5'
      stream -A bank tail @count --from-beginning --no-follow --json
    """
    app = invocation.whole_app()
    tell_private(invocation, app, "nobody else sends anything there")
    if topic.startswith("@"):
        topic = str(app.agents[full_name(topic[1:], app.agents)].topic)
    schema = schema_of(app, topic)

    def wanted(record: RawRecord) -> bool:
        if contains is not None and os.fsencode(contains) not in (record.value or b""):
            return False
        return wanted_key is None or _has_key(schema, record, wanted_key)

    async def ask(cluster: Cluster) -> None:
        async with cluster.answering():
            tps = [tp for tp in await cluster.require(topic) if partition in (None, tp.partition)]
            if not tps:
                raise click.UsageError(f"topic {topic} has no partition {partition}")
            starts, ends = await cluster.bounds(tps)
        if count is not None and not from_beginning:
            records = _last(cluster, starts, ends, count, timeout, wanted)
        elif no_follow or count is not None:
            records = read_until(cluster, starts if from_beginning else ends, ends, timeout)
        else:
            records = _follow(cluster, starts if from_beginning else ends)
        printed = 0
        async for tp, record in records:
            await schema.ready_to_read([record])
            if wanted(record):
                _print(invocation, schema, tp, record)
                printed += 1
            if printed == count:
                break

    try:
        run(invocation, app, timeout, ask, endless=True)
    except KeyboardInterrupt:
        click.echo(err=True)


async def _follow(cluster: Cluster, positions: Mapping[TP, int]) -> AsyncIterator[tuple[TP, RawRecord]]:
    async with cluster.answering():
        await cluster.reader.assign(positions)
    while True:
        for batch in await cluster.reader.poll(1.0):
            for record in batch.records:
                yield batch.tp, record


async def read_until(
    cluster: Cluster, positions: Mapping[TP, int], ends: Mapping[TP, int], timeout: float
) -> AsyncIterator[tuple[TP, RawRecord]]:
    """Read partitions from some positions up to some ends.

    Args:
        cluster: where they are.
        positions: the offsets to begin with.
        ends: the offsets to end before.
        timeout: seconds that may pass without anything new.

    Raises:
        DeadlineError: for so long nothing came, or the broker has not answered within the timeout of the command.
    """
    left = {tp: position for tp, position in positions.items() if position < ends[tp]}
    async with cluster.answering():
        await cluster.reader.assign(left)
    loop = asyncio.get_running_loop()
    moved = loop.time()
    while left:
        heard = False
        for batch in await cluster.reader.poll(min(timeout, 1.0)):
            tp, end = batch.tp, ends[batch.tp]
            if tp not in left:
                continue
            heard = True
            for record in batch.records:
                if record.offset < end:
                    yield tp, record
            left[tp] = batch.next_offset
            if batch.next_offset >= end:
                del left[tp]
        if heard:
            moved = loop.time()  # behind whoever has taken the records: the time that a pager takes is not the broker's
        elif loop.time() - moved > timeout:
            raise DeadlineError(
                f"nothing of {next(iter(left))} came within {timeout:g} s: the end is at offset {ends[next(iter(left))]}"
            )


async def _last(
    cluster: Cluster,
    starts: Mapping[TP, int],
    ends: Mapping[TP, int],
    count: int,
    timeout: float,
    wanted: Callable[[RawRecord], bool],
) -> AsyncIterator[tuple[TP, RawRecord]]:
    """Read the last records of partitions that are wanted, by their time; offsets that hold none make it look further back."""
    window = count
    while True:
        positions = {tp: max(starts[tp], end - window) for tp, end in ends.items()}
        found = [each async for each in read_until(cluster, positions, ends, timeout) if wanted(each[1])]
        if len(found) >= count or positions == dict(starts):
            found.sort(key=lambda each: (each[1].timestamp, each[0].partition, each[1].offset))
            for each in found[-count:]:
                yield each
            return
        window *= 8


def _has_key(schema: Schema, record: RawRecord, wanted: str) -> bool:
    """Tell whether a record has this key, as text of its bytes or as it is shown."""
    if record.key is None:
        return False
    if record.key == os.fsencode(wanted):
        return True
    try:
        return str(schema.read_key(record)) == wanted
    except Exception:
        return False


def schema_of(app: Application, topic: str) -> Schema:
    """Return the schema that an app has for a topic: described, read by an agent, or the changelog of a table; else the settings."""
    if known := app.topics.get(topic):
        return known.wire
    for agent in app.agents.values():
        for part in getattr(agent.topic, "parts", ()):
            if part.name == topic:
                return part.wire  # type: ignore[no-any-return]
    for table in app.tables.values():
        if table.changelog == topic:
            return table.log_schema  # type: ignore[no-any-return]
    return Schema(key_default=app.conf.key_serializer, value_default=app.conf.value_serializer)


def as_row(schema: Schema, tp: TP, record: RawRecord) -> dict[str, Any]:
    """Return a record as plain data, decoded as far as that can be done; what does not fit stays as it is, and says why."""
    problems = []
    decoded: dict[str, Any] = {"key": record.key, "value": record.value}
    for part, read in (("key", schema.read_key), ("value", schema.read_value)):
        try:
            decoded[part] = read(record)
        except Exception as error:
            problems.append(f"{part}: {error}")
    row = {"topic": tp.topic, "partition": tp.partition, "offset": record.offset, "timestamp": record.timestamp}
    row |= decoded
    row["headers"] = [[name, content] for name, content in record.headers]
    return row | ({"problem": "; ".join(problems)} if problems else {})


def _print(invocation: Invocation, schema: Schema, tp: TP, record: RawRecord) -> None:
    row = as_row(schema, tp, record)
    if invocation.as_json:
        print_json(row)
        return
    place = f"partition={tp.partition} offset={record.offset} timestamp={moment(record.timestamp)}"
    headers = " ".join(f"{shown(name)}={shown(content)}" for name, content in record.headers)
    click.echo(
        f"{place} key={shown(row['key'])} value={shown(row['value'])}"
        + (f" headers: {headers}" if headers else "")
        + (f" ({shown(row['problem'])})" if "problem" in row else "")
    )
