"""Commands that look at the broker of an app, on one in this process."""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import signal
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, cast

import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner, Result

import stream_app as faust
from stream_cli.cluster import Cluster
from stream_cli.main import call_command, cli
from stream_cli.offsets import change_offsets
from stream_core.errors import CommitError, DeadlineError, FencedError, TransportError
from stream_core.memory import MemoryCluster, MemoryTransport
from stream_core.memory.admin import MemoryAdmin
from stream_core.memory.outside import MemoryGroups
from stream_core.memory.reader import MemoryReader
from stream_core.memory.settings import MemorySettings
from stream_core.primitives import TP, Offset, TopicInfo, TopicSpec

NOTE = "The broker memory:// is inside this program and ends with it: "
CLUSTER = "inspection"


class Deposit(faust.Record, namespace="inspection.Deposit"):
    """An amount."""

    amount: int


@pytest.fixture
def app(tmp_path: Path) -> Iterator[faust.App]:
    """A bank on a broker in this process, whose worker has counted four deposits, and is stopped."""
    app = faust.App("bank", broker=f"memory://{CLUSTER}", datadir=tmp_path, web_enabled=False)
    deposits = app.topic("deposits", key_type=str, value_type=Deposit, partitions=2)
    totals = app.Table("totals", default=int, key_type=str, value_type=int, help="What each account has.")

    @app.agent(deposits, name="bank.count")
    async def count(stream: Any) -> None:
        """Count deposits."""
        async for event in stream.events():
            totals[event.key] += event.value.amount

    async def work() -> None:
        await app.start()
        for number, key in enumerate(("joe", "ann", "joe", "joe")):
            sent = deposits.send(
                Deposit(number), key=key, partition=int(key == "joe"), timestamp=number, headers={"n": b"%d" % number}
            )
            await (await sent)
        async with asyncio.timeout(20):
            while sum(dict(totals.items()).values()) < 6:  # noqa: ASYNC110 - a table has no event for it
                await asyncio.sleep(0.001)
        await app.stop()

    asyncio.run(work())
    yield app
    MemoryCluster.discard(CLUSTER)


def run(app: faust.App, *arguments: str, input: str | None = None) -> Result:  # noqa: A002 - as click has it
    """Run the program of an app."""
    return CliRunner().invoke(cli, arguments, obj=app, input=input)


def rows(app: faust.App, *arguments: str) -> Any:
    """What a command prints as JSON."""
    result = run(app, "-q", *arguments, "--json")
    assert (result.exit_code, result.stderr) == (0, ""), result.stderr
    return json.loads(result.stdout)


def lines(result: Result) -> list[Any]:
    """The objects that a command prints, one a line."""
    assert result.exit_code == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def cells(result: Result, name: str) -> list[str]:
    """The cells of the row that begins with a name."""
    (row,) = [line for line in result.stdout.splitlines() if line.startswith(f"│ {name} ")]
    return [cell.strip() for cell in row.strip("│").split("│")]


class Mute(MemoryTransport):
    """Makes clients of a broker that never answers one kind of request.

    Attributes:
        request: which.
    """

    request = ""

    async def ask(self, request: str) -> None:
        """Wait for ever, if it is that one."""
        if request == self.request:
            await asyncio.Event().wait()

    def admin(self) -> MemoryAdmin:
        """Make an admin client."""
        return MuteAdmin(self)

    def groups(self) -> MemoryGroups:
        """Make a client of groups."""
        return MuteGroups(self)

    def reader(self, *, read_committed: bool) -> MemoryReader:
        """Make a reader."""
        return MuteReader(self, read_committed)


class MuteAdmin(MemoryAdmin):
    """An admin client of it."""

    def __init__(self, transport: Mute) -> None:
        super().__init__(transport.cluster)
        self._transport = transport

    async def topics(self) -> set[str]:
        """Return the names of topics."""
        await self._transport.ask("topics")
        return await super().topics()

    async def describe(self, topics: Collection[str], *, config: bool = True) -> dict[str, TopicInfo]:
        """Describe topics."""
        await self._transport.ask("describe")
        return await super().describe(topics, config=config)


class MuteGroups(MemoryGroups):
    """A client of its groups."""

    def __init__(self, transport: Mute) -> None:
        super().__init__(transport.cluster, transport.settings)
        self._transport = transport

    async def offsets(self, group: str) -> dict[TP, Offset]:
        """Return the offsets of a group."""
        await self._transport.ask("offsets")
        return await super().offsets(group)


class MuteReader(MemoryReader):
    """A reader of its partitions."""

    def __init__(self, transport: Mute, read_committed: bool) -> None:
        super().__init__(transport.cluster, read_committed=read_committed)
        self._transport = transport

    async def end_offsets(self, tps: Collection[TP], *, committed: bool = False) -> dict[TP, int]:
        """Return the ends of partitions."""
        await self._transport.ask("ends")
        return await super().end_offsets(tps, committed=committed)

    async def assign(self, positions: Mapping[TP, int], ends: Mapping[TP, int] | None = None) -> None:
        """Read these partitions."""
        await self._transport.ask("assign")
        await super().assign(positions, ends)


class Deaf(faust.App):
    """An app that has such a broker."""

    transport: Mute

    def make_transport(self) -> Mute:
        """Make that of the test."""
        return self.transport


@pytest.mark.parametrize(
    ("command", "requests"),
    [
        ("tail deposits", ["describe", "ends", "assign"]),
        ("tail deposits --from-beginning --no-follow", ["describe", "ends", "assign"]),
        ("tail deposits -n 1", ["describe", "ends", "assign"]),
        ("table totals", ["describe", "ends", "assign"]),
        ("dlq list", ["topics", "describe", "ends", "offsets", "assign"]),
        ("lag", ["topics", "describe", "offsets"]),
    ],
)
def test_a_broker_that_stops_answering(tmp_path: Path, command: str, requests: list[str]) -> None:
    """Each request has the time that was said, also of commands that may read for longer, or without end."""
    app = Deaf("bank", broker=f"memory://{CLUSTER}", datadir=tmp_path, web_enabled=False)
    app.transport = Mute(CLUSTER)
    app.Table("totals", default=int)
    for name in ("deposits", "bank-totals-changelog", "bank-dead-letter"):
        app.transport.cluster.create(TopicSpec(name, 1))
    try:
        for request in requests:
            app.transport.request = request
            result = run(app, "-q", *command.split(), "--timeout", "0.05")
            assert result.exit_code == 1, request
            assert result.stderr == (
                "Error: the broker has not answered all of it within 0.05 s; give it more with --timeout\n"
            )
    finally:
        MemoryCluster.discard(CLUSTER)


# -- topics and lag


def test_topics_of_an_app(app: faust.App) -> None:
    """Those it reads, with who reads them, its changelogs, and what is not there yet; all others when asked for."""
    app.topic("later")
    MemoryCluster.named(CLUSTER).create(TopicSpec("foreign", 3))
    MemoryCluster.named(CLUSTER).create(TopicSpec("bank-inner", 1))
    found = {row["name"]: row for row in rows(app, "topics")}
    assert set(found) == {"deposits", "later", "bank-totals-changelog", "bank-inner"}
    size = sum(MemoryCluster.named(CLUSTER).log(TP("deposits", number)).size for number in range(2))
    assert found["deposits"] == {
        "name": "deposits",
        "partitions": 2,
        "records": 4,
        "bytes": size,
        "lag": 0,
        "role": "read by @count",
    }
    assert found["bank-totals-changelog"]["role"] == "changelog of totals"
    assert found["later"] == {
        "name": "later",
        "partitions": 0,
        "records": 0,
        "bytes": None,
        "lag": None,
        "role": "not there yet",
    }
    assert "foreign" in {row["name"] for row in rows(app, "topics", "--all")}
    shown = run(app, "topics")
    assert shown.stdout.startswith("┌Topics")
    assert shown.stderr == NOTE + "nobody else has topics there.\n"
    assert cells(shown, "deposits") == ["deposits", "2", "4", f"{size} B", "0", "read by @count"]
    assert cells(shown, "later") == ["later", "0", "0", "", "", "not there yet"]


def test_a_broker_that_tells_no_sizes(app: faust.App) -> None:
    """A dash stands for what a user who may not describe the cluster is not told; in JSON it is null. All else is shown."""
    MemoryCluster.named(CLUSTER).faults.sizes_hidden = True
    assert {row["name"]: row["bytes"] for row in rows(app, "topics")} == {
        "deposits": None,
        "bank-totals-changelog": None,
    }
    assert cells(run(app, "topics"), "deposits") == ["deposits", "2", "4", "-", "0", "read by @count"]


def test_lag_by_partition(app: faust.App) -> None:
    """What is committed, where the ends are, and what lies between; a partition without an offset counts from its beginning."""
    MemoryCluster.named(CLUSTER).group("bank").offsets.commit({TP("deposits", 1): Offset(1)})
    assert rows(app, "lag", "deposits") == [
        {"topic": "deposits", "partition": 0, "committed": 1, "end": 1, "lag": 0},
        {"topic": "deposits", "partition": 1, "committed": 1, "end": 3, "lag": 2},
    ]
    MemoryCluster.named(CLUSTER).group("bank").offsets.forget("deposits")
    assert [row["lag"] for row in rows(app, "lag")] == [1, 3]


def test_an_offset_of_a_deleted_topic_is_not_counted(app: faust.App) -> None:
    """A commit of it that arrived late lies there for the topic made since; a worker does not begin there either."""
    cluster, tp = MemoryCluster.named(CLUSTER), TP("deposits", 1)
    offsets = cluster.group("bank").offsets
    late = offsets.all()[tp]
    cluster.delete("deposits")
    cluster.create(TopicSpec("deposits", 2))
    offsets.commit({tp: late})
    assert [row["committed"] for row in rows(app, "lag", "deposits")] == [None, None]
    assert rows(app, "offsets", "show") == []
    offsets.commit({tp: Offset(0)})
    assert [row["committed"] for row in rows(app, "lag", "deposits")] == [None, 0]


def test_the_lag_is_added_up(app: faust.App) -> None:
    """Below the partitions stands the sum of what is shown; not where it is one partition, nor in JSON."""
    MemoryCluster.named(CLUSTER).create(TopicSpec("more", 1))
    offsets = MemoryCluster.named(CLUSTER).group("bank").offsets
    offsets.commit({TP("deposits", 1): Offset(1), TP("more", 0): Offset(0)})
    assert sum(row["lag"] for row in rows(app, "lag")) == 2
    assert run(app, "lag").stdout.splitlines()[-1] == "in all: 2, in 3 partitions"
    assert run(app, "lag", "deposits").stdout.splitlines()[-1] == "in all: 2, in 2 partitions"
    offsets.forget("deposits")
    assert run(app, "lag", "deposits").stdout.splitlines()[-1] == "in all: 4, in 2 partitions"
    assert "in all" not in run(app, "lag", "more").stdout


# -- tail


def test_tail_shows_the_last_records(app: faust.App) -> None:
    """By their time over all partitions, decoded, with key, partition, offset and headers."""
    result = run(app, "tail", "deposits", "-n", "2")
    assert result.stdout.splitlines() == [
        'partition=1 offset=1 timestamp=1970-01-01T00:00:02.000Z key=joe value={"amount":2} headers: n=2',
        'partition=1 offset=2 timestamp=1970-01-01T00:00:03.000Z key=joe value={"amount":3} headers: n=3',
    ]
    assert lines(run(app, "tail", "@count", "-n", "9", "--json"))[0] == {
        "topic": "deposits",
        "partition": 1,
        "offset": 0,
        "timestamp": 0,
        "key": "joe",
        "value": {"amount": 0},
        "headers": [["n", "0"]],
    }


def test_tail_from_the_beginning(app: faust.App) -> None:
    """It ends after so many records, or at the end; one partition may be chosen."""
    assert len(lines(run(app, "tail", "deposits", "--from-beginning", "-n", "3", "--json"))) == 3
    whole = lines(run(app, "tail", "deposits", "--from-beginning", "--no-follow", "--json"))
    assert sorted((row["partition"], row["offset"]) for row in whole) == [(0, 0), (1, 0), (1, 1), (1, 2)]
    one = lines(run(app, "tail", "deposits", "--from-beginning", "--no-follow", "--partition", "0", "--json"))
    assert [row["key"] for row in one] == ["ann"]
    assert run(app, "tail", "deposits", "--no-follow").stdout == ""


def test_tail_looks_behind_offsets_without_records(app: faust.App) -> None:
    """The last records are found where compaction has left gaps."""
    log = MemoryCluster.named(CLUSTER)
    log.create(TopicSpec("gaps", 1, config={"cleanup.policy": "compact", "min.compaction.lag.ms": "0"}))

    async def send() -> None:
        await app.start_client()
        for number in range(40):
            await (await app.send("gaps", key=b"a" if number else b"b", value=number))
        await app.stop()

    asyncio.run(send())
    log.clean("gaps")
    assert {row["key"] for row in lines(run(app, "tail", "gaps", "-n", "2", "--json"))} == {"a", "b"}


def test_tail_shows_what_cannot_be_decoded(app: faust.App) -> None:
    """It is shown as it is, and why it does not fit."""
    run(app, "send", "deposits", "what", "--value-serializer", "raw")
    last = lines(run(app, "tail", "deposits", "-n", "1", "--json"))[0]
    assert (last["key"], last["value"]) == (None, "what")
    assert last["problem"].startswith("value: ")
    shown = run(app, "tail", "deposits", "-n", "1").stdout
    assert " key=- value=what (value: " in shown


def test_tail_follows_until_ctrl_c(app: faust.App, tmp_path: Path) -> None:
    """What comes later is waited for, and Ctrl+C ends it with 0."""

    class Interrupting:
        """A place to print to where somebody presses Ctrl+C when he sees a record."""

        encoding = "utf-8"
        text = ""

        def write(self, text: str) -> int:
            self.text += text
            if text.strip():
                signal.raise_signal(signal.SIGINT)
            return len(text)

        def flush(self) -> None:
            """Do nothing."""

    out = Interrupting()
    code, _, err = call_command(
        "-q tail", ["deposits", "--from-beginning", "--partition", "0"], app=app, stdout=cast("IO[str]", out)
    )
    assert code == 0, err
    assert "key=ann" in out.text
    assert len(out.text.splitlines()) == 1


@pytest.mark.parametrize("option", ["--key", "--contains"])
def test_tail_finds_bytes_that_are_no_text(app: faust.App, option: str) -> None:
    """They are typed as for ``send``, which stores them as they are."""
    MemoryCluster.named(CLUSTER).create(TopicSpec("odd", 1))
    typed = os.fsdecode(b"a\xff")
    for text in (typed, "b"):
        assert run(app, "send", "odd", text, "--key", text).exit_code == 0
    found = lines(run(app, "-q", "tail", "odd", "--from-beginning", "--no-follow", "--json", option, typed))
    assert [(row["key"], row["value"]) for row in found] == [(r"a\xff", r"a\xff")]


def test_tail_shows_numbers_of_any_size_and_what_follows(app: faust.App) -> None:
    """An integer of more than 64 bits is shown like any other one."""
    app.topic("numbers", value_type=int, partitions=1)
    MemoryCluster.named(CLUSTER).create(TopicSpec("numbers", 1))
    for number in (1, 10**30, 2):
        run(app, "send", "numbers", str(number))
    typed = ("-q", "tail", "numbers", "--from-beginning", "--no-follow")
    assert [line.split("value=")[1] for line in run(app, *typed).stdout.splitlines()] == ["1", str(10**30), "2"]
    assert [row["value"] for row in lines(run(app, *typed, "--json"))] == [1, 10**30, 2]


@pytest.mark.parametrize(
    ("typed", "code", "said"),
    [
        (("tail", "deposit"), 1, "topic deposit is not on the broker; did you mean deposits?"),
        (("tail", "deposits", "--partition", "7", "-n", "1"), 2, "topic deposits has no partition 7"),
        (("tail", "@cuont"), 1, "did you mean @count?"),
        (("tail",), 2, "Missing argument 'TOPIC'"),
        (("table", "total"), 1, "the app has no table 'total'; did you mean totals?"),
        (("table", "totals", "bob"), 1, "table totals has no key bob"),
        (("settings", "brokr"), 1, "there is no setting 'brokr'; did you mean broker?"),
        (("offsets", "reset", "--to", "soon"), 2, "'soon' is neither earliest nor latest nor the number of an offset"),
        (("offsets", "reset", "--to", "5"), 2, "an offset is that of one topic: name it with --topic"),
        (("offsets", "reset", "--to", "latest", "--topic", "nothing"), 1, "topic nothing is not on the broker"),
        (
            ("offsets", "reset", "--to-earliest", "--partition", "99", "--yes"),
            2,
            "no topic of the group has a partition 99",
        ),
        (
            ("offsets", "reset", "--to-latest", "--topic", "deposits", "--partition", "1", "--partition", "2"),
            2,
            "topic deposits has no partition 2",
        ),
        (("offsets", "reset"), 2, "one of --to, --to-earliest, --to-latest, --to-datetime and --shift"),
        (("offsets", "reset", "--to-latest", "--shift", "1"), 2, "say where to go on with one of --to"),
        (("offsets", "reset", "--to", "latest", "--to-earliest"), 2, "say where to go on with one of --to"),
        (("offsets", "reset", "--to-datetime", "soon"), 2, "'soon' is not a time: write 2026-11-28T14:30"),
        (("offsets", "reset", "--to-datetime", "2026-02-30"), 2, "'2026-02-30' is not a time"),
        (("offsets", "reset", "--to-datetime", "999999999w"), 2, "'999999999w' is not a time"),
        (("lag", "deposit"), 1, "topic deposit is not on the broker; did you mean deposits?"),
        (("offsets", "show", "bank-totals-changelog"), 1, "the app reads no topic bank-totals-changelog"),
        (("lag", "--timeout", "0"), 2, "0 is not in the range x>0"),
    ],
)
def test_mistakes(app: faust.App, typed: tuple[str, ...], code: int, said: str) -> None:
    """Each is one sentence with what was meant, and nothing on standard output."""
    result = run(app, "-q", *typed)
    assert (result.exit_code, result.stdout) == (code, "")
    assert said in " ".join(result.stderr.split())


# -- table


def test_what_a_table_holds(app: faust.App) -> None:
    """All keys with their values and partitions, or one of them, from the changelog."""
    assert rows(app, "table", "totals") == [
        {"key": "ann", "value": 1, "partition": 0},
        {"key": "joe", "value": 5, "partition": 1},
    ]
    assert rows(app, "table", "totals", "joe") == [{"key": "joe", "value": 5, "partition": 1}]
    assert run(app, "table", "totals", "ann").stdout.startswith("┌totals")


def test_keys_of_a_table_without_types(app: faust.App) -> None:
    """What is typed for a key is text or JSON: ``5`` finds the number and the text."""

    async def count() -> None:
        other = faust.App("other", broker=f"memory://{CLUSTER}", web_enabled=False)
        counts, words = other.Table("counts", default=int), other.topic("words", partitions=1)

        @other.agent(words)
        async def work(stream: Any) -> None:
            async for word in stream:
                counts[word] += 1

        await other.start()
        for word in (5, "5", "tea"):
            await (await words.send(word))
        async with asyncio.timeout(20):
            while len(counts) < 3:  # noqa: ASYNC110 - a table has no event for it
                await asyncio.sleep(0.001)
        await other.stop()

    asyncio.run(count())
    again = faust.App("other", broker=f"memory://{CLUSTER}")
    again.Table("counts", default=int)
    assert [row["key"] for row in rows(again, "table", "counts", "tea")] == ["tea"]
    assert [row["key"] for row in rows(again, "table", "counts", "5")] == ["5", 5]


def test_records_of_anybody_cannot_do_anything_to_a_terminal(app: faust.App) -> None:
    """Control characters and line ends are escaped, and a time that is none is a number."""

    async def send() -> None:
        MemoryCluster.named(CLUSTER).create(TopicSpec("odd", 1))
        await app.start_client()
        await (await app.send("odd", key=b"\x1b[2J", value="a\nb", timestamp=-1e15, headers={"h\n": b"\x07"}))
        await app.stop()

    asyncio.run(send())
    (line,) = run(app, "-q", "tail", "odd", "-n", "1").stdout.splitlines()
    assert line.isprintable()
    assert "timestamp=-1000000000000000000 " in line


# -- settings


def test_settings_tell_where_they_come_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An argument, an assignment, an environment variable, or the default; credentials are left out."""
    monkeypatch.setenv("APP_STORE", "rocksdb://")
    monkeypatch.setenv("NODE_CANONICAL_URL", "http://a")
    app = faust.App("bank", broker="kafka://joe:s3cret@a:9092", datadir=tmp_path)
    app.conf.web_port = 7000
    app.conf.canonical_url = "http://b"
    found = {row["name"]: row for row in rows(app, "settings")}
    assert {name: found[name]["source"] for name in ("broker", "web_port", "canonical_url", "store", "web_bind")} == {
        "broker": "argument",
        "web_port": "assignment",
        "canonical_url": "assignment",
        "store": "environment variable APP_STORE",
        "web_bind": "default",
    }
    assert found["store"]["value"] == "rocksdb://"
    result = run(app, "settings")
    assert "s3cret" not in result.output + json.dumps(found)
    assert "***@a:9092" in result.output
    changed = {row["name"] for row in rows(app, "settings", "--changed")}
    assert changed == {"broker", "datadir", "web_port", "canonical_url", "store"}
    assert {row["name"] for row in rows(app, "settings", "store", "broker")} == {"store", "broker"}


# -- offsets


def test_offsets_are_shown(app: faust.App) -> None:
    """Those that the group has committed, with their texts."""
    assert [row["offset"] for row in rows(app, "offsets", "show")] == [1, 3]


def test_a_reset_of_offsets_is_planned_and_asked(app: faust.App) -> None:
    """The plan says what comes again and what is left out; a no leaves everything as it is, a yes changes it."""
    offsets = MemoryCluster.named(CLUSTER).group("bank").offsets
    before = offsets.all()
    plan = rows(app, "offsets", "reset", "--to", "earliest", "--topic", "deposits", "--dry-run")
    assert plan == [
        {"topic": "deposits", "partition": 0, "from": 1, "to": 0, "again": 1, "left out": 0},
        {"topic": "deposits", "partition": 1, "from": 3, "to": 0, "again": 3, "left out": 0},
    ]
    refused = run(app, "-q", "offsets", "reset", "--to", "earliest", input="n\n")
    assert refused.exit_code == 1
    assert "Change 2 offsets of group bank? [y/N]" in refused.stderr
    assert offsets.all() == before

    assert run(app, "-q", "offsets", "reset", "--to", "earliest", input="y\n").exit_code == 0
    assert set(offsets.all().values()) == {Offset(0)}
    assert rows(app, "offsets", "reset", "--to", "99", "--topic", "deposits", "--partition", "1", "--yes")[0]["to"] == 3
    assert offsets.all() == {TP("deposits", 0): Offset(0), TP("deposits", 1): Offset(3)}
    again = run(app, "offsets", "reset", "--to", "latest", "--partition", "1", "--yes")
    assert again.stderr.endswith("There is nothing to do.\n")
    silent = run(app, "-q", "offsets", "reset", "--to", "latest", "--json")
    assert silent.exit_code == 2
    assert "give --yes, or --dry-run" in silent.stderr


class Answer(io.BytesIO):
    """A yes, before which something happens: while the question waits."""

    def __init__(self, before: Callable[[], object]) -> None:
        super().__init__(b"y\n")
        self.before = before

    def read1(self, size: int | None = -1) -> bytes:
        """Give the answer."""
        self.before()
        return super().read1(size)


@pytest.mark.parametrize(
    ("error", "applied", "said"),
    [
        (DeadlineError("no answer"), True, "no answer; the offsets of group bank may be changed all the same: `stream"),
        (
            DeadlineError("no answer"),
            False,
            "the offsets of group bank may be changed all the same: `stream offsets sh",
        ),
        (FencedError("fenced"), False, "somebody was in group bank, and has left it: .*; nothing was changed"),
        (FencedError("fenced"), True, "has left it: .*; all offsets of the plan were changed nevertheless"),
        (CommitError("refused"), False, "refused; nothing was changed"),
        (CommitError("refused"), True, "refused; all offsets of the plan were changed nevertheless"),
    ],
)
def test_a_reset_that_fails_tells_what_was_changed(
    app: faust.App, error: TransportError, applied: bool, said: str
) -> None:
    """An answer that was lost may be one to a change that was made, and a refusal may follow an attempt that was not refused."""
    MemoryCluster.named(CLUSTER).faults.fail_next("offset_commit", error, applied=applied)
    result = run(app, "-q", "offsets", "reset", "--to", "earliest", "--yes")
    assert result.exit_code == 1
    assert re.search(said, " ".join(result.stderr.split()))


def test_a_reset_that_was_made_in_part_names_the_parts(app: faust.App) -> None:
    """A topic that is deleted while the question waits keeps nothing else from being changed."""
    cluster = MemoryCluster.named(CLUSTER)
    cluster.create(TopicSpec("more", 1))
    cluster.group("bank").offsets.commit({TP("more", 0): Offset(1)})
    answer = Answer(lambda: cluster.delete("more"))
    result = CliRunner().invoke(cli, ["-q", "offsets", "reset", "--to", "earliest"], obj=app, input=answer)
    assert result.exit_code == 1
    assert "changed: deposits-0, deposits-1; not changed: more-0" in result.stderr
    assert set(cluster.group("bank").offsets.all().values()) == {Offset(0)}


async def test_a_reset_whose_broker_is_silent_tells_that_it_may_be_made() -> None:
    """The change is on its way when --timeout is over."""

    class Silent(MemoryGroups):
        """Does what it is asked, and never says so."""

        async def change(self, group: str, offsets: Mapping[TP, Offset]) -> None:
            await super().change(group, offsets)
            await asyncio.Event().wait()

    app = faust.App("bank", broker="memory://silent")
    cluster, transport = MemoryCluster.named("silent"), app.make_transport()
    cluster.create(TopicSpec("deposits", 1))
    asked = Cluster(
        app,
        transport,
        transport.admin(),
        Silent(cluster, MemorySettings()),
        transport.reader(read_committed=True),
        timeout=5.0,
    )
    try:
        with pytest.raises(
            DeadlineError, match=r"within 0\.01 s; give it more .*; the offsets .* may be changed all the same"
        ):
            await change_offsets(asked, {TP("deposits", 0): Offset(0)}, 0.01)
    finally:
        MemoryCluster.discard("silent")


WAYS = {
    "--to-earliest": (0, 0),
    "--to-latest": (1, 3),
    "--to-datetime 1970-01-01": (0, 0),
    "--to-datetime 1969-12-31T23:59": (0, 0),
    "--to-datetime 1970-01-01T00:00:01": (0, 1),
    "--to-datetime 1970-01-01T01:00:02+01:00": (1, 1),
    "--to-datetime 1970-01-01T00:00:03Z": (1, 2),
    "--to-datetime 1970-01-01T00:00:04": (1, 3),
    "--to-datetime 2h": (1, 3),
    "--to-datetime 1d12h30m1s": (1, 3),
    "--to-datetime 5200w": (0, 0),
    "--shift 0": (1, 3),
    "--shift -1": (0, 2),
    "--shift -2": (0, 1),
    "--shift-by 5": (1, 3),
}
"""Where a reset leads, by what is typed: ann's deposit was made at 1 s, in partition 0, and joe's at 0, 2 and 3 s in partition 1."""


@pytest.mark.parametrize("typed", WAYS)
def test_ways_to_say_where_to_go_on(app: faust.App, typed: str) -> None:
    """By the ends, by a time, or by so many offsets; always within what the partition holds."""
    command = ("offsets", "reset", *typed.split())
    assert tuple(row["to"] for row in rows(app, *command, "--dry-run")) == WAYS[typed]
    assert run(app, "-q", *command, "--yes").exit_code == 0
    found = MemoryCluster.named(CLUSTER).group("bank").offsets.all()
    assert (found[TP("deposits", 0)].offset, found[TP("deposits", 1)].offset) == WAYS[typed]


def test_an_age_counts_back_from_now(app: faust.App) -> None:
    """What came within the last hours comes again, and the plan says from when on, in UTC."""

    async def send() -> None:
        await app.start_client()
        await (await app.topics["deposits"].send(value=Deposit(1), partition=1))
        await (await app.topics["deposits"].send(value=Deposit(2), partition=1))
        await app.stop()

    asyncio.run(send())
    assert [row["to"] for row in rows(app, "offsets", "reset", "--to-datetime", "2h", "--dry-run")] == [1, 3]
    shown = run(app, "offsets", "reset", "--to-datetime", "2026-11-28T14:30+01:00", "--dry-run")
    assert "Going on at the first record of 2026-11-28T13:30:00.000Z or later.\n" in shown.stderr
    assert shown.stdout.startswith("┌Plan")


# -- without a broker, and in the shell


@pytest.mark.parametrize(
    "typed",
    [
        ("topics",),
        ("lag",),
        ("tail", "deposits"),
        ("table", "totals"),
        ("offsets", "show"),
        ("offsets", "reset", "--to", "latest"),
        ("offsets", "reset", "--to-datetime", "2h"),
    ],
    ids=lambda typed: " ".join(typed),
)
def test_without_a_broker(tmp_path: Path, typed: tuple[str, ...]) -> None:
    """Each command says in a sentence which broker it has not found, and ends with 1."""
    app = faust.App("bank", broker="kafka://127.0.0.1:1", datadir=tmp_path)
    app.Table("totals", key_type=str, value_type=int)
    result = run(app, *typed, "--timeout", "5")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("Error: ")
    assert "127.0.0.1:1" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("typed", "begun", "completed"),
    [
        (["tail"], "dep", ["deposits"]),
        (["tail"], "bank", ["bank-totals-changelog"]),
        (["send"], "@", ["@count"]),
        (["table"], "", ["totals"]),
        (["lag"], "d", ["deposits"]),
        (["offsets"], "s", ["show"]),
        ([], "ta", ["table", "tables", "tail"]),
    ],
)
def test_names_are_completed(app: faust.App, typed: list[str], begun: str, completed: list[str]) -> None:
    """The shell completes commands, and the names of topics, agents and tables."""
    shell = ShellComplete(cli, {"obj": app}, "stream", "_STREAM_COMPLETE")
    assert [item.value for item in shell.get_completions(typed, begun)] == completed


def test_an_app_that_cannot_be_had_completes_nothing() -> None:
    """Nothing is printed into the line that is typed."""
    shell = ShellComplete(cli, {}, "stream", "_STREAM_COMPLETE")
    assert shell.get_completions(["-A", "no_such_module", "tail"], "d") == []
    assert shell.get_completions(["-A", "no_such_module"], "workr") == []
