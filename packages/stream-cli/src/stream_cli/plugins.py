"""Commands that other packages add, by entry points of the group ``stream.commands``; each is imported when it is needed."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

import click

__all__ = ["GROUP", "load", "names"]

GROUP = "stream.commands"
PACKAGES = {"broker": "stream-kafka[broker]"}
"""What to install for commands of packages that are ours."""

_ANYTHING = {"ignore_unknown_options": True, "allow_extra_args": True}
"""A command that only says why it does not work takes whatever was meant for the real one."""


def names() -> list[str]:
    """Return the names of the commands that are installed."""
    return sorted(entry_points(group=GROUP).names)


def load(name: str) -> click.Command | None:
    """Import the command ``name``; ``None`` when no package has it.

    One that cannot be imported becomes a command that says why, and the others work; and so does one of ours that is not installed.
    """
    found = entry_points(group=GROUP, name=name)
    if found:
        return _load(next(iter(found)))
    if name in PACKAGES:
        return _failing(name, f"the command {name!r} is not installed; pip install '{PACKAGES[name]}'", "not installed")
    return None


def _load(point: EntryPoint) -> click.Command:
    try:
        command = point.load()
    except Exception as error:
        return _broken(point, f"{type(error).__name__}: {error}")
    return command if isinstance(command, click.Command) else _broken(point, f"it is of type {type(command).__name__}")


def _broken(point: EntryPoint, reason: str) -> click.Command:
    owner = point.dist.name if point.dist else "an unknown package"
    message = f"the command {point.name!r} ({point.value} of {owner}) cannot be loaded: {reason}"
    return _failing(point.name, message, f"cannot be loaded: {reason}")


def _failing(name: str, message: str, short: str) -> click.Command:
    def fail() -> None:
        raise click.ClickException(message)

    return click.Command(name, callback=fail, context_settings=_ANYTHING, short_help=f"({short})")
