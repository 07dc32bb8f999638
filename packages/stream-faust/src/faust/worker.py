"""The worker."""

from stream_app import Worker

__all__ = ["Worker"]
