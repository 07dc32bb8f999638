"""Topics."""

from stream_app import Topic, TopicT

__all__ = ["Topic", "TopicT"]
