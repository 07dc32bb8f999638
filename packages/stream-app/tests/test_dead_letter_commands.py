"""The commands that look after dead letters, on a broker in this process."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

import stream_app as faust
from stream_cli.letters import FORGOTTEN, Letter, Letters
from stream_cli.main import cli
from stream_core.errors import DeadlineError
from stream_core.memory import MemoryCluster, MemoryTransport
from stream_core.memory.outside import MemoryGroups
from stream_core.memory.producer import MemoryProducer
from stream_core.primitives import TP, Offset, StoredRecord, TopicSpec
from stream_core.sending.dead_letters import PREFIX

CLUSTER = "letters"
LETTERS = TP("bank-dead-letter", 0)


@pytest.fixture
def app(tmp_path: Path) -> Iterator[faust.App]:
    """A bank whose worker could not work on three of five deposits, and is stopped."""
    app = faust.App("bank", broker=f"memory://{CLUSTER}", datadir=tmp_path, web_enabled=False)
    deposits = app.topic("deposits", key_type=str, value_type=int, partitions=2)
    seen: list[int] = []

    @app.agent(deposits, name="bank.count", on_failure="dead_letter")
    async def count(stream: Any) -> None:
        async for value in stream:
            seen.append(value)
            if value < 0:
                raise ValueError(f"{value} is less than nothing")

    async def work() -> None:
        await app.start()
        for number in (-1, 1, -2, 2, -3):
            await (await deposits.send(number, key="joe", partition=1, headers={"n": b"%d" % number}))
        async with asyncio.timeout(20):
            while len(seen) < 5:  # noqa: ASYNC110 - the list has no event for it
                await asyncio.sleep(0.001)
        await app.stop()

    asyncio.run(work())
    yield app
    MemoryCluster.discard(CLUSTER)


def run(app: faust.App, *arguments: str, input: str | None = None) -> Result:  # noqa: A002 - as click has it
    """Run a command of ``dlq``, which says nothing but errors."""
    return CliRunner().invoke(cli, ["-q", "dlq", *arguments], obj=app, input=input)


def call(app: faust.App, *arguments: str) -> Result:
    """Run a command of ``dlq``."""
    return CliRunner().invoke(cli, ["dlq", *arguments], obj=app)


def listed(app: faust.App) -> list[dict[str, Any]]:
    """The letters that are not done with."""
    result = run(app, "list", "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    found: list[dict[str, Any]] = json.loads(result.stdout)
    return found


def ids(app: faust.App) -> list[str]:
    """Their names, and the offsets of their records."""
    return [row["letter"] for row in listed(app)]


def deposits() -> list[tuple[bytes | None, bytes | None, Any]]:
    """What is on the topic of deposits."""
    log = MemoryCluster.named(CLUSTER).log(TP("deposits", 1))
    return [(one.key, one.value, list(one.headers)) for one in log.read(0, 100, committed=True).records]


def test_letters_are_listed(app: faust.App) -> None:
    """Each says where its record was, who could not work on it, and why."""
    first, *others = listed(app)
    assert {name: first[name] for name in ("letter", "source", "agent", "error")} == {
        "letter": f"{first['letter'].partition(':')[0]}:0",
        "source": "deposits 1:0",
        "agent": "bank.count",
        "error": "ValueError: -1 is less than nothing",
    }
    assert [row["source"] for row in others] == ["deposits 1:2", "deposits 1:4"]
    assert run(app, "list").stdout.startswith("┌Letters")


def test_a_letter_is_shown_whole(app: faust.App) -> None:
    """Its record is decoded by the types of the topic that it was on; the headers of the failure are no headers of it."""
    letter = ids(app)[1]
    shown = json.loads(run(app, "show", letter, "--json").stdout)
    assert (shown["key"], shown["value"], shown["headers"]) == ("joe", -2, [["n", "-2"]])
    text = run(app, "show", letter).stdout
    assert "value: -2\n" in text
    assert "traceback:\n    File " in text
    assert shown["traceback"].splitlines()[-1] == shown["error"]


def test_letters_are_sent_again(app: faust.App) -> None:
    """The record goes to its partition as it was, and the letter is listed no more; the others are."""
    first, second, third = ids(app)
    before = deposits()
    result = run(app, "retry", second, input="y\n")
    assert "Send 1 record again?" in result.stderr
    assert deposits() == [*before, (b"joe", b"-2", [("n", b"-2")])]
    assert ids(app) == [first, third]
    assert run(app, "retry", "--all", "--yes").exit_code == 0
    assert [value for _, value, _ in deposits()[len(before) :]] == [b"-2", b"-1", b"-3"]
    assert ids(app) == []


def test_letters_are_dropped(app: faust.App) -> None:
    """Nothing is sent, and they are listed no more; a plan or a no drops nothing."""
    first, second, third = ids(app)
    before = deposits()
    assert run(app, "drop", third, "--dry-run").exit_code == 0
    assert run(app, "drop", third, input="n\n").exit_code == 1
    assert ids(app) == [first, second, third]
    assert run(app, "drop", first, third, "--yes").exit_code == 0
    assert ids(app) == [second]
    assert run(app, "drop", "--all", "--yes").exit_code == 0
    assert (ids(app), deposits()) == ([], before)


def test_letters_that_cannot_be_sent_stay(app: faust.App) -> None:
    """Without its topic nothing is sent; when sending fails on the way, what was acknowledged is done with."""
    MemoryCluster.named(CLUSTER).delete("deposits")
    result = run(app, "retry", "--all", "--yes")
    assert result.exit_code == 1
    assert (
        "topic deposits, where some of the records come from, is not on the broker; nothing was sent" in result.stderr
    )
    assert len(ids(app)) == 3


@pytest.mark.parametrize(
    ("typed", "code", "said"),
    [
        (
            ("show", "9:9"),
            1,
            "there is no letter 9:9, or it is done with; `stream dlq list` lists those that there are",
        ),
        (("retry",), 2, "name letters, as `stream dlq list` does, or all of them with --all"),
        (("drop", "0:0", "--all"), 2, "name letters"),
        (
            ("list", "--topic", "bank-dead-leter"),
            1,
            "topic bank-dead-leter is not on the broker; did you mean bank-dead-letter?",
        ),
        (("drop", "--all", "--json"), 2, "with --json nobody is asked: give --yes, or --dry-run"),
    ],
)
def test_mistakes(app: faust.App, typed: tuple[str, ...], code: int, said: str) -> None:
    """Each is one sentence, and changes nothing."""
    result = run(app, *typed)
    assert result.exit_code == code
    assert said in " ".join(result.stderr.split())
    assert len(ids(app)) == 3


def test_an_app_in_which_nothing_has_failed(tmp_path: Path) -> None:
    """The list is empty while there is no topic; of several topics one must be named."""
    app = faust.App("shop", broker=f"memory://{CLUSTER}", datadir=tmp_path)
    assert listed(app) == []
    for name in ("a", "b"):
        app.topic(name, on_decode_error=faust.FailurePolicy.dead_letter(f"letters-{name}"))
    result = run(app, "list")
    assert result.exit_code == 2
    assert "name one with --topic: letters-a, letters-b" in result.stderr


class Bank(faust.App):
    """A bank whose broker a test can choose."""

    transport: MemoryTransport

    def make_transport(self) -> MemoryTransport:
        """Make that of the test."""
        return self.transport


@pytest.fixture
def bank(tmp_path: Path) -> Iterator[Bank]:
    """One with four letters, 0:0 to 0:3, whose records were in partitions 0 and 1 of the deposits in turns; the latter had no keys."""
    app = Bank("bank", broker=f"memory://{CLUSTER}", datadir=tmp_path, web_enabled=False)
    app.transport = MemoryTransport(CLUSTER)
    app.transport.cluster.create(TopicSpec("deposits", 2))
    write_letters(app, 4)
    yield app
    MemoryCluster.discard(CLUSTER)


def write_letters(app: Bank, count: int, timestamp: int | None = None) -> None:
    """Put letters on their topic, as workers do."""
    app.transport.cluster.create(TopicSpec(LETTERS.topic, 1))

    async def send() -> None:
        producer = app.transport.producer()
        await producer.start()
        await producer.partitions(LETTERS.topic)
        for number in range(count):
            told = {"topic": b"deposits", "partition": b"%d" % (number % 2), "offset": b"%d" % number}
            headers = [(PREFIX + name, data) for name, data in told.items()]
            producer.send(LETTERS.topic, 0, None if number % 2 else b"joe", b"%d" % number, timestamp, headers)
        await producer.flush()
        await producer.stop()

    asyncio.run(send())


def sent_again(app: Bank) -> list[list[bytes | None]]:
    """The values of both partitions of deposits."""
    logs = [app.transport.cluster.log(TP("deposits", number)) for number in (0, 1)]
    return [[one.value for one in log.read(0, 10_000, committed=True).records] for log in logs]


def test_a_record_that_is_not_acknowledged(bank: Bank) -> None:
    """It is waited for as long as was said, and the letter stays; that of another partition is done with, though it was sent behind."""
    bank.transport.cluster.faults.pause_acks(TP("deposits", 0))
    result = run(bank, "retry", "--all", "--yes", "--timeout", "0.2")
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        "Error: topic deposits: a record was not acknowledged within 0.2 s; 2 of 4 records were sent again; "
        "not acknowledged, and perhaps there all the same: 0:0 0:2"
    ]
    assert ids(bank) == ["0:0", "0:2"]


def test_a_partition_that_takes_nothing(bank: Bank) -> None:
    """Records of others that are acknowledged are done with, also those that were sent after the one that was refused."""
    cluster = bank.transport.cluster
    cluster.delete("deposits")
    cluster.create(TopicSpec("deposits", 2, config={"cleanup.policy": "compact"}))  # it takes no record without a key
    result = run(bank, "retry", "--all", "--yes")
    assert result.exit_code == 1
    assert "; 2 of 4 records were sent again; " in result.stderr
    assert sent_again(bank) == [[b"0", b"2"], []]
    assert ids(bank) == ["0:1", "0:3"]


@pytest.mark.parametrize("applied", [False, True])
def test_a_batch_of_which_nothing_is_known(bank: Bank, applied: bool) -> None:
    """It is said which records may be there: nobody can tell a request that was lost from an answer that was."""
    bank.transport.cluster.faults.fail_next("produce", DeadlineError("no answer"), applied=applied)
    result = run(bank, "retry", "--all", "--yes")
    assert result.exit_code == 1
    assert (
        "no answer; 0 of 4 records were sent again; not acknowledged, and perhaps there all the same: 0:0 0:1 0:2 0:3"
        in result.stderr
    )
    assert sent_again(bank) == [[b"0", b"2"] if applied else [], []]


@pytest.mark.parametrize("refuses", [False, True])
def test_what_cannot_be_remembered(bank: Bank, refuses: bool) -> None:
    """It is said that the records were sent, and how to be done with them; what has kept others from being sent is said too."""
    faults = bank.transport.cluster.faults
    if refuses:
        faults.pause_acks(TP("deposits", 1))
    faults.fail_next("offset_commit", DeadlineError("no answer"))
    result = run(bank, "retry", "--all", "--yes", "--timeout", "0.2")
    done = "0:0 0:2" if refuses else "0:0 0:1 0:2 0:3"
    late = (
        "topic deposits: a record was not acknowledged within 0.2 s; 2 of 4 records were sent again; not acknowledged, "
    )
    late += "and perhaps there all the same: 0:1 0:3"
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        f"Error: {late if refuses else '4 of 4 records were sent again'}; that these are done with may be forgotten: no answer; "
        f"so that they are not sent twice, type `stream dlq drop --topic bank-dead-letter {done}`"
    ]
    assert run(bank, "drop", "--topic", "bank-dead-letter", *done.split(), "--yes").exit_code == 0
    assert ids(bank) == (["0:1", "0:3"] if refuses else [])


class Interrupted(MemoryProducer):
    """A producer during whose end Ctrl+C is pressed, while one record is not acknowledged yet."""

    async def room(self) -> None:
        """Let what was sent so far be acknowledged, and be interrupted."""
        await super().room()
        await asyncio.sleep(0)
        if self.backlog:
            signal.raise_signal(signal.SIGINT)
            await asyncio.Event().wait()


class Silent(MemoryGroups):
    """A client of groups that waits for an answer to a change, for ever."""

    async def change(self, group: str, offsets: Mapping[TP, Offset]) -> None:
        """Wait."""
        await asyncio.Event().wait()


class Interrupting(MemoryTransport):
    """Makes these."""

    silent = False

    def producer(self, **options: Any) -> Interrupted:
        """Make a producer."""
        return Interrupted(self.cluster, self.settings, **options)

    def groups(self) -> MemoryGroups:
        """Make a client of groups."""
        return (Silent if self.silent else MemoryGroups)(self.cluster, self.settings)


@pytest.mark.parametrize("silent", [False, True])
def test_ctrl_c(bank: Bank, silent: bool) -> None:
    """What is acknowledged by then is done with, and it is said what may be there; a broker that is silent is not waited for long."""
    bank.transport = Interrupting(CLUSTER)
    bank.transport.silent = silent
    bank.transport.cluster.faults.pause_acks(TP("deposits", 1))
    result = run(bank, "retry", "--all", "--yes", "--timeout", "0.2")
    bank.transport = MemoryTransport(CLUSTER)
    said, aborted = (line for line in result.stderr.splitlines() if line)
    assert (result.exit_code, aborted) == (1, "Aborted!")
    assert "1 of 4 records were sent again; not acknowledged, and perhaps there all the same: 0:1" in said
    assert ("that these are done with may be forgotten: the broker did not answer within 0.2 s" in said) == silent
    assert ids(bank) == (["0:0"] if silent else []) + ["0:1", "0:2", "0:3"]


class Late(MemoryProducer):
    """A producer that is never started."""

    async def start(self) -> None:
        """Wait."""
        await asyncio.Event().wait()


class Unstarted(MemoryTransport):
    """Makes one."""

    def producer(self, **options: Any) -> Late:
        """Make a producer."""
        return Late(self.cluster, self.settings, **options)


def test_a_producer_that_does_not_start(bank: Bank) -> None:
    """It is waited for as long as was said, and nothing is sent."""
    bank.transport = Unstarted(CLUSTER)
    result = run(bank, "retry", "--all", "--yes", "--timeout", "0.05")
    assert result.exit_code == 1
    assert "within 0.05 s; give it more with --timeout; 0 of 4 records were sent again\n" in result.stderr


@pytest.mark.parametrize("command", ["retry", "drop"])
def test_letters_of_which_too_many_lie_between(bank: Bank, command: str) -> None:
    """What the broker could not remember is refused before anything is sent, or asked."""
    write_letters(bank, 2500)
    every_other = [f"0:{number}" for number in range(1, 2500, 2)]
    result = run(bank, command, *every_other)
    assert result.exit_code == 1
    assert "the broker cannot remember them: retry or drop 0:0, the first one, or `--all`" in result.stderr
    assert sent_again(bank) == [[], []]
    assert run(bank, command, "--all", "--yes").exit_code == 0
    assert ids(bank) == []


def test_records_that_are_no_letters(app: faust.App) -> None:
    """What others have put on the topic is listed, and cannot be sent anywhere."""
    topic = app.topic("bank-dead-letter")

    async def send() -> None:
        await app.start_client()
        await (await topic.send(b"odd"))
        await app.stop()

    asyncio.run(send())
    odd = next(row["letter"] for row in listed(app) if not row["source"])
    result = run(app, "retry", odd, "--yes")
    assert result.exit_code == 1
    assert "does not say where its record comes from; nothing was sent" in result.stderr
    assert run(app, "drop", odd, "--yes").exit_code == 0


def test_what_a_broker_may_have_forgotten(bank: Bank) -> None:
    """Old letters of a partition of which nothing is kept may have been done with: it is said, until something is kept again."""
    said = "2 letters are older than 7 days, and group bank-dead-letters has no offsets of their partitions"
    old = int((datetime.now(UTC) - FORGOTTEN).timestamp() * 1000) - 1
    assert "older than" not in call(bank, "list").stderr
    write_letters(bank, 2, timestamp=old)
    for command in ("list", "retry --all --dry-run", "drop 0:0 --dry-run"):
        assert said in call(bank, *command.split()).stderr
    assert "older than" not in run(bank, "list").stderr
    assert call(bank, "drop", "0:1", "--yes").exit_code == 0
    assert "older than" not in call(bank, "list").stderr


def test_how_old_that_is() -> None:
    """Those of partitions of which something is kept, and those that are younger, are not counted, nor those that are done with."""
    now = datetime(2026, 11, 28, tzinfo=UTC)
    border = int((now - FORGOTTEN).timestamp() * 1000)
    letters = [Letter(LETTERS, StoredRecord(at, border + at - 2, None, None)) for at in range(4)]
    assert Letters("group", {LETTERS: 4}, letters, frozenset()).perhaps_forgotten(now) == 2
    assert Letters("group", {LETTERS: 4}, letters, frozenset({(LETTERS, 0)})).perhaps_forgotten(now) == 1
    assert Letters("group", {LETTERS: 4}, letters, frozenset(), frozenset({LETTERS})).perhaps_forgotten(now) == 0


@given(st.sets(st.integers(0, 40), min_size=1), st.data())
def test_what_is_done_with_is_remembered(present: set[int], data: st.DataObject) -> None:
    """However letters lie and in whichever order they are done with, what a broker keeps says exactly which ones these are."""
    offsets = sorted(present)
    chosen = data.draw(st.sets(st.sampled_from(offsets)))
    letters = [Letter(LETTERS, StoredRecord(number, 0, None, None)) for number in offsets]
    done = frozenset((LETTERS, number) for number in chosen)
    kept: Offset = Letters("group", {LETTERS: 41}, letters, done)._offset(LETTERS, done)
    left = [one.record.offset for one in letters if one.record.offset >= kept.offset]
    again = Letters.done_with({LETTERS: kept}, [one for one in letters if one.record.offset in left])
    assert {number for _, number in again} | {number for number in offsets if number < kept.offset} == chosen
