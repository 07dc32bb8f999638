"""Commands that other packages add, by entry points of the group ``stream.commands``; each is imported when it is needed."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

import click

__all__ = ["GROUP", "load", "names"]

GROUP = "stream.commands"


def names() -> list[str]:
    """The names of the commands that are installed."""
    return sorted(entry_points(group=GROUP).names)


def load(name: str) -> click.Command | None:
    """The command ``name``, or ``None`` when nobody has it.

    One that cannot be imported becomes a command that says why, so that it does not take the others with it.
    """
    found = entry_points(group=GROUP, name=name)
    return _load(next(iter(found))) if found else None


def _load(point: EntryPoint) -> click.Command:
    try:
        command = point.load()
    except Exception as error:
        return _broken(point, f"{type(error).__name__}: {error}")
    return command if isinstance(command, click.Command) else _broken(point, f"it is of type {type(command).__name__}")


def _broken(point: EntryPoint, reason: str) -> click.Command:
    owner = point.dist.name if point.dist else "an unknown package"

    def fail() -> None:
        raise click.ClickException(f"the command {point.name!r} ({point.value} of {owner}) cannot be loaded: {reason}")

    return click.Command(point.name, callback=fail, short_help=f"(cannot be loaded: {reason})")
