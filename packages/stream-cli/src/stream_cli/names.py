"""The names of agents on the command line: ``@count`` for ``shop.orders.count``, as long as no other agent ends like that."""

from __future__ import annotations

from collections.abc import Callable, Collection
from difflib import get_close_matches

import click

from stream_cli.context import Invocation
from stream_cli.locate import Application
from stream_core.engine.graph import names_ending_in, shortest_end
from stream_core.errors import ConfigurationError

__all__ = [
    "complete_agents_and_topics",
    "complete_tables",
    "complete_topics",
    "completing",
    "full_name",
    "short_name",
    "suggest",
]

Complete = Callable[[click.Context, click.Parameter, str], list[str]]


def completing(names: Callable[[Application], Collection[str]]) -> Complete:
    """Make what completes an argument in the shell by names of the app; an app that cannot be had completes nothing."""

    def complete(context: click.Context, _: click.Parameter, begun: str) -> list[str]:
        try:
            app = Invocation.of(context).app()
            app.finalize()
            return sorted(name for name in names(app) if name.startswith(begun))
        except Exception:  # a shell that is told of it would print it into the line that is typed
            return []

    return complete


def _sendable(app: Application) -> list[str]:
    return [*app.topics, *(short_name(name, app.agents) for name in app.agents)]


complete_agents_and_topics = completing(_sendable)
"""Completes an agent, as ``@count``, or a topic that the app describes."""

complete_topics = completing(lambda app: [*_sendable(app), *(table.changelog for table in app.tables.values())])
"""Completes a topic, an agent for its topic, or a changelog."""

complete_tables = completing(lambda app: list(app.tables))
"""Completes the name of a table."""


def short_name(name: str, names: Collection[str]) -> str:
    """Return the shortest end of an agent's name that no other name of ``names`` has, after ``@``."""
    return f"@{shortest_end(name, names)}"


def full_name(short: str, names: Collection[str]) -> str:
    """Find the agent of ``names`` that is meant.

    Args:
        short: its name, or as much of the end as makes it unique; without ``@``.
        names: the full names of all agents.

    Raises:
        ConfigurationError: no agent is meant, or several; says which could be.
    """
    if short in names:
        return short
    match names_ending_in(short, names):
        case [name]:
            return name
        case []:
            known = sorted(short_name(name, names) for name in names)
            hint = suggest(f"@{short}", known) or (f"it has {', '.join(known)}" if known else "it has none")
            raise ConfigurationError(f"the app has no agent @{short}; {hint}")
        case several:
            meant = " or ".join(short_name(name, names) for name in sorted(several))
            raise ConfigurationError(f"@{short} may be {meant}: write one of these")


def suggest(name: str, known: Collection[str]) -> str:
    """Return ``did you mean ...?`` with the nearest of the known names; empty when none is near."""
    near = get_close_matches(name, known, n=1)
    return f"did you mean {near[0]}?" if near else ""
