"""The permissions that the documentation lists are enough, and one that is missing is named."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import quote

import pytest

from processes import run
from stream_core.primitives import TP, TopicSpec
from stream_kafka import KafkaSettings, KafkaTransport

from .secured import OTHER, PASSWORD, Grant, Secured

PROGRAM = """
import sys

import stream_app as faust

name, guarantee, broker = sys.argv.pop(1), sys.argv.pop(1), sys.argv.pop(1)
app = faust.App(
    name, broker=broker, store="memory://", web_enabled=False, topic_partitions=1, processing_guarantee=guarantee
)
deposits = app.topic(f"in-{name}", value_type=int)
echo = app.topic(f"out-{name}", value_type=int)
totals = app.Table("totals", default=int, key_type=str, value_type=int)


@app.agent(deposits)
async def count(stream):
    async for amount in stream.group_by(str, name="amount"):
        totals["all"] += amount
        await echo.send(value=amount)
        print("TOTAL", totals["all"], flush=True)


if __name__ == "__main__":
    app.main()
"""


def documented(name: str, guarantee: str) -> list[Grant]:
    """What the page on security says that an app needs which reads one topic and writes another."""
    grants = [
        Grant(f"topic in-{name}", "Read, Describe, DescribeConfigs"),
        Grant(f"topic out-{name}", "Write, Describe, DescribeConfigs"),
        Grant(f"topic {name}-*", "Read, Write, Describe, DescribeConfigs, Create"),
        Grant(f"group {name}", "Read, Describe"),
    ]
    return grants + [Grant(f"transactional id {name}-*", "Write, Describe")] * (guarantee == "exactly_once")


async def prepare(secured: Secured, name: str) -> None:
    """Create the topics that are not the app's own, with one record to read."""
    transport = KafkaTransport(KafkaSettings(servers=(secured.broker.address,)))
    admin, producer = transport.admin(), transport.producer()
    await admin.start()
    await admin.create([TopicSpec(f"in-{name}", 1), TopicSpec(f"out-{name}", 1)])
    await admin.stop()
    await producer.start()
    await producer.partitions(f"in-{name}")
    await producer.send(f"in-{name}", 0, None, b"41")
    await producer.stop()


def url(secured: Secured) -> str:
    """Where the user who has to be granted everything logs in."""
    return f"kafka://{OTHER}:{quote(PASSWORD, safe='')}@{secured.address('PASSWORDS')}"


@pytest.mark.parametrize("guarantee", ["at_least_once", "exactly_once"])
async def test_the_documented_permissions_are_enough(guarantee: str, secured: Secured, tmp_path: Path) -> None:
    """An app with a table and a repartition runs with them, and stops cleanly."""
    name = guarantee.replace("_", "")
    program = tmp_path / f"{name}.py"
    program.write_text(PROGRAM)
    await prepare(secured, name)
    await secured.grant(*documented(name, guarantee))
    async with run(program, name, guarantee, url(secured), "worker") as worker:
        await worker.said("TOTAL 41")
        assert await worker.terminate() == 0, worker.log


@pytest.mark.parametrize(
    ("missing", "named"),
    [
        (0, r"describing topics .*no permission on topic in-{name};"),
        (1, r"describing topics .*no permission on topic out-{name};"),
        (
            2,
            r"describing topics .*no permission on topic {name}-(totals-changelog|{name}\.count-in-{name}-amount-repartition);",
        ),
        (3, r"no permission on group {name};"),
        (4, r"asking for a producer id .*no permission on transactional id {name}-.*;"),
    ],
    ids=["source", "output", "own topics", "group", "transactional id"],
)
async def test_a_permission_that_is_missing_is_named(
    missing: int, named: str, secured: Secured, tmp_path: Path
) -> None:
    """The worker does not wait for it but exits with 1, and says on which resource it is missing."""
    name = f"missing{missing}"
    program = tmp_path / f"{name}.py"
    program.write_text(PROGRAM)
    await prepare(secured, name)
    grants = documented(name, "exactly_once")
    del grants[missing]
    await secured.grant(*grants)
    async with run(program, name, "exactly_once", url(secured), "worker") as worker:
        code = await worker.exit()

    assert code == 1
    assert re.search(
        rf"(?:the worker ends|cannot go on): .*{named.format(name=name)} grant it at the broker$", worker.log, re.M
    ), worker.log


async def test_sizes_are_told_to_who_may_describe_the_cluster(secured: Secured) -> None:
    """Whoever may not is told none, and that is no error; permissions on the topic are not enough."""
    name = "sizes"
    await prepare(secured, name)
    await secured.grant(Grant(f"topic in-{name}", "Read, Describe"))
    tp = TP(f"in-{name}", 0)
    allowed, other = (
        KafkaTransport(address).admin() for address in (f"kafka://{secured.broker.address}", url(secured))
    )
    for admin in (allowed, other):
        await admin.start()
    try:
        assert (await allowed.sizes([tp]))[tp] > 0
        assert await other.sizes([tp]) == {}
    finally:
        for admin in (allowed, other):
            await admin.stop()
