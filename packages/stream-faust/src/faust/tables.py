"""Tables."""

from stream_app import Table

__all__ = ["Table"]
