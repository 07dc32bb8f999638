"""The command ``table``: what a table holds, from its changelog; no worker is asked."""

from __future__ import annotations

import click

from stream_cli.clients import tell_private, timeout_option
from stream_cli.cluster import Cluster, run
from stream_cli.context import Invocation, json_option, pass_invocation
from stream_cli.names import complete_tables, suggest
from stream_cli.output import print_rows
from stream_cli.progress import progress
from stream_cli.tail import read_until
from stream_cli.texts import TextEncoder
from stream_core.errors import ConfigurationError
from stream_core.values.schemas import Schema

__all__ = ["table"]


@click.command()
@click.argument("name", shell_complete=complete_tables)
@click.argument("key", required=False)
@timeout_option
@json_option
@pass_invocation
def table(invocation: Invocation, /, name: str, key: str | None, timeout: float) -> None:
    """Show what the table NAME holds, or what it has for KEY.

    No worker is asked, and none needs to run. A store of the table on this machine that no worker has open is read, with what the
    changelog has after it; without one the changelog is read from its beginning, which takes a while for a large one. A worker that
    runs may be ahead by what it has not committed yet. KEY is typed as "stream send --key" takes it.

    \b
    Examples:
      stream -A bank table totals
      stream -A bank table totals joe
      stream -A bank table totals --json
    """
    app = invocation.whole_app()
    tell_private(invocation, app, "no other worker has changed anything there")
    if name not in app.tables:
        hint = suggest(name, app.tables) or "`stream tables` lists those that it has"
        raise ConfigurationError(f"the app has no table {name!r}; {hint}")
    found = app.tables[name]
    stored = app.local_state.stored(found)
    wanted = None if key is None else _keys(found.schema, key)

    async def ask(cluster: Cluster) -> list[dict[str, object]]:
        async with cluster.answering():
            starts, ends = await cluster.bounds(await cluster.require(found.changelog))
            topics = await cluster.admin.describe([found.changelog], config=False)
        topic_id = topics[found.changelog].id if found.changelog in topics else ""
        begun = {tp: stored.begin(tp, topic_id, starts[tp], ends[tp], wanted) for tp in ends}
        starts, replays = ({tp: one[at] for tp, one in begun.items()} for at in (0, 1))
        with progress(invocation, f"reading {found.changelog}", sum(ends.values()) - sum(starts.values())) as step:
            async for tp, record in read_until(cluster, starts, ends, timeout):
                replays[tp].apply(record)
                step()
        return [
            {"key": each, "value": value, "partition": tp.partition}
            for tp, replay in sorted(replays.items())
            for each, value in replay.items()
        ]

    rows = run(invocation, app, timeout, ask, endless=True)
    if key is not None and not rows:
        raise ConfigurationError(f"table {name} has no key {key}")
    print_rows(name, ("key", "value", "partition"), rows, as_json=invocation.as_json)


def _keys(schema: Schema, key: str) -> set[bytes]:
    """Return the bytes that a key which was typed may have: where a table has no type of keys, 5 is a number or a text."""
    typed = {TextEncoder("key", schema).encode(key)}
    if schema.key_type is None:
        typed.add(schema.encode_key(key))
    return {each for each in typed if each is not None}
