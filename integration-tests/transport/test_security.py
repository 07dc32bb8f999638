"""Log-ins and TLS on a real broker: what is right works whole, what is wrong says so at once and shows no password."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from processes import run
from stream_core.errors import AuthenticationError, BrokerUnavailableError, StreamError, TransportError
from stream_core.primitives import TP, Offset
from stream_core.testing.contracts import BrokerHarness
from stream_kafka import KafkaSettings, KafkaTransport, OAuthCredentials, SASLCredentials, SSLCredentials
from stream_kafka.credentials import Credentials

from .secured import PASSWORD, USER, Secured, token

WRONG = "wr0ng-s3cret"
QUICK = {"request_timeout": 15.0, "session_timeout": 6.0, "heartbeat_interval": 0.5, "rebalance_timeout": 10.0}


def scram(mechanism: str, password: str = PASSWORD, context: ssl.SSLContext | None = None) -> SASLCredentials:
    """User and password."""
    return SASLCredentials(username=USER, password=password, mechanism=mechanism, ssl_context=context)


async def asynchronous() -> str:
    """A token."""
    return token()


Way = tuple[str, Callable[[Secured], Credentials | None]]
WAYS: dict[str, Way] = {
    "PLAIN": ("PASSWORDS", lambda secured: scram("PLAIN")),
    "SCRAM-SHA-256": ("PASSWORDS", lambda secured: scram("SCRAM-SHA-256")),
    "SCRAM-SHA-512": ("PASSWORDS", lambda secured: scram("SCRAM-SHA-512")),
    "OAUTHBEARER": ("TOKENS", lambda secured: OAuthCredentials(oauth_cb=token)),
    "OAUTHBEARER async": ("TOKENS", lambda secured: OAuthCredentials(oauth_cb=asynchronous)),
    "TLS": ("TLS", lambda secured: SSLCredentials(secured.context())),
    "TLS cadata": ("TLS", lambda secured: SSLCredentials(cadata=secured.authority.cert_pem.bytes().decode())),
    "mutual TLS": ("MUTUAL", lambda secured: SSLCredentials(secured.context(certificate=True))),
    "SCRAM over TLS": ("SAFE", lambda secured: scram("SCRAM-SHA-512", context=secured.context())),
}


def settings(secured: Secured, listener: str, credentials: Credentials | None, **options: Any) -> KafkaSettings:
    """Settings with short timeouts."""
    return KafkaSettings(servers=(secured.address(listener),), credentials=credentials, **{**QUICK, **options})


@pytest.mark.parametrize("way", WAYS)
async def test_every_client_works(way: str, secured: Secured) -> None:
    """Topics are declared, records go through a transaction, a member reads them, and their offsets are committed."""
    listener, make = WAYS[way]
    async with BrokerHarness(KafkaTransport(settings(secured, listener, make(secured)))) as harness:
        tp, group = TP(await harness.topic(), 0), harness.name("group")
        member = await harness.alone(group, tp.topic, read_committed=True)
        producer = await harness.producer(tp.topic, transactional_id=harness.name("transaction"))
        await producer.begin()
        producer.send(tp.topic, 0, b"key", b"value")
        await producer.commit({tp: Offset(7)}, member.group)
        reader = await harness.reader({tp: 0}, read_committed=True)
        received = await harness.receive(reader, lambda got: got.count() == 1)

        assert received.values(tp) == [b"value"]
        assert await member.consumer.committed([tp]) == {tp: Offset(7)}


async def test_the_user_may_stand_in_the_url(secured: Secured) -> None:
    """What is neither letter nor digit is percent-encoded; the mechanism is said by credentials without a user."""
    url = f"kafka://{USER}:{quote(PASSWORD, safe='')}@{secured.address('PASSWORDS')}"
    for credentials in (None, SASLCredentials(mechanism="SCRAM-SHA-256")):
        admin = KafkaTransport(url, credentials=credentials).admin()
        await admin.start()
        await admin.stop()


Refusal = tuple[str, Callable[[Secured], Credentials | None], str]
REFUSALS: dict[str, Refusal] = {
    "PLAIN, wrong password": (
        "PASSWORDS",
        lambda secured: scram("PLAIN", WRONG),
        r"authentication failed for user 'ann' \(PLAIN\): .*check broker_credentials",
    ),
    "SCRAM, wrong password": (
        "PASSWORDS",
        lambda secured: scram("SCRAM-SHA-512", WRONG),
        r"authentication failed for user 'ann' \(SCRAM-SHA-512\): .*check broker_credentials",
    ),
    "SCRAM over TLS, wrong password": (
        "SAFE",
        lambda secured: scram("SCRAM-SHA-512", WRONG, secured.context()),
        r"authentication failed for user 'ann' \(SCRAM-SHA-512\)",
    ),
    "a mechanism that is not offered": (
        "SAFE",
        lambda secured: scram("PLAIN", PASSWORD, secured.context()),
        r"does not offer PLAIN; choose one of its sasl.enabled.mechanisms",
    ),
    "a token that is none": (
        "TOKENS",
        lambda secured: OAuthCredentials(oauth_cb=lambda: WRONG),
        r"authentication failed for the token of oauth_cb \(OAUTHBEARER\)",
    ),
    "a token that has expired": (
        "TOKENS",
        lambda secured: OAuthCredentials(oauth_cb=lambda: token(seconds=-60)),
        r"authentication failed for the token of oauth_cb \(OAUTHBEARER\): .*invalid_token",
    ),
    "an authority that is not trusted": (
        "TLS",
        lambda secured: SSLCredentials(),
        r"its certificate is not trusted \(.*\); .*SSLCredentials\(cafile=\.\.\.\)",
    ),
    "another host name": (
        "ELSEWHERE",
        lambda secured: SSLCredentials(secured.context()),
        r"its certificate is for another host name \(.*\); connect by a name that the certificate has",
    ),
    "no certificate of the client": (
        "MUTUAL",
        lambda secured: SSLCredentials(secured.context()),
        r"refuses the TLS handshake \(.*\); .*load_cert_chain",
    ),
}


async def refused(secured: Secured, listener: str, credentials: Credentials | None) -> list[StreamError]:
    """What each kind of client raises at its start."""
    transport = KafkaTransport(settings(secured, listener, credentials))
    clients = (
        transport.admin(),
        transport.consumer("group", read_committed=True),
        transport.reader(read_committed=False),
        transport.producer(),
        transport.producer(transactional_id="transaction"),
    )
    errors: list[StreamError] = []
    for client in clients:
        async with asyncio.timeout(10):
            with pytest.raises(TransportError) as caught:
                await client.start()
        errors.append(caught.value)
        await client.stop()
    return errors


@pytest.mark.parametrize("kind", REFUSALS)
async def test_a_refusal_is_said_in_one_sentence(kind: str, secured: Secured, caplog: pytest.LogCaptureFixture) -> None:
    """Every client says at once who was refused where, why, and what to do; no secret is in it, nor in any log."""
    listener, make, message = REFUSALS[kind]
    caplog.set_level(logging.DEBUG)

    for error in await refused(secured, listener, make(secured)):
        assert isinstance(error, AuthenticationError)
        with pytest.raises(AuthenticationError, match=rf"^{secured.address(listener)}.*{message}"):
            raise error
        assert "\n" not in str(error)
        assert WRONG not in str(error)
    logged = caplog.text + repr([record.args for record in caplog.records])
    assert WRONG not in logged
    assert PASSWORD not in logged


@pytest.mark.parametrize(
    ("listener", "make", "message"),
    [
        ("PASSWORDS", lambda secured: None, r"may want TLS \(kafkas://\), want a log-in \(broker_credentials\)"),
        ("TLS", lambda secured: None, r"may want TLS \(kafkas://\), want a log-in"),
        ("PASSWORDS", lambda secured: SSLCredentials(secured.context()), r"may have no TLS on this port \(kafka://\)"),
        ("SAFE", lambda secured: scram("SCRAM-SHA-512"), r"may want TLS \(kafkas://\), or be no Kafka"),
    ],
    ids=["no log-in", "no TLS", "TLS where is none", "log-in without TLS"],
)
async def test_a_listener_of_another_kind(
    listener: str, make: Callable[[Secured], Credentials | None], message: str, secured: Secured
) -> None:
    """It closes the connection, as a broker does that is not up yet: what may be wrong is said, and waiting is up to the caller."""
    for error in await refused(secured, listener, make(secured)):
        with pytest.raises(BrokerUnavailableError, match=message):
            raise error


async def test_tokens_are_asked_for_at_each_log_in(secured: Secured) -> None:
    """A broker ends log-ins after a while; the clients log in again with a new token, and nothing is lost."""
    asked: list[str] = []

    def give() -> str:
        asked.append(token())
        return asked[-1]

    transport = KafkaTransport(settings(secured, "BRIEF", OAuthCredentials(oauth_cb=give)))
    async with BrokerHarness(transport) as harness:
        tp = TP(await harness.topic(), 0)
        producer, reader = await harness.producer(tp.topic), await harness.reader({tp: 0})
        began, sent = len(asked), 0
        async with asyncio.timeout(30):
            while len(asked) < began + 6:  # three connections
                producer.send(tp.topic, 0, None, str(sent).encode())
                sent += 1
                await producer.flush()
                await asyncio.sleep(0.05)
        received = await harness.receive(reader, lambda got: got.count() >= sent)

        assert received.values(tp) == [str(number).encode() for number in range(sent)]


async def test_a_client_that_is_refused_while_it_runs_says_so(secured: Secured) -> None:
    """Credentials that are not renewed end the client once the brokers have refused it for a whole request timeout."""
    tokens = [token()]
    transport = KafkaTransport(
        settings(
            secured,
            "BRIEF",
            OAuthCredentials(oauth_cb=lambda: tokens[-1]),
            request_timeout=2.0,
            rebalance_timeout=1.0,
        )
    )
    async with BrokerHarness(KafkaTransport(settings(secured, "PASSWORDS", scram("PLAIN")))) as harness:
        topic = await harness.topic()
        consumer = transport.consumer(harness.name("group"), read_committed=False)
        await consumer.start()
        try:
            member = harness.name("other")
            assert await consumer.committed([TP(topic, 0)]) == {TP(topic, 0): None}, member
            tokens.append(WRONG)

            async def use() -> None:
                while True:
                    consumer.check()
                    try:
                        await consumer.end_offsets([TP(topic, 0)])
                    except AuthenticationError:
                        raise
                    except TransportError:
                        pass
                    await asyncio.sleep(0.05)

            async with asyncio.timeout(30):
                with pytest.raises(AuthenticationError, match=r"refuse this client since 2 s: .*oauth_cb") as caught:
                    await use()
            assert WRONG not in str(caught.value)
        finally:
            await consumer.stop()


PROGRAM = """
import sys

import stream_app as faust

user, password, mechanism = sys.argv.pop(1).split(" ")
cafile = sys.argv.pop(1)
secure = faust.SSLCredentials(cafile=cafile).ssl_context if cafile else None
app = faust.App(
    "secured", broker="kafka://" + sys.argv.pop(1), store="memory://", web_enabled=False, topic_partitions=1,
    processing_guarantee="exactly_once", ssl_context=secure,
    broker_credentials=faust.SASLCredentials(username=user, password=password, mechanism=mechanism),
)
numbers = app.topic("secured-numbers", value_type=int)
seen = app.Table("seen", default=int, key_type=str, value_type=int)


@app.agent(numbers)
async def count(stream):
    async for number in stream:
        seen["all"] += number
        print("SEEN", seen["all"], flush=True)


@app.task
async def feed():
    await numbers.send(value=41)

if __name__ == "__main__":
    app.main()
"""


def arguments(secured: Secured, listener: str, password: str, directory: Path) -> list[str]:
    """What the program wants to know."""
    (directory / "ca.pem").write_bytes(secured.authority.cert_pem.bytes())
    cafile = str(directory / "ca.pem") if listener == "SAFE" else ""
    return [f"{USER} {password} SCRAM-SHA-512", cafile, secured.address(listener), "worker", "--loglevel", "debug"]


async def test_a_worker_logs_in_over_tls(secured: Secured, tmp_path: Path) -> None:
    """Agents, tables, transactions and the group work, and at DEBUG no line shows the password."""
    program = tmp_path / "secured.py"
    program.write_text(PROGRAM)
    async with run(program, *arguments(secured, "SAFE", PASSWORD, tmp_path)) as worker:
        await worker.said("SEEN 41")
        assert await worker.terminate() == 0, worker.log
        assert PASSWORD not in worker.log


@pytest.mark.parametrize("options", [[], ["--fail-fast"]], ids=["patient", "fail-fast"])
@pytest.mark.parametrize("listener", ["PASSWORDS", "SAFE"])
async def test_a_worker_with_a_wrong_password_ends(
    options: list[str], listener: str, secured: Secured, tmp_path: Path
) -> None:
    """It exits with 1 and one sentence, also when it would wait for a broker: time does not mend a password."""
    program = tmp_path / "secured.py"
    program.write_text(PROGRAM)
    async with run(program, *arguments(secured, listener, WRONG, tmp_path), *options) as worker:
        code = await worker.exit()

    refused = rf"{secured.address(listener)}: authentication failed for user 'ann' \(SCRAM-SHA-512\): .*; check"
    assert code == 1
    assert re.search(
        rf"(?:the worker ends|cannot go on): {refused} broker_credentials, or user and password", worker.log
    ), worker.log
    assert "Traceback" not in worker.log
    assert WRONG not in worker.log


async def test_a_worker_that_trusts_another_authority_ends(secured: Secured, tmp_path: Path) -> None:
    """The certificate is named as the cause, and what to do about it."""
    program = tmp_path / "secured.py"
    program.write_text(PROGRAM)
    url = f"kafkas://{USER}:{quote(PASSWORD, safe='')}@{secured.address('SAFE')}"
    given = [f"{USER} {PASSWORD} SCRAM-SHA-512", "", "nowhere", "worker", "--loglevel", "debug"]
    async with run(program, *given, environ={"BROKER_URL": url, "BROKER_CREDENTIALS": "SCRAM-SHA-512"}) as worker:
        code = await worker.exit()

    assert code == 1
    assert "its certificate is not trusted" in worker.log
    assert "SSLCredentials(cafile=...)" in worker.log
    assert PASSWORD not in worker.log
    assert quote(PASSWORD, safe="") not in worker.log
    assert json.dumps(PASSWORD) not in worker.log
