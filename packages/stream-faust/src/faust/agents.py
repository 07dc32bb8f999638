"""Agents, and the one that runs."""

from stream_app import Agent, current_agent

__all__ = ["Agent", "current_agent"]
