"""The program: a group of click."""

from stream_cli.main import cli

__all__ = ["cli"]
