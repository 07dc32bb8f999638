"""What one send may say beside its record: who is called with what became of it, and how it is encoded."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from stream_core.errors import ConfigurationError, EncodeError, ProduceError
from stream_core.primitives import RecordMetadata
from stream_core.sending.topic import Topic
from stream_core.streams.channel import Channel
from stream_core.streams.effects import current_effects
from stream_core.streams.stream import Stream
from stream_core.values.schemas import Schema

from .harness import Lab

pytestmark = pytest.mark.looptime

both = pytest.mark.parametrize("settings", [{}, {"transactional_id": "worker"}], ids=["at_least_once", "exactly_once"])

Told = list[asyncio.Future[RecordMetadata]]


@both
async def test_a_callback_hears_of_the_acknowledgement(lab: Lab, settings: dict[str, Any]) -> None:
    """Of sends outside of events and of events, plain and async; outside of any event itself, and with a future that is done."""
    numbers, out = lab.topic("numbers"), lab.topic("out")
    told: list[tuple[str, int, bool]] = []

    async def of_event(future: asyncio.Future[RecordMetadata]) -> None:
        told.append((future.result().topic, future.result().offset, current_effects() is None))

    async def forward(stream: Stream[Any]) -> None:
        async for event in stream.events():
            await event.send(out, callback=of_event)

    await lab.start([lab.agent(forward, numbers)], [out], **settings)
    sent: Told = []
    await numbers.send(1, callback=sent.append)
    await lab.until(lambda: len(told) == len(sent) == 1, "both are told")
    assert sent[0].result().offset == 0
    assert told == [("out", 0, True)]


async def test_a_callback_releases_nothing(lab: Lab) -> None:
    """Under exactly-once the record of an event that fails never leaves, and its callback is told so; that of the next attempt is, too."""
    numbers, out = lab.topic("numbers"), lab.topic("out")
    told: Told = []
    looked: list[int] = []

    async def forward(stream: Stream[Any]) -> None:
        async for value in stream:
            await out.send(value, callback=told.append)
            await asyncio.sleep(0.5)
            looked.append(len(lab.values(out, committed=False)))
            if len(looked) == 1:
                raise RuntimeError("the first time")

    await lab.start([lab.agent(forward, numbers)], [out], transactional_id="worker")
    await numbers.send(1)
    await lab.until(lambda: len(told) == 2, "both attempts are told")
    assert looked == [0, 0]
    assert isinstance(told[0].exception(), ProduceError)
    assert told[1].result().topic == "out"


async def test_what_a_callback_raises_is_logged(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    """It ends nothing."""
    numbers = lab.topic("numbers")
    await lab.start([], [numbers])

    def fail(_: object) -> None:
        raise RuntimeError("of the callback")

    await (await numbers.send(1, callback=fail))
    await lab.until(lambda: "of the callback" in caplog.text, "it is logged")
    assert "the callback of a send to topic numbers failed" in caplog.text
    await numbers.send(2)


@pytest.mark.parametrize("asked", [False, True], ids=["dropped", "asked for"])
async def test_a_send_for_which_nobody_waits_is_not_lost_in_silence(
    lab: Lab, caplog: pytest.LogCaptureFixture, asked: bool
) -> None:
    """The first error of each topic is logged, unless somebody asks for the result; a callback hears all of them."""
    numbers, words = lab.topic("numbers", schema=Schema(value_type=int)), lab.topic("words")
    await lab.start([], [numbers, words])
    for topic in numbers, words:
        for _ in range(2):
            sent = topic.send_soon(object())
            if asked:
                with pytest.raises(EncodeError):
                    await sent
            del sent
    told: Told = []
    numbers.send_soon(object(), callback=told.append)
    await lab.until(lambda: bool(told), "the callback is called")
    assert isinstance(told[0].exception(), EncodeError)
    lines = [one.getMessage() for one in caplog.records if one.levelno == logging.ERROR]
    assert [line.split(" to topic ")[1].split()[0] for line in lines] == ([] if asked else ["numbers", "words"])


async def test_a_channel_calls_back_at_once(lab: Lab) -> None:
    """Options of the encoding count for nothing there: events are handed over as they are."""
    channel = Channel[Any, Any]("local")
    told: Told = []
    await channel.send(1, callback=told.append, value_serializer="raw", force=True)
    assert told[0].result().topic == "local"


async def test_a_record_says_how_it_is_encoded(lab: Lab) -> None:
    """By serializers, by a schema, and by an agent; the topic keeps its own way."""
    topic = lab.topic("mixed")

    async def ignore(stream: Stream[Any]) -> None:
        async for _ in stream:
            pass

    agent = lab.agent(ignore, topic)
    await lab.start([agent])
    for _ in range(2):  # the second time by what is remembered
        await topic.send("plain", key="k", value_serializer="raw", key_serializer="json")
        await topic.send({"a": 1}, schema=Schema(value_type=dict[str, int]))
        await agent.send(value="agent", value_serializer="raw")
        await (await topic.send("own", key="k"))
    await lab.caught_up(topic)
    assert [(one.key, one.value) for one in lab.records("mixed")] == [
        (b'"k"', b"plain"),
        (None, b'{"a":1}'),
        (None, b"agent"),
        (b"k", b'"own"'),
    ] * 2


async def test_a_codec_that_does_not_exist(lab: Lab) -> None:
    """It is refused with the name of the topic."""
    topic = lab.topic("mixed")
    await lab.start([], [topic])
    with pytest.raises(ConfigurationError, match=r"topic mixed: .*'josn'"):
        await topic.send(1, value_serializer="josn")


async def test_force_sends_at_once(lab: Lab) -> None:
    """What is forced in an event that fails stays, and is there before the event ends."""
    numbers, out = lab.topic("numbers"), lab.topic("out")
    seen: list[int] = []

    async def forward(stream: Stream[Any]) -> None:
        async for value in stream:
            await (await out.send(value, force=True))
            seen.append(len(lab.values(out)))
            if len(seen) == 1:
                raise RuntimeError("the first time")

    await lab.start([lab.agent(forward, numbers)], [out], transactional_id="worker")
    await (await numbers.send(7))
    await lab.caught_up(numbers)
    assert seen == [1, 2]
    assert lab.values(out) == [7, 7]


async def test_a_topic_of_no_app_derives_nothing(lab: Lab) -> None:
    """Only an app can describe another one."""
    with pytest.raises(ConfigurationError, match=r"topic numbers belongs to no app .* use app.topic\(\)"):
        Topic[Any, Any]("numbers", schema=Schema()).derive_topic(suffix="-2")


async def test_a_stream_is_read_in_the_loop_of_its_engine(lab: Lab) -> None:
    """A thread that makes one, or iterates over one that was made in the loop of the app, is told where to read instead."""
    numbers = lab.topic("numbers")
    engine = await lab.start([], [numbers])

    async def make() -> None:
        engine.stream(numbers)

    stream = engine.stream(numbers, "here")

    async def iterate() -> None:
        async for _ in stream:
            pass

    for body, says in ((make, "numbers cannot be read by a stream here"), (iterate, "stream here was made in another")):
        with pytest.raises(ConfigurationError, match=says):
            await asyncio.to_thread(lambda body=body: asyncio.run(body()))  # type: ignore[misc]
    with pytest.raises(ConfigurationError, match="the app runs in another event loop"):
        await asyncio.to_thread(engine.stream, numbers)
    stream.close()
