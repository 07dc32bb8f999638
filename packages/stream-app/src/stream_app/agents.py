"""Agents of an app: what they add to the agents of the engine."""

from __future__ import annotations

from typing import Any

from stream_app.testing import AgentTest
from stream_app.wiring import Defined
from stream_core.agents import agent as agents
from stream_core.agents.agent import AgentBody, current_agent

__all__ = ["Agent", "current_agent"]


class Agent(agents.Agent):
    """An agent that knows its app.

    Args:
        body: what runs over the stream.
        app: where it is defined.
        options: those of :class:`~stream_core.agents.agent.Agent`.
    """

    def __init__(self, body: AgentBody, *, app: Defined, **options: Any) -> None:
        super().__init__(body, **options)
        self._app = app

    def test_context(self) -> AgentTest:
        """The agent alone, on an in-process broker and with empty tables, for a unit test.

        Example::

            async with greet.test_context() as agent:
                event = await agent.put("you")
                assert agent.results[event.message.offset] == "hello you"
        """
        return AgentTest(self, self._app)
