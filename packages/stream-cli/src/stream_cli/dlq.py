"""The commands ``dlq list``, ``show``, ``retry`` and ``drop``: events that failed for good, and what becomes of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import click

from stream_cli.clients import tell_private, timeout_option
from stream_cli.cluster import Cluster, run
from stream_cli.context import Invocation, json_option, pass_invocation
from stream_cli.letters import FORGOTTEN, Letter, Letters, topics_of
from stream_cli.locate import Application
from stream_cli.names import completing
from stream_cli.output import moment, print_json, print_rows, shown
from stream_cli.planning import dry_run_option, go_on, say, yes_option
from stream_cli.progress import progress
from stream_cli.retrying import send_again
from stream_cli.tail import as_row, schema_of

__all__ = ["dlq"]

_topic_option = click.option(
    "--topic",
    shell_complete=completing(topics_of),
    help="The topic of the letters.  [default: the one that the app has]",
)
_everything_option = click.option("--all", "everything", is_flag=True, help="All letters that are not done with.")
_ids_argument = click.argument("ids", metavar="[LETTER]...", nargs=-1)


@click.group()
def dlq() -> None:
    """Look after dead letters: events that failed, where on_failure="dead_letter" says to put them aside.

    A letter is named by its partition and offset, as in 0:12. Once it was retried or dropped it is listed no more; it stays on its topic
    until the retention of that is over.

    \b
    Examples:
      stream -A bank dlq list
      stream -A bank dlq show 0:12
      stream -A bank dlq retry 0:12
      stream -A bank dlq drop --all
    """


@dlq.command("list")
@_topic_option
@timeout_option
@json_option
@pass_invocation
def list_(invocation: Invocation, /, topic: str | None, timeout: float) -> None:
    """List the letters that are not done with: where the record was, who could not work on it, and why.

    \b
    Examples:
      stream -A bank dlq list
      stream -A bank dlq list --topic bank-dead-letter --json
    """
    app, topic = _begin(invocation, topic)

    async def ask(cluster: Cluster) -> Letters | None:
        async with cluster.answering():
            there = await cluster.admin.topics()
        if topic not in there and topic in topics_of(app):
            return None  # nothing has failed yet
        return await Letters.read(cluster, topic)

    found = run(invocation, app, timeout, ask, endless=True)
    rows = [_summary(one) for one in (found.open if found is not None else ())]
    print_rows("Letters", ("letter", "source", "agent", "error", "time"), rows, as_json=invocation.as_json)
    if found is not None:
        _tell_forgotten(invocation, found)


@dlq.command()
@click.argument("letter")
@_topic_option
@timeout_option
@json_option
@pass_invocation
def show(invocation: Invocation, /, letter: str, topic: str | None, timeout: float) -> None:
    """Show a letter whole: key, value and headers of the record, and what is known of its failure.

    Key and value are decoded by the types that the app has for the topic that the record was on.

    \b
    Examples:
      stream -A bank dlq show 0:12
      stream -A bank dlq show 0:12 --json
    """
    app, topic = _begin(invocation, topic)

    async def ask(cluster: Cluster) -> Letter:
        return (await Letters.read(cluster, topic)).find([letter])[0]

    found = run(invocation, app, timeout, ask, endless=True)
    source = found.source
    record = as_row(schema_of(app, topic if source is None else source.topic), found.tp, found.record)
    row = _summary(found) | {"key": record["key"], "value": record["value"]}
    row |= {"headers": [[name, data] for name, data in found.headers]}
    row |= {"problem": record["problem"]} if "problem" in record else {}
    traceback = found.told("traceback")
    if invocation.as_json:
        print_json(row | ({"traceback": traceback} if traceback else {}))
        return
    for name, value in row.items():
        click.echo(f"{name}: {shown(value)}")
    if traceback:
        click.echo("\n".join(["traceback:", *(f"  {shown(line)}" for line in traceback.splitlines())]))


@dlq.command()
@_ids_argument
@_everything_option
@_topic_option
@dry_run_option
@yes_option
@timeout_option
@json_option
@pass_invocation
def retry(invocation: Invocation, /, **options: Any) -> None:
    """Send the records of letters to the partitions where they came from, as they were, to be worked on again.

    All agents that read the topic get them, at its end. A letter counts as done with once its record is acknowledged; if the command is
    killed between the two, the letter is still listed.

    \b
    Examples:
      stream -A bank dlq retry 0:12 0:14
      stream -A bank dlq retry --all --dry-run
      stream -A bank dlq retry --all --yes
    """
    _treat(invocation, "Send {} again?", "record", "Sent again:", send_again, **options)


@dlq.command()
@_ids_argument
@_everything_option
@_topic_option
@dry_run_option
@yes_option
@timeout_option
@json_option
@pass_invocation
def drop(invocation: Invocation, /, **options: Any) -> None:
    """Be done with letters: they are listed no more, and nothing is sent.

    \b
    Examples:
      stream -A bank dlq drop 0:12
      stream -A bank dlq drop --all
    """
    _treat(invocation, "Drop {}?", "letter", "Dropped:", _finish, **options)


async def _finish(cluster: Cluster, letters: Letters, meant: Sequence[Letter], step: Callable[[], None]) -> None:
    async with cluster.answering():
        await letters.finish(cluster, meant)


def _treat(
    invocation: Invocation,
    question: str,
    noun: str,
    done_as: str,
    act: Callable[[Cluster, Letters, Sequence[Letter], Callable[[], None]], Awaitable[None]],
    *,
    ids: tuple[str, ...],
    everything: bool,
    topic: str | None,
    dry_run: bool,
    yes: bool,
    timeout: float,
) -> None:
    """Show the letters that are meant, ask, and do it."""
    if bool(ids) == everything:
        raise click.UsageError("name letters, as `stream dlq list` does, or all of them with --all")
    app, topic = _begin(invocation, topic)

    async def plan(cluster: Cluster) -> tuple[Letters, list[Letter]]:
        letters = await Letters.read(cluster, topic)
        chosen = letters.open if everything else letters.find(dict.fromkeys(ids))
        letters.offsets_after(chosen)  # what could not be remembered is refused before anything is done
        return letters, chosen

    async def do(cluster: Cluster) -> None:
        with progress(invocation, topic, len(meant)) as step:
            await act(cluster, letters, meant, step)

    letters, meant = run(invocation, app, timeout, plan, endless=True)
    print_rows(
        "Letters",
        ("letter", "source", "agent", "error", "time"),
        [_summary(one) for one in meant],
        as_json=invocation.as_json,
    )
    _tell_forgotten(invocation, letters)
    many = f"{len(meant)} {noun}{'' if len(meant) == 1 else 's'}"
    if go_on(
        invocation,
        question.format(many),
        anything=bool(meant),
        dry_run=dry_run,
        yes=yes,
    ):
        run(invocation, app, timeout, do, endless=True)
        say(invocation, f"{done_as} {many}.")


def _begin(invocation: Invocation, topic: str | None) -> tuple[Application, str]:
    """Return the app, and the topic of its letters that is meant."""
    app = invocation.whole_app()
    tell_private(invocation, app, "no other worker has failed there")
    known = topics_of(app)
    if topic is None and len(known) > 1:
        raise click.UsageError(f"the app has dead letters in several topics: name one with --topic: {', '.join(known)}")
    return app, topic or known[0]


def _tell_forgotten(invocation: Invocation, letters: Letters) -> None:
    """Say that letters which are listed may have been done with, where the broker may have forgotten it."""
    if (count := letters.perhaps_forgotten(datetime.now(UTC))) and not invocation.quiet:
        click.echo(
            f"{count} letters are older than {FORGOTTEN.days} days, and group {letters.group} has no offsets of their partitions: if some "
            "of them were retried or dropped before, the broker has forgotten it (its setting offsets.retention.minutes).",
            err=True,
        )


def _summary(letter: Letter) -> dict[str, Any]:
    source = letter.source
    return {
        "letter": letter.id,
        "source": "" if source is None else f"{source.topic} {source.partition}:{letter.told('offset')}",
        "agent": letter.told("agent"),
        "error": f"{letter.told('error-type')}: {letter.told('error-message')}".strip(": "),
        "time": moment(letter.record.timestamp, "seconds"),
    }
