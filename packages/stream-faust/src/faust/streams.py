"""Streams, and the event at hand."""

from stream_app import Stream, StreamT, current_event

__all__ = ["Stream", "StreamT", "current_event"]
