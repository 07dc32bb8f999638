"""An app whose agents are asked: worker processes run this file, and the test imports it for the same agents and classes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import stream_app as faust


class Question(faust.Record, namespace="rpc.Question"):
    """What is asked."""

    number: int
    pause: float = 0.0


class Answer(faust.Record, namespace="rpc.Answer"):
    """What comes back, and from which process."""

    square: int
    process: int


@dataclass
class Desk:
    """The app with its agents."""

    app: faust.App
    square: faust.Agent
    skips: faust.Agent
    buries: faust.Agent
    silent: faust.Agent
    plain: faust.Agent
    wraps: faust.Agent


def make(name: str, **settings: Any) -> Desk:
    """The app of that name."""
    app = faust.App(name, web_enabled=False, topic_partitions=4, broker_commit_interval=0.1, **settings)

    @app.agent(app.topic(f"{name}-square", key_type=str, value_type=Question), name="square")
    async def square(stream: faust.Stream[Question]) -> AsyncIterator[Answer]:
        async for question in stream:
            await asyncio.sleep(question.pause)
            yield Answer(square=question.number**2, process=os.getpid())

    async def fragile(stream: faust.Stream[int]) -> AsyncIterator[int]:
        async for number in stream:
            if number == 13:
                raise ValueError("unlucky")
            yield -number

    async def silent(stream: faust.Stream[int]) -> AsyncIterator[int]:
        async for number in stream:
            if number < 0:
                yield number

    async def double(stream: faust.Stream[Any]) -> AsyncIterator[Any]:
        async for value in stream:
            yield value * 2

    numbers: dict[str, Any] = {"key_type": str, "value_type": int, "on_decode_error": "skip"}
    return Desk(
        app,
        square,
        skips=app.agent(name="skips", on_failure="skip", **numbers)(fragile),
        buries=app.agent(name="buries", on_failure="dead_letter", **numbers)(fragile),
        silent=app.agent(name="silent", **numbers)(silent),
        plain=app.agent(name="plain", key_type=str)(double),
        wraps=app.agent(name="wraps", key_type=str, use_reply_headers=False)(double),
    )


if __name__ == "__main__":
    make(os.environ["DESK"]).app.main()
