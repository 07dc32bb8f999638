"""The command ``worker``, a command of click."""

from stream_cli.worker import worker

__all__ = ["worker"]
