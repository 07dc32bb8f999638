"""Failure policies with worker processes on Kafka: committed offsets, outputs and dead letters are compared one by one."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import uuid
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import NewTopic

from chaos.kafka import Kafka
from chaos.waiting import until
from operators import administration

PROGRAM = '''
"""An agent for each way to fail and each policy, named on the command line of the test."""

import os

import stream_app as faust

app = faust.App(os.environ["POLICIES_APP"], agent_max_restarts=2, broker_commit_interval=0.2, web_enabled=False)
again = faust.FailurePolicy.retry(2, delay=0.05, then="dead_letter")
policies = {"crash": "crash", "skip": "skip", "dead_letter": "dead_letter", "retry": again}
bad = (5, 6, 13)


def define(kind, policy):
    name = f"{app.id}-{kind}-{policy}"
    declared = policies[policy]
    source = app.topic(name, key_type=int, value_type=int, on_decode_error=declared)
    out = app.topic(f"{name}-out", key_type=int, on_produce_error=declared)
    send = {"unserialisable": object(), "oversized": "x" * 2_000_000, "refused": "x" * 10_000}

    @app.agent(source, name=f"{kind}-{policy}", on_failure=declared)
    async def work(stream):
        if kind == "items":
            async for key, value in stream.items():
                await out.send(value, key=key)
        async for event in stream.events():
            if kind == "body" and event.value in bad:
                raise ValueError(f"{event.value} is bad")
            if kind == "return" and event.value in bad:
                return
            await out.send(send[kind] if kind in send and event.value in bad else event.value, key=event.key)


for pair in os.environ["POLICIES_CASES"].split():
    define(*pair.split(":"))

if __name__ == "__main__":
    app.main()
'''

COUNT = 20
BAD = (5, 6, 13)
"""The offsets that fail: two in a row, and one by itself."""

POISONED = ("value", "key", "items")
SENT = ("unserialisable", "oversized", "refused")
KINDS = ("body", *POISONED, *SENT)
PATIENCE = 90.0
GUARANTEES = ("at_least_once", "exactly_once")
PREFIX = "stream-dead-letter-"

Found = list[tuple[bytes | None, bytes | None, dict[str, bytes]]]


class Apps:
    """One app on one cluster: its topics, its worker processes, and what they left on the broker.

    Args:
        bootstrap: address of the broker.
        directory: for the program, its data and its log.
        guarantee: the processing guarantee.
        cases: ``kind:policy`` for each agent.
    """

    def __init__(self, bootstrap: str, directory: Path, guarantee: str, cases: Collection[str]) -> None:
        self.id = f"policies-{uuid.uuid4().hex[:8]}"
        self.kafka = Kafka(bootstrap)
        self.log = directory / "worker.log"
        self.process: asyncio.subprocess.Process | None = None
        self._program = directory / "program.py"
        self._program.write_text(PROGRAM)
        self._cases = cases
        self._environment = {
            **os.environ,
            "BROKER_URL": f"kafka://{bootstrap}",
            "APP_DATADIR": str(directory / "data"),
            "PROCESSING_GUARANTEE": guarantee,
            "POLICIES_APP": self.id,
        }

    def name(self, case: str) -> str:
        """The topic of a case."""
        return f"{self.id}-{case.replace(':', '-')}"

    async def create(self) -> None:
        """Make the topics and fill those that are read: numbers as keys and values, and a bad record at each bad offset."""
        refused = {"max.message.bytes": "2000"}
        async with administration(self.kafka.address) as admin:
            for case in self._cases:
                config = refused if case.startswith("refused") else {}
                out = NewTopic(f"{self.name(case)}-out", 1, 1, topic_configs=config)
                await admin.create_topics([NewTopic(self.name(case), 1, 1), out])
        producer = AIOKafkaProducer(bootstrap_servers=self.kafka.address)
        await producer.start()
        try:
            for case in self._cases:
                for offset in range(COUNT):
                    headers = [("number", b"%d" % offset)]
                    await producer.send(self.name(case), *swapped(record(case, offset)), partition=0, headers=headers)
            await producer.flush()
        finally:
            await producer.stop()

    @asynccontextmanager
    async def worker(self, **environment: str) -> AsyncIterator[asyncio.subprocess.Process]:
        """A worker process; killed when it still runs at the end of the block."""
        settings = {**self._environment, "POLICIES_CASES": " ".join(self._cases), **environment}
        with self.log.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, str(self._program), "worker"), stdout=log, stderr=log, env=settings
            )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    async def committed(self, case: str) -> int:
        """The committed offset of a case; 0 when there is none."""
        return (await self.kafka.committed(self.id, self.name(case))).get(0, 0)

    async def finished(self, process: asyncio.subprocess.Process) -> None:
        """Wait until every record of every case is committed, then let the worker end, which it does with code 0."""
        missing: dict[str, int] = {}

        async def all_committed() -> bool:
            missing.clear()
            missing.update({c: at for c in self._cases if (at := await self.committed(c)) != COUNT})
            return not missing

        def alive() -> None:
            assert process.returncode is None, self.log.read_text()[-5000:]

        await until(all_committed, seconds=PATIENCE, what=lambda: f"all is committed, but {missing}", check=alive)
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), PATIENCE) == 0, self.log.read_text()[-5000:]

    async def sent(self, case: str) -> list[int]:
        """The values that a case sent on, in order."""
        return [int(value or b"") for _, value, _ in await self.read(f"{self.name(case)}-out")]

    async def letters(self) -> dict[str, Found]:
        """The dead letters of each case, by their offsets."""
        found: dict[str, Found] = {}
        for letter in await self.read(f"{self.id}-dead-letter"):
            found.setdefault(letter[2][f"{PREFIX}topic"].decode(), []).append(letter)
        return {
            name: sorted(some, key=lambda letter: int(letter[2][f"{PREFIX}offset"])) for name, some in found.items()
        }

    async def read(self, topic: str) -> Found:
        """Key, value and headers of every committed record."""
        tps = [TopicPartition(topic, partition) for partition in await self.kafka.ends(topic)]
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.kafka.address,
            isolation_level="read_committed",
            auto_offset_reset="earliest",
            enable_auto_commit=False,
        )
        await consumer.start()
        found: Found = []
        try:
            consumer.assign(tps)
            ends = await consumer.end_offsets(tps)
            async with asyncio.timeout(PATIENCE):
                while any([await consumer.position(tp) < ends[tp] for tp in tps]):
                    for records in (await consumer.getmany(timeout_ms=200)).values():
                        found += [(one.key, one.value, dict(one.headers)) for one in records]
        finally:
            await consumer.stop()
        return found


def record(case: str, offset: int) -> tuple[bytes, bytes]:
    """Key and value of an input record."""
    number = b"%d" % offset
    if offset not in BAD:
        return number, number
    poison = {"value": (number, b"\x00 no JSON \xff"), "key": (b"no number", number), "items": (b"no number", number)}
    return poison.get(case.partition(":")[0], (number,) * 2)


def swapped(pair: tuple[bytes, bytes]) -> tuple[bytes, bytes]:
    """Value and key: the order of arguments of the client."""
    return pair[1], pair[0]


def expect(case: str, sent: list[int], guarantee: str, left_out: Collection[int]) -> None:
    """Check what a case sent on: everything but some, in order; once, unless a refused record made an interval come again."""
    if guarantee == "at_least_once" and case.startswith("refused"):
        sent = sorted(set(sent))
    assert sent == [number for number in range(COUNT) if number not in left_out], case


@pytest.mark.parametrize("kinds", [KINDS[:-1], KINDS[-1:]], ids=["all others", "refused"])
@pytest.mark.parametrize("guarantee", GUARANTEES)
async def test_a_worker_that_goes_on(bootstrap: str, tmp_path: Path, guarantee: str, kinds: Collection[str]) -> None:
    """Under skip, dead_letter and retry everything is committed and sent on but what failed, whose letters have every byte."""
    cases = [f"{kind}:{policy}" for kind in kinds for policy in ("skip", "dead_letter", "retry")]
    apps = Apps(bootstrap, tmp_path, guarantee, cases)
    await apps.create()
    async with apps.worker() as process:
        await apps.finished(process)

    letters = await apps.letters()
    assert letters.keys() == {apps.name(case) for case in cases if not case.endswith(":skip")}
    for case in cases:
        expect(case, await apps.sent(case), guarantee, BAD)
        kind, _, policy = case.partition(":")
        if policy == "skip":
            continue
        found = letters[apps.name(case)]
        if guarantee == "at_least_once" and kind == "refused":  # an interval that came again sends its letters again
            found = list({letter[2][f"{PREFIX}offset"]: letter for letter in found}.values())
        assert [letter[:2] for letter in found] == [record(case, offset) for offset in BAD], case
        for offset, (_, _, headers) in zip(BAD, found, strict=True):
            told = {name.removeprefix(PREFIX): value.decode() for name, value in headers.items()}
            assert (told["number"], told["offset"], told["partition"]) == (str(offset), str(offset), "0"), case
            assert told["agent"] == f"{kind}-{policy}"
            error = {"body": "ValueError", "refused": "stream_core.errors.RecordRefusedError"}
            usual = "stream_core.errors.DecodeError" if kind in POISONED else "stream_core.errors.EncodeError"
            assert told["error-type"] == error.get(kind, usual), case
            assert told["error-message"]
            assert int(told["timestamp"]) > 1_600_000_000_000


@pytest.mark.parametrize("guarantee", GUARANTEES)
@pytest.mark.parametrize("kind", KINDS)
async def test_a_worker_that_crashes(bootstrap: str, tmp_path: Path, kind: str, guarantee: str) -> None:
    """It exits with 1 and names the place; nothing from there on is committed; once it may skip that, all else is done."""
    case = f"{kind}:crash"
    apps = Apps(bootstrap, tmp_path, guarantee, [case])
    await apps.create()
    async with apps.worker() as process:
        assert await asyncio.wait_for(process.wait(), PATIENCE) == 1

    log = apps.log.read_text()
    often = "" if kind in POISONED else " 3 times"  # decoding gives the same result each time
    assert f"failed{often} at {apps.name(case)}-0 offset {BAD[0]}" in log
    advice = 'declare on_failure="skip" or "dead_letter"'
    if kind in POISONED:
        advice = f'declare on_decode_error="skip" or "dead_letter" for topic {apps.name(case)}'
    elif kind in SENT:
        advice = f'declare on_produce_error="skip" or "dead_letter" for topic {apps.name(case)}-out'
    assert advice in log
    committed, sent = await apps.committed(case), await apps.sent(case)
    if kind == "refused":  # its interval is dropped as a whole
        assert committed <= BAD[0]
        assert set(sent) <= set(range(BAD[0]))
    else:
        assert committed == BAD[0]
        assert sent == list(range(BAD[0]))

    apps._program.write_text(PROGRAM.replace('"crash": "crash"', '"crash": "skip"'))
    async with apps.worker() as process:
        await apps.finished(process)
    expect(case, await apps.sent(case), guarantee, BAD)


async def test_an_agent_that_returns(bootstrap: str, tmp_path: Path) -> None:
    """A body that leaves its loop ends the worker with 1; its event is not committed."""
    apps = Apps(bootstrap, tmp_path, "exactly_once", ["return:crash"])
    await apps.create()
    async with apps.worker() as process:
        assert await asyncio.wait_for(process.wait(), PATIENCE) == 1
    assert "returned although its stream never ends" in apps.log.read_text()
    assert await apps.committed("return:crash") == BAD[0]
    assert await apps.sent("return:crash") == list(range(BAD[0]))


async def test_retry_through_rebalances_and_kills(bootstrap: str, tmp_path: Path) -> None:
    """While an event is tried again for ever, its worker may be killed and others join: it stays first, and nothing passes it."""
    apps = Apps(bootstrap, tmp_path, "exactly_once", ["body:skip"])
    endless = "policies = " + repr({"skip": "ENDLESS"}).replace(
        "'ENDLESS'", "faust.FailurePolicy.retry(None, delay=0.2)"
    )
    apps._program.write_text(PROGRAM.replace("policies = {", f"{endless}\n_ = {{"))
    await apps.create()

    async def failed(times: int) -> bool:
        return apps.log.read_text().count(f"failed at {apps.name('body:skip')}-0 offset {BAD[0]}") >= times

    async with apps.worker() as one:
        await until(lambda: failed(2), seconds=PATIENCE, what=lambda: "two failures")
        async with apps.worker():
            one.kill()
            await one.wait()
            before = apps.log.read_text().count("failed at")
            await until(lambda: failed(before + 2), seconds=PATIENCE, what=lambda: "failures on the other worker")
            assert await apps.committed("body:skip") == BAD[0]
    apps._program.write_text(PROGRAM)
    async with apps.worker() as process:
        await apps.finished(process)
    expect("body:skip", await apps.sent("body:skip"), "exactly_once", BAD)


def test_every_case_is_its_own(tmp_path: Path) -> None:
    """The input of a case is bad where it says, and nowhere else."""
    for kind in KINDS:
        wrong = [offset for offset in range(COUNT) if record(f"{kind}:skip", offset) != (b"%d" % offset,) * 2]
        assert wrong == (list(BAD) if kind in POISONED else [])
