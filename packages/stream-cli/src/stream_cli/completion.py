"""The command ``completion``: the lines that teach a shell to complete commands and options."""

from __future__ import annotations

import os
from pathlib import Path

import click
from click.shell_completion import get_completion_class

__all__ = ["completion"]

SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", required=False, type=click.Choice(SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str | None) -> None:
    """Print what makes a shell complete commands and options.

    SHELL is bash, zsh or fish; left out, the one that you use.

    \b
    Examples:
      eval "$(stream completion bash)"        # in ~/.bashrc
      eval "$(stream completion zsh)"         # in ~/.zshrc
      stream completion fish > ~/.config/fish/completions/stream.fish
    """
    shell = shell or Path(os.environ.get("SHELL", "")).name
    found = get_completion_class(shell) if shell in SHELLS else None
    if found is None:
        raise click.UsageError(f"name the shell: {', '.join(SHELLS)}")
    click.echo(found(context.find_root().command, {}, "stream", "_STREAM_COMPLETE").source())
