"""Subclasses of an app: their own classes of settings, workers, topics, channels, tables and agents."""

from __future__ import annotations

from typing import Any

import pytest

import stream_app as faust
from stream_app.settings.parameters import Parameter
from stream_core.errors import UnknownSettingError

from .apps import make, until


class OwnSettings(faust.Settings):
    """Settings with one more."""

    shop_currency = Parameter(str, "EUR", "Currency of the shop.")


class OwnWorker(faust.Worker):
    """A worker of one's own."""


class OwnTopic(faust.Topic[Any, Any]):
    """A topic of one's own."""


class OwnChannel(faust.Channel[Any, Any]):
    """A channel of one's own."""


class OwnTable(faust.Table[Any, Any]):
    """A table of one's own."""


class OwnAgent(faust.Agent):
    """An agent of one's own."""


class Short(faust.App):
    """As in Faust, by the names of what is made."""

    Settings = OwnSettings
    Worker = OwnWorker  # type: ignore[assignment]
    Topic = OwnTopic
    Channel = OwnChannel
    Table = OwnTable  # type: ignore[assignment]
    Agent = OwnAgent


class Typed(faust.App):
    """As type checkers like it."""

    Settings = OwnSettings
    worker_class = OwnWorker
    topic_class = OwnTopic
    channel_class = OwnChannel
    table_class = OwnTable
    agent_class = OwnAgent


class Further(Short):
    """A subclass of such a class."""


@pytest.mark.parametrize("kind", [Short, Typed, Further])
async def test_classes_of_ones_own(kind: type[faust.App]) -> None:
    """What an app makes is of them, and works."""
    app = kind("shop", broker=make().conf.broker, web_enabled=False, shop_currency="CHF")
    assert isinstance(app.conf, OwnSettings)
    assert app.conf.shop_currency == "CHF"
    numbers = app.topic("numbers", value_type=int)
    counts = app.Table("counts", default=int)
    assert isinstance(numbers, OwnTopic)
    assert isinstance(app.channel(), OwnChannel)
    assert isinstance(counts, OwnTable)
    assert isinstance(app.worker(), OwnWorker)
    assert isinstance(app.Worker(loglevel="DEBUG"), OwnWorker)
    seen: list[int] = []

    @app.agent(numbers)
    async def count(stream: faust.Stream[int]) -> None:
        async for number in stream:
            counts[number] += 1
            seen.append(number)

    assert isinstance(count, OwnAgent)
    async with app:
        await numbers.send(1)
        await until(lambda: seen == [1])


def test_the_classes_of_an_app_are_those_of_the_package() -> None:
    """And a setting of a subclass is none of others."""
    app = make()
    assert type(app.topic("numbers")) is faust.Topic
    assert type(app.Worker()) is faust.Worker
    with pytest.raises(UnknownSettingError, match="there is no setting 'shop_currency'"):
        faust.App("shop", shop_currency="CHF")
    with pytest.raises(UnknownSettingError, match="did you mean 'shop_currency'"):
        Typed("shop", shop_currenci="CHF")
