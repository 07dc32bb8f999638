"""The commands ``offsets show`` and ``offsets reset``: where an app goes on after a restart, and how to change that."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress

import click

from stream_cli.clients import deadline, tell_private, timeout_option
from stream_cli.cluster import Cluster, Lag, run
from stream_cli.context import Invocation, json_option, pass_invocation
from stream_cli.names import complete_topics
from stream_cli.output import moment, print_rows
from stream_cli.planning import dry_run_option, go_on, yes_option
from stream_cli.times import read_moment
from stream_core.errors import BrokerUnavailableError, CommitError, DeadlineError, FencedError, TransportError
from stream_core.primitives import TP, Offset
from stream_core.streams.metadata import without_identity

__all__ = ["change_offsets", "offsets"]


@click.group()
def offsets() -> None:
    """Show or change where the app goes on after a restart.

    \b
    Examples:
      stream -A bank offsets show
      stream -A bank offsets reset --to earliest --topic deposits
    """


@offsets.command()
@click.argument("names", metavar="[TOPIC]...", nargs=-1, shell_complete=complete_topics)
@timeout_option
@json_option
@pass_invocation
def show(invocation: Invocation, /, names: tuple[str, ...], timeout: float) -> None:
    """Show the offsets that the group of the app has committed.

    "text" is what the workers keep beside an offset: which events after it are finished already.

    \b
    Examples:
      stream -A bank offsets show
      stream -A bank offsets show deposits --json
    """
    app = invocation.whole_app()
    tell_private(invocation, app, "no other worker has committed anything there")
    rows = [
        {
            "topic": one.tp.topic,
            "partition": one.tp.partition,
            "offset": one.committed.offset,
            "text": without_identity(one.committed.metadata),
        }
        for one in run(invocation, app, timeout, lambda cluster: cluster.lags(names))
        if one.committed is not None
    ]
    print_rows("Offsets", ("topic", "partition", "offset", "text"), rows, as_json=invocation.as_json)


@offsets.command()
@click.option("--to", metavar="earliest|latest|OFFSET", help="Where to go on.")
@click.option("--to-earliest", is_flag=True, help="The same as --to earliest: the first record that there is.")
@click.option("--to-latest", is_flag=True, help="The same as --to latest: after all records.")
@click.option(
    "--to-datetime",
    "since",
    callback=read_moment,
    metavar="WHEN",
    help="The first record of that time or later: 2026-11-28T14:30 (UTC), or how long ago, such as 90m, 2h or 1d12h.",
)
@click.option("--shift", "--shift-by", type=int, metavar="N", help="N offsets ahead; with -N back.")
@click.option(
    "--topic", "names", multiple=True, shell_complete=complete_topics, help="Only this topic; may be repeated."
)
@click.option(
    "--partition", "partitions", type=click.IntRange(min=0), multiple=True, help="Only this partition; may be repeated."
)
@dry_run_option
@yes_option
@timeout_option
@json_option
@pass_invocation
def reset(
    invocation: Invocation,
    /,
    to: str | None,
    to_earliest: bool,
    to_latest: bool,
    since: int | None,
    shift: int | None,
    names: tuple[str, ...],
    partitions: tuple[int, ...],
    dry_run: bool,
    yes: bool,
    timeout: float,
) -> None:
    """Change where the app goes on, after showing what that means.

    The workers of the app must be stopped: as long as one of them is in the group, nothing is changed. Events after the new offset are
    worked on again, and those before it never. Tables are not turned back: what comes again is counted on top of what they hold. With
    another version of the app, App(version=2), both begin afresh.

    \b
    Examples:
      stream -A bank offsets reset --to earliest --dry-run
      stream -A bank offsets reset --to latest --topic deposits
      stream -A bank offsets reset --to-datetime 2h
      stream -A bank offsets reset --to-datetime 2026-11-28T14:30+01:00 --dry-run
      stream -A bank offsets reset --shift -100 --topic deposits --partition 3
      stream -A bank offsets reset --to 120 --topic deposits --partition 3 --yes
    """
    to = _read_target(to, to_earliest, to_latest, since, shift, names)
    app = invocation.whole_app()
    tell_private(invocation, app, "no other worker has committed anything there")

    async def plan(cluster: Cluster) -> list[tuple[Lag, int]]:
        if members := await cluster.groups.members(app.id):
            raise FencedError(f"{_in_use(app.id, len(members))}; nothing was changed")
        lags = [one for one in await cluster.lags(names) if not partitions or one.tp.partition in partitions]
        if missing := set(partitions) - {one.tp.partition for one in lags}:
            where = "no topic of the group has a" if len(names) != 1 else f"topic {names[0]} has no"
            raise click.UsageError(f"{where} partition {min(missing)}")
        wanted = await _targets(cluster, lags, to, since, shift)
        return [(one, min(max(wanted[one.tp], one.start), one.end)) for one in lags]

    async def act(cluster: Cluster) -> None:
        await change_offsets(cluster, changes, timeout)

    planned = run(invocation, app, timeout, plan)
    rows = [_row(one, new) for one, new in planned]
    changes: dict[TP, Offset] = {
        one.tp: Offset(new) for one, new in planned if one.committed is None or one.committed != Offset(new)
    }
    if since is not None and not (invocation.quiet or invocation.as_json):
        click.echo(f"Going on at the first record of {moment(since)} or later.", err=True)
    print_rows("Plan", ("topic", "partition", "from", "to", "again", "left out"), rows, as_json=invocation.as_json)
    question = f"Change {len(changes)} offsets of group {app.id}?"
    if go_on(invocation, question, anything=bool(changes), dry_run=dry_run, yes=yes):
        run(invocation, app, timeout, act, endless=True)  # it ends by itself, to tell what may be changed


def _read_target(
    to: str | None, to_earliest: bool, to_latest: bool, since: int | None, shift: int | None, names: Sequence[str]
) -> str:
    """Return what ``--to`` says; nothing where another option says where to go on. Raises UsageError unless just one does."""
    given = [to is not None, to_earliest, to_latest, since is not None, shift is not None]
    if given.count(True) != 1:
        raise click.UsageError(
            "say where to go on with one of --to, --to-earliest, --to-latest, --to-datetime and --shift"
        )
    if to is None:
        return "earliest" if to_earliest else "latest" if to_latest else ""
    if not re.fullmatch(r"earliest|latest|\d{1,18}", to):
        raise click.BadParameter(
            f"{to!r} is neither earliest nor latest nor the number of an offset", param_hint="--to"
        )
    if to.isdigit() and len(names) != 1:
        raise click.UsageError("an offset is that of one topic: name it with --topic")
    return to


def _row(one: Lag, new: int) -> dict[str, object]:
    """Say of a partition where it goes on, and what becomes of its events for it."""
    return {
        "topic": one.tp.topic,
        "partition": one.tp.partition,
        "from": None if one.committed is None else one.committed.offset,
        "to": new,
        "again": max(0, _position(one) - new),
        "left out": max(0, new - _position(one)),
    }


async def _targets(
    cluster: Cluster, lags: Sequence[Lag], to: str, since: int | None, shift: int | None
) -> Mapping[TP, int]:
    """Return where each partition is to go on; that may lie outside of what it holds."""
    if since is not None:
        found = await cluster.reader.offsets_since([one.tp for one in lags], since)
        return {one.tp: one.end if (offset := found[one.tp]) is None else offset for one in lags}
    if shift is not None:
        return {one.tp: _position(one) + shift for one in lags}
    if to in ("earliest", "latest"):
        return {one.tp: one.start if to == "earliest" else one.end for one in lags}
    return {one.tp: int(to) for one in lags}


def _position(one: Lag) -> int:
    return one.start if one.committed is None else one.committed.offset


def _in_use(group: str, members: int) -> str:
    if not members:
        return f"somebody was in group {group}, and has left it: see that no worker of the app starts, and try again"
    return f"group {group} has {members} member{'' if members == 1 else 's'}: stop the workers of the app first"


async def change_offsets(cluster: Cluster, changes: Mapping[TP, Offset], timeout: float) -> None:
    """Change offsets of the group of the app; whatever goes wrong, tell what is changed all the same.

    Args:
        cluster: where the group is.
        changes: the new offsets.
        timeout: seconds to wait for the broker.

    Raises:
        DeadlineError: the broker has not answered in time: whether anything is changed is not known.
        CommitError: it has refused some of them, or all.
    """
    group = cluster.app.id
    silent = f"the broker has not answered within {timeout:g} s; give it more with --timeout"
    unknown = f"the offsets of group {group} may be changed all the same: `stream offsets show` tells"
    try:
        async with deadline(timeout, silent):
            await cluster.groups.change(group, changes)
    except (DeadlineError, BrokerUnavailableError) as error:  # to look now proves nothing: it may still be on its way
        raise DeadlineError(f"{error}; {unknown}") from error
    except TransportError as error:
        reason, outcome = str(error), unknown
        with suppress(TransportError):
            async with deadline(timeout, silent):
                if isinstance(error, FencedError):
                    reason = _in_use(group, len(await cluster.groups.members(group)))
                outcome = _outcome(changes, await cluster.groups.offsets(group))
        raise CommitError(f"{reason}; {outcome}") from error


def _outcome(changes: Mapping[TP, Offset], now: Mapping[TP, Offset]) -> str:
    """Say which of the changes were made, by the offsets that the group has now: a refusal of one leaves the others."""
    made = [str(tp) for tp, offset in sorted(changes.items()) if now.get(tp) == offset]
    others = [str(tp) for tp, offset in sorted(changes.items()) if now.get(tp) != offset]
    if not made:
        return "nothing was changed"
    if not others:
        return "all offsets of the plan were changed nevertheless"
    return f"changed: {', '.join(made)}; not changed: {', '.join(others)}"
