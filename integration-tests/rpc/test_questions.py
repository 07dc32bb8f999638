"""Agents that are asked by another process, over workers on Kafka: which answers come, also through kills and failures."""

from __future__ import annotations

import asyncio
import signal
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import NewTopic

from operators import administration
from processes import Worker, run
from rpc.desk import Answer, Desk, Question, make
from stream_core.errors import NoReplyError, RequestFailedError

PROGRAM = Path(__file__).with_name("desk.py")
GUARANTEES = ("at_least_once", "exactly_once")


class Office:
    """Workers and clients of one app.

    Args:
        bootstrap: address of the broker.
        directory: of the workers' data.
        guarantee: of the workers.
    """

    def __init__(self, bootstrap: str, directory: Path, guarantee: str = "at_least_once") -> None:
        self.bootstrap = bootstrap
        self.name = f"desk-{uuid.uuid4().hex[:8]}"
        self._environ = {
            "DESK": self.name,
            "BROKER_URL": f"kafka://{bootstrap}",
            "APP_DATADIR": str(directory / "data"),
            "PROCESSING_GUARANTEE": guarantee,
            "BROKER_SESSION_TIMEOUT": "6",
            "BROKER_HEARTBEAT_INTERVAL": "1",
        }

    @asynccontextmanager
    async def worker(self) -> AsyncIterator[Worker]:
        """A worker process that is ready."""
        async with run(PROGRAM, "worker", "-l", "info", environ=self._environ) as worker:
            await worker.said("is ready")
            yield worker

    @asynccontextmanager
    async def workers(self, count: int) -> AsyncIterator[list[Worker]]:
        """Some workers, each with partitions."""
        async with AsyncExitStack() as stack:
            yield [await stack.enter_async_context(self.worker()) for _ in range(count)]

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Desk]:
        """A program that runs no agents."""
        desk = make(self.name, broker=f"kafka://{self.bootstrap}")
        await desk.app.start_client()
        try:
            yield desk
        finally:
            await desk.app.stop()


def questions(count: int, pause: float = 0.0) -> list[tuple[str, Question]]:
    """Questions with keys, so that they go to all partitions."""
    return [(f"k{number}", Question(number, pause)) for number in range(count)]


async def spread(desk: Desk, workers: int) -> None:
    """Ask until that many processes answer: a worker that is ready may get its partitions with the next rebalance."""
    async with asyncio.timeout(60):
        while len({one.process for one in await desk.square.kvjoin(questions(16))}) < workers:  # noqa: ASYNC110
            await asyncio.sleep(0.1)


@pytest.mark.parametrize("guarantee", GUARANTEES)
async def test_many_questions_over_two_workers(bootstrap: str, tmp_path: Path, guarantee: str) -> None:
    """Hundreds of questions are answered by both workers, as records; ``join`` keeps the order, ``map`` loses and doubles none."""
    office = Office(bootstrap, tmp_path, guarantee)
    async with office.workers(2) as workers, office.client() as desk:
        await spread(desk, len(workers))
        answers = await desk.square.kvjoin(questions(500))
        assert [answer.square for answer in answers] == [number**2 for number in range(500)]
        assert {type(answer) for answer in answers} == {Answer}
        assert {answer.process for answer in answers} == {worker.process.pid for worker in workers}

        found = Counter([answer.square async for answer in desk.square.kvmap(questions(500))])
        assert found == Counter(number**2 for number in range(500))
        pairs = [(f"k{number}", number) for number in range(100)]
        assert await desk.plain.kvjoin(pairs) == [2 * number for number in range(100)]
        assert sorted([answer async for answer in desk.wraps.kvmap(pairs)]) == [2 * number for number in range(100)]
        promise = await desk.plain.ask_nowait("ab", key="k", correlation_id="mine")
        assert (promise.correlation_id, await promise) == ("mine", "abab")
        assert [await worker.terminate() for worker in workers] == [0, 0]


@pytest.mark.parametrize("guarantee", GUARANTEES)
async def test_a_worker_is_killed_while_it_is_asked(bootstrap: str, tmp_path: Path, guarantee: str) -> None:
    """All open questions are answered after the takeover, some maybe twice; whoever asked gets each answer once."""
    office = Office(bootstrap, tmp_path, guarantee)
    async with office.workers(2) as (one, two), office.client() as desk:
        await spread(desk, 2)
        answers: list[Answer] = []
        async for answer in desk.square.kvmap(questions(60, pause=0.1)):
            answers.append(answer)
            if len(answers) == 10:
                one.signal(signal.SIGKILL)
        assert Counter(answer.square for answer in answers) == Counter(number**2 for number in range(60))
        assert await one.exit() == -signal.SIGKILL
        assert (await desk.square.ask(Question(7))) == Answer(square=49, process=two.process.pid)
        assert await two.terminate() == 0


@pytest.mark.parametrize("guarantee", GUARANTEES)
async def test_whoever_asked_is_gone(bootstrap: str, tmp_path: Path, guarantee: str) -> None:
    """A program that ends with open questions does not hold up the worker, for others or at its end."""
    office = Office(bootstrap, tmp_path, guarantee)
    async with office.worker() as worker, office.client() as other:
        await other.square.ask(Question(1))
        async with office.client() as desk:
            assert (await desk.square.ask(Question(2))).square == 4
            open_questions = [await desk.square.ask_nowait(Question(number, pause=0.3)) for number in range(12)]
        for promise in open_questions:
            with pytest.raises(RequestFailedError, match="the app stopped"):
                await promise
        answers = await other.square.join([Question(number) for number in range(20)], timeout=20)
        assert [answer.square for answer in answers] == [number**2 for number in range(20)]
        assert await worker.terminate() == 0
        for trouble in ("the interval is dropped", "not committed", "UnknownTopic"):
            assert trouble not in worker.log


async def test_questions_that_fail(bootstrap: str, tmp_path: Path) -> None:
    """An event that the policy gives up is a RequestFailedError for whoever asked, and the next question is answered."""
    office = Office(bootstrap, tmp_path)
    async with office.worker(), office.client() as desk:
        for agent in desk.skips, desk.buries:
            with pytest.raises(RequestFailedError, match=r"-\d offset 0 is given up: .*unlucky"):
                await agent.ask(13, key="k")
            assert await agent.ask(14, key="k") == -14
            await agent.topic.send(b"no number", key="k")
            assert await agent.join([1, 2], key="k") == [-1, -2]
            with pytest.raises(RequestFailedError, match="unlucky"):
                await agent.join([1, 13, 2])
        with pytest.raises(NoReplyError, match="agent silent has not answered within 1 s"):
            await desk.silent.ask(1, timeout=1)


async def test_nobody_answers(bootstrap: str, tmp_path: Path) -> None:
    """Without a worker a question ends in time; once there is one it is answered, and with it the one nobody waits for."""
    office = Office(bootstrap, tmp_path)
    async with office.client() as desk:
        with pytest.raises(NoReplyError, match="agent plain has not answered within 1 s"):
            await desk.plain.ask(1, timeout=1)
        with pytest.raises(NoReplyError, match="agent plain has answered none of 3 questions within 1 s"):
            await desk.plain.join([1, 2, 3], timeout=1)
        promise = await desk.plain.ask_nowait(4)
        async with office.worker():
            assert await promise == 8
            assert await desk.plain.ask(5) == 10


REPLIES = "f-reply-2d37f2c4-1e5d-4d27-9f01-000000000001"


async def test_pending_questions_of_faust(bootstrap: str, tmp_path: Path) -> None:
    """Questions that a Faust program has left on the topics, in both of its formats, are answered in Faust's bytes."""
    office = Office(bootstrap, tmp_path)
    plain, wraps = (f"{office.name}-{agent}" for agent in ("plain", "wraps"))
    headers = [("Faust-Ag-ReplyTo", REPLIES.encode()), ("Faust-Ag-CorrelationId", b"one")]
    metadata = '"__faust":{"ns":"@ReqRepRequest"}'
    wrapped = f'{{"value":"ab","reply_to":"{REPLIES}","correlation_id":"two",{metadata}}}'.encode()
    await create(bootstrap, plain, wraps, REPLIES)
    async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
        await producer.send_and_wait(plain, b"3", key=b"k", headers=headers)
        await producer.send_and_wait(wraps, wrapped, key=b"k")
    async with office.worker():
        answers = await read(bootstrap, REPLIES, 2)
    assert {answer[0] for answer in answers} == {None}
    assert {answer[1] for answer in answers} == {
        b'{"key":"k","value":"abab","correlation_id":"two","__faust":{"ns":"@ReqRepResponse"}}',
        b'{"key":"k","value":6,"correlation_id":"one","__faust":{"ns":"@ReqRepResponse"}}',
    }


async def test_a_wrapped_question_on_the_wire(bootstrap: str) -> None:
    """With ``use_reply_headers=False`` a question is Faust's object and has no headers; else it is the value with two headers."""
    office = Office(bootstrap, Path())
    async with office.client() as desk:
        promises = [await agent.ask_nowait(3, key="k", partition=0) for agent in (desk.plain, desk.wraps)]
        (plain,) = await read(bootstrap, f"{office.name}-plain", 1)
        (wrapped,) = await read(bootstrap, f"{office.name}-wraps", 1)
    to, ids = promises[0].reply_to, [promise.correlation_id for promise in promises]
    assert to.startswith("f-reply-")
    expected = [("Faust-Ag-ReplyTo", to.encode()), ("Faust-Ag-CorrelationId", ids[0].encode())]
    assert plain == (b"k", b"3", expected)
    metadata = '"__faust":{"ns":"@ReqRepRequest"}'
    assert wrapped == (b"k", f'{{"value":3,"reply_to":"{to}","correlation_id":"{ids[1]}",{metadata}}}'.encode(), [])


# -- plain clients


async def create(bootstrap: str, *topics: str) -> None:
    """Make topics as Faust does."""
    async with administration(bootstrap) as admin:
        await admin.create_topics([NewTopic(topic, 1 if topic == REPLIES else 4, 1) for topic in topics])


Found = tuple[bytes | None, bytes | None, list[tuple[str, bytes]]]


async def read(bootstrap: str, topic: str, count: int) -> list[Found]:
    """Key, value and headers of the first records of partition 0."""
    tp = TopicPartition(topic, 0)
    async with AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest") as consumer:
        consumer.assign([tp])
        await consumer.seek_to_beginning(tp)
        async with asyncio.timeout(60):
            records = [await consumer.getone() for _ in range(count)]
    return [(record.key, record.value, list(record.headers)) for record in records]
