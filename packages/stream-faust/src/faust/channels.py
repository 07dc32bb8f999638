"""Channels in the memory of a process."""

from stream_app import Channel, ChannelT

__all__ = ["Channel", "ChannelT"]
