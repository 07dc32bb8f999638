"""The commands ``topics`` and ``lag``: what the broker has of an app, and how far its group is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import click

from stream_cli.clients import tell_private, timeout_option
from stream_cli.cluster import Cluster, run, sources
from stream_cli.context import Invocation, json_option, pass_invocation
from stream_cli.names import complete_topics, short_name
from stream_cli.output import in_units, print_rows

__all__ = ["lag", "topics"]


@click.command()
@click.option("--all", "everything", is_flag=True, help="List all topics of the broker.")
@timeout_option
@json_option
@pass_invocation
def topics(invocation: Invocation, /, everything: bool, timeout: float) -> None:
    """List the topics of the app, as the broker has them.

    These are the topics that it describes or reads, the changelogs of its tables, and those whose names begin with its id. "records"
    are the offsets that the partitions hold; "lag" is how many of them the group of the app has not finished. "bytes" is what the records
    take on the disks of the leaders of the partitions, compressed, each once; "-" stands where the broker does not tell, since this user
    may not describe the cluster.

    \b
    Examples:
      stream -A bank topics
      stream -A bank topics --all
      stream -A bank topics --json
    """
    app = invocation.whole_app()
    tell_private(invocation, app, "nobody else has topics there")

    async def ask(cluster: Cluster) -> list[dict[str, Any]]:
        existing = await cluster.admin.topics()
        read = sources(app, existing)
        what = dict.fromkeys(app.topics, "")
        what |= {table.changelog: f"changelog of {name}" for name, table in app.tables.items()}
        what |= {
            name: "read by " + ", ".join(short_name(one, app.agents) for one in agents) for name, agents in read.items()
        }
        what |= {name: what.get(name, "") for name in existing if everything or name.startswith(f"{app.id}-")}
        behind: defaultdict[str, int] = defaultdict(int)
        for one in await cluster.lags():
            behind[one.tp.topic] += one.lag
            what.setdefault(one.tp.topic, "has committed offsets")
        tps = await cluster.partitions(list(what))
        starts, ends = await cluster.bounds(tps)
        sizes = await cluster.admin.sizes(tps)
        rows = []
        for name, role in sorted(what.items()):
            own = [tp for tp in tps if tp.topic == name]
            rows.append(
                {
                    "name": name,
                    "partitions": len(own),
                    "records": sum(ends[tp] - starts[tp] for tp in own),
                    "bytes": sum(sizes[tp] for tp in own) if own and sizes.keys() >= set(own) else None,
                    "lag": behind.get(name),
                    "role": role if own else ", ".join(filter(None, (role, "not there yet"))),
                }
            )
        return rows

    rows = run(invocation, app, timeout, ask)
    if not invocation.as_json:
        rows = [row | {"bytes": _in_units(row)} for row in rows]
    columns = ("name", "partitions", "records", "bytes", "lag", "role")
    print_rows("Topics", columns, rows, as_json=invocation.as_json)


def _in_units(row: Mapping[str, Any]) -> str:
    """Return the size of a topic as people read it; nothing for one that is not there."""
    if not row["partitions"]:
        return ""
    return "-" if row["bytes"] is None else in_units(row["bytes"])


@click.command()
@click.argument("names", metavar="[TOPIC]...", nargs=-1, shell_complete=complete_topics)
@timeout_option
@json_option
@pass_invocation
def lag(invocation: Invocation, /, names: tuple[str, ...], timeout: float) -> None:
    """Show how far the group of the app is, partition by partition.

    "committed" is where the app goes on after a restart. Workers commit every few seconds, so a lag that is never zero is no lag yet.

    \b
    Examples:
      stream -A bank lag
      stream -A bank lag deposits
      stream -A bank lag --json
    """
    app = invocation.whole_app()
    tell_private(invocation, app, "no other worker has read anything there")
    lags = run(invocation, app, timeout, lambda cluster: cluster.lags(names))
    rows = [
        {
            "topic": one.tp.topic,
            "partition": one.tp.partition,
            "committed": None if one.committed is None else one.committed.offset,
            "end": one.end,
            "lag": one.lag,
        }
        for one in lags
    ]
    print_rows("Lag", ("topic", "partition", "committed", "end", "lag"), rows, as_json=invocation.as_json)
    if len(lags) > 1 and not invocation.as_json:
        click.echo(f"in all: {sum(one.lag for one in lags)}, in {len(lags)} partitions")
