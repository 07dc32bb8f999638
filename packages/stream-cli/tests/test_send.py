"""The command ``send``, on an in-process broker."""

from __future__ import annotations

import io
import json
import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any
from uuid import uuid4

import pytest
from click.testing import CliRunner, Result

from stream_cli.main import call_command, cli
from stream_core.agents.agent import Agent
from stream_core.engine.engine import Engine
from stream_core.errors import BrokerUnavailableError
from stream_core.memory import MemoryCluster, MemoryTransport
from stream_core.primitives import TP, StoredRecord, TopicSpec
from stream_core.sending.several import TopicGroup, TopicPattern
from stream_core.sending.topic import Topic
from stream_core.settings import EngineSettings
from stream_core.streams.channel import Channel
from stream_core.values.record import Record
from stream_core.values.schemas import Schema


class Order(Record, include_metadata=False):
    """A typed value."""

    item: str
    count: int


async def body(stream: Any) -> None:
    """Read.

    And more.
    """
    async for _ in stream:
        pass


class Shop:
    """An app on a broker of its own: two topics, an agent of each, and agents of everything else that agents read."""

    id = "shop"

    def __init__(self) -> None:
        self.transport = MemoryTransport(uuid4().hex)
        self.conf = SimpleNamespace(broker=["memory://"], key_serializer="raw", value_serializer="json")
        self.commands: dict[str, Any] = {}
        orders: Topic[Any, Any] = Topic("orders", schema=Schema(str, Order), partitions=1)
        notes: Topic[Any, Any] = Topic("notes", schema=Schema(), partitions=2)
        self.topics = {"orders": orders, "notes": notes}
        reads: Mapping[str, Topic[Any, Any] | Channel[Any, Any]] = {
            "shop.count": orders,
            "shop.note": notes,
            "shop.inner": Channel("inner"),
            "shop.both": TopicGroup([notes, notes]),
            "shop.any": TopicPattern("notes-.*", schema=Schema()),
        }
        self.agents = {name: Agent(body, name=name, topic=topic) for name, topic in reads.items()}
        self.tables: dict[str, Any] = {}
        self._engine: Engine | None = None
        self.started_within: float | None = 0.0
        self.stopped_within = 0.0

    @property
    def engine(self) -> Engine:
        """What runs."""
        assert self._engine is not None
        return self._engine

    def finalize(self) -> None:
        """There is nothing to import."""

    async def start_client(self, *, fail_fast: bool = False, timeout: float | None = 30.0) -> None:
        """Start without agents, and tell the tests how long it might have taken."""
        self.started_within = timeout
        settings = EngineSettings(self.id, fail_fast=fail_fast, stop_timeout=5)
        topics, agents = self.topics.values(), list(self.agents.values())
        self._engine = Engine(self.transport, settings, topics=topics, agents=agents, client_only=True)
        try:
            await self._engine.start()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Stop, and tell the tests that it was, and how long it might have taken."""
        self.stopped_within = self.engine.stop_timeout
        await self.engine.stop()
        self._engine = None

    def worker(self, **options: Any) -> Any:
        """No test runs one."""
        raise AssertionError(options)

    # -- for tests

    def send(self, *arguments: str, stdin: str | IO[Any] = "") -> Result:
        """Run the command."""
        result = CliRunner().invoke(cli, ["send", *arguments], obj=self, input=stdin)
        assert self._engine is None
        return result

    def records(self, topic: str, partition: int = 0) -> list[tuple[bytes | None, bytes | None]]:
        """The keys and values of a partition."""
        found: list[StoredRecord] = list(
            self.transport.cluster.log(TP(topic, partition)).read(0, 1_000_000, committed=True).records
        )
        return [(record.key, record.value) for record in found]


@pytest.fixture
def shop() -> Iterator[Shop]:
    """An app whose broker is empty."""
    app = Shop()
    yield app
    MemoryCluster.discard(app.transport.cluster.name)


def test_to_an_agent_as_raw_bytes(shop: Shop) -> None:
    """Text goes to the topic of the agent as it is, and the answer says where."""
    result = shop.send("@note", "hello", "--partition", "1")
    assert result.exit_code == 0
    assert result.stdout.startswith("topic=notes partition=1 offset=0 timestamp=20")
    assert shop.records("notes", 1) == [(None, b"hello")]


def test_the_broker_in_memory_is_no_place_to_send_to(shop: Shop) -> None:
    """Whoever tries is told, beside the result, that nobody else gets it."""
    assert "ends with it" in shop.send("@note", "hello").stderr


def test_metadata_as_json(shop: Shop) -> None:
    """``--json`` prints one object a record and nothing else on standard output, before and behind the command."""
    first = json.loads(shop.send("orders", '{"item": "tea", "count": 1}', "--json").stdout)
    assert {name: first[name] for name in ("topic", "partition", "offset")} == {
        "topic": "orders",
        "partition": 0,
        "offset": 0,
    }
    assert first["timestamp"] > 1_700_000_000_000
    result = CliRunner().invoke(cli, ["--json", "send", "orders", "-k", "joe"], obj=shop)
    assert json.loads(result.stdout)["offset"] == 1


def test_quiet_prints_nothing(shop: Shop) -> None:
    """``-q`` leaves the exit code."""
    result = CliRunner().invoke(cli, ["-q", "send", "notes", "hello"], obj=shop)
    assert (result.exit_code, result.output) == (0, "")


def test_key_and_typed_value(shop: Shop) -> None:
    """A topic's types check and encode what is typed."""
    assert shop.send("orders", '{"count": 1, "item": "tea"}', "--key", "joe").exit_code == 0
    assert shop.records("orders") == [(b"joe", b'{"item":"tea","count":1}')]


def test_nothing_is_sent_when_the_value_does_not_fit(shop: Shop) -> None:
    """The error names the field; the broker is not even asked."""
    result = shop.send("@count", '{"item": "tea", "count": "many"}')
    assert result.exit_code == 1
    assert "Error: the value does not fit Order: Expected `int`, got `str` - at `$.count`" in result.stderr
    assert "Traceback" not in result.stderr


def test_types_by_option(shop: Shop) -> None:
    """``-V`` and ``-K`` check on topics that have no types."""
    result = shop.send("notes", '{"item": "tea", "count": 1}', "-V", f"{__name__}.Order", "-K", "int", "-k", "x")
    assert result.exit_code == 1
    assert "the key does not fit int" in result.stderr
    assert "--key-serializer raw" in result.stderr
    assert shop.send("notes", "five", "-V", "int").exit_code == 1


def test_no_value_is_a_tombstone(shop: Shop) -> None:
    """A record without a value, and an empty one, are two things."""
    shop.send("orders", "--key", "joe")
    shop.send("orders", "", "--value-serializer", "raw")
    assert shop.records("orders") == [(b"joe", None), (None, b"")]


def test_a_value_that_was_forgotten(shop: Shop) -> None:
    """Agents of a typed topic do not expect a record without value and key: it is taken for a mistake, and nothing is sent."""
    result = CliRunner().invoke(cli, ["send", "@count"], obj=shop)
    assert result.exit_code == 2
    assert "VALUE is missing" in result.stderr
    assert shop.send("@note").exit_code == 0
    assert shop.records("notes") + shop.records("notes", 1) == [(None, None)]


def test_repeat(shop: Shop) -> None:
    """``--repeat`` sends the value again, with a pause if one is asked for."""
    result = shop.send("orders", "-k", "joe", "-r", "3", "--min-latency", "0.001", "--max-latency", "0.002")
    assert [line.split()[2] for line in result.stdout.splitlines()] == ["offset=0", "offset=1", "offset=2"]


def test_lines_of_standard_input(shop: Shop) -> None:
    """``-`` sends each line as a value, in order, with whatever ends the lines."""
    assert shop.send("notes", "-", "--partition", "0", stdin="a\nb\r\n\nlast").exit_code == 0
    assert [value for _, value in shop.records("notes")] == [b"a", b"b", b"", b"last"]


def test_a_line_that_does_not_fit(shop: Shop) -> None:
    """The line is named; those before it are sent and reported, those behind it are not."""
    good = '{"item": "tea", "count": 1}\n'
    result = shop.send("orders", "-", stdin=good + '{"item": 1}\n' + good)
    assert result.exit_code == 1
    assert "Error: line 2: the value does not fit Order" in result.stderr
    assert len(result.stdout.splitlines()) == 1
    assert len(shop.records("orders")) == 1


def test_a_line_that_is_too_large(shop: Shop) -> None:
    """It is named as one that does not fit; a value that is typed has no line."""
    large = "a" * 1_100_000
    result = shop.send("notes", "-", "--partition", "0", stdin=f"a\n{large}\nb\n")
    assert result.exit_code == 1
    assert "Error: line 2: a record of 11000" in result.stderr
    assert [value for _, value in shop.records("notes")] == [b"a"]
    assert "Error: a record of 11000" in shop.send("notes", large).stderr


def test_a_line_that_the_broker_refuses(shop: Shop) -> None:
    """It is named, too, though those behind it may be sent already."""
    shop.transport.cluster.create(TopicSpec("others", 1, config={"cleanup.policy": "compact"}))
    result = shop.send("others", "-", stdin="without a key\nand this\n")
    assert result.exit_code == 1
    assert "Error: line 1: topic others: the broker refused the record" in result.stderr


def test_standard_input_that_cannot_be_read(shop: Shop) -> None:
    """It is said, as by any command: ``nohup`` leaves one that can only be written to."""
    with open(os.open(os.devnull, os.O_WRONLY), "rb") as unreadable:
        result = shop.send("notes", "-", stdin=unreadable)
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == "Error: standard input cannot be read: Bad file descriptor"


def test_standard_input_that_fails_midway(shop: Shop) -> None:
    """The lines before are sent and reported."""

    class Torn(io.BytesIO):
        """Fails where it would be at its end."""

        def __next__(self) -> bytes:
            line = self.readline()
            if not line:
                raise OSError(5, "Input/output error")
            return line

    result = shop.send("notes", "-", "--partition", "0", stdin=Torn(b"a\nb\n"))
    assert result.exit_code == 1
    assert [line.split()[2] for line in result.stdout.splitlines()] == ["offset=0", "offset=1"]
    assert result.stderr.splitlines()[-1] == "Error: standard input cannot be read: Input/output error"


def test_lines_come_once(shop: Shop) -> None:
    """Standard input cannot be repeated."""
    result = CliRunner().invoke(cli, ["send", "notes", "-", "-r", "2"], obj=shop)
    assert result.exit_code == 2
    assert "lines of the standard input come once" in result.stderr


@pytest.mark.parametrize(
    ("entity", "answer"),
    [
        ("@cuont", "the app has no agent @cuont; did you mean @count?"),
        ("order", "topic order is not on the broker, and not of this app; did you mean orders?"),
        ("qqqqqq", "topic qqqqqq is not on the broker, and not of this app; a topic that the app describes"),
        ("note", "the app describes no topic note; its agent is @note"),
        ("or ders", "'or ders' is no topic name"),
        ("@both", "agent shop.both reads several topics, notes, notes: send to one of them"),
        ("@any", "agent shop.any reads several topics, notes-.*: send to one of them"),
        ("@inner", "agent shop.inner reads the channel inner, which is in the memory of its worker"),
    ],
)
def test_where_nothing_can_be_sent_to(shop: Shop, entity: str, answer: str) -> None:
    """Each mistake has an answer of its own, and exit code 1."""
    result = shop.send(entity, "hello")
    assert result.exit_code == 1
    assert answer in result.stderr


def test_a_partition_that_is_not_there(shop: Shop) -> None:
    """The error names the partition."""
    result = shop.send("orders", "-k", "joe", "--partition", "7")
    assert result.exit_code == 1
    assert "7" in result.stderr


@pytest.mark.parametrize("option", ["--timeout", "--min-latency", "--max-latency"])
@pytest.mark.parametrize("typed", ["nan", "inf", "soon", "-1"])
def test_seconds_are_a_number_with_an_end(shop: Shop, option: str, typed: str) -> None:
    """Nothing else can be waited for."""
    result = CliRunner().invoke(cli, ["send", "notes", "hello", option, typed], obj=shop)
    assert result.exit_code == 2
    assert f"Invalid value for '{option}': " in result.stderr


def test_a_topic_of_others(shop: Shop) -> None:
    """A topic that the app does not describe can be sent to when the broker has it."""
    shop.transport.cluster.create(TopicSpec("others", 1))
    assert shop.send("others", "hello").exit_code == 0
    assert shop.records("others") == [(None, b"hello")]


def test_a_broker_that_is_away(shop: Shop) -> None:
    """There is one sentence, and exit code 1, instead of waiting for it."""
    shop.transport.cluster.faults.fail_next(
        "connect", BrokerUnavailableError("no broker; start one with `stream broker`")
    )
    result = shop.send("notes", "hello")
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == "Error: no broker; start one with `stream broker`"


def test_a_record_that_is_not_acknowledged(shop: Shop) -> None:
    """The command waits as long as it was told, says that the record may be there, and does not wait for it once more at its end."""
    shop.transport.cluster.faults.pause_acks(TP("orders", 0))
    result = shop.send("orders", "-k", "joe", "--timeout", "0.2")
    assert result.exit_code == 1
    assert "topic orders: the record was not acknowledged within 0.2 s; it may be there all the same" in result.stderr
    assert shop.stopped_within == 1.0
    shop.send("notes", "hello")
    assert shop.stopped_within == 5.0
    assert shop.started_within is None  # the command counts the seconds


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no full device")
def test_a_record_whose_place_cannot_be_printed(shop: Shop) -> None:
    """The error says that it is sent all the same."""
    with suppress(OSError), open("/dev/full", "w") as full:
        code, _, errors = call_command("send", ["notes", "hello", "--partition", "0"], app=shop, stdout=full)
    assert isinstance(errors, io.StringIO)
    assert (code, errors.getvalue().splitlines()[-1]) == (
        1,
        "Error: standard output cannot be written to: No space left on device; the record is sent: topic=notes partition=0 offset=0",
    )


def test_ctrl_c_while_the_broker_is_silent(shop: Shop) -> None:
    """The command does not wait for it once more."""
    shop.transport.cluster.faults.pause_acks(TP("notes", 0))

    class Interrupting(io.BytesIO):
        """Interrupts the program after its only line."""

        def __next__(self) -> bytes:
            line = self.readline()
            if not line:
                os.kill(os.getpid(), signal.SIGINT)
                raise StopIteration
            return line

    result = shop.send("notes", "-", "--partition", "0", stdin=Interrupting(b"hello\n"))
    assert (result.exit_code, result.stderr.splitlines()[-1]) == (1, "Aborted!")
    assert shop.stopped_within == 1.0
