"""Events."""

from stream_app import Event, EventT

__all__ = ["Event", "EventT"]
