"""Credentials say what they need, fit together, and show no secret."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiokafka.errors as kafka
import pytest
import trustme
from aiokafka.abc import AbstractTokenProvider

from stream_core.errors import AuthenticationError, BrokerUnavailableError, ConfigurationError, MissingPackageError
from stream_kafka import GSSAPICredentials, OAuthCredentials, SASLCredentials, SSLCredentials
from stream_kafka.connecting.connection import Connection
from stream_kafka.connecting.login import ScramLogin, TokenError, TokenSource, security_options
from stream_kafka.connecting.reasons import why
from stream_kafka.credentials import AuthProtocol, Credentials, SASLMechanism, combined, to_credentials


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """An authority that signs certificates."""
    return trustme.CA()


def context() -> ssl.SSLContext:
    """A context for clients."""
    return ssl.create_default_context()


# -- what they are


def test_tls_without_arguments_checks_certificates_and_host_names() -> None:
    """The authorities of this machine are trusted, and nothing is left unchecked."""
    made = SSLCredentials()

    assert made.context is made.ssl_context
    assert made.context.check_hostname
    assert made.context.verify_mode is ssl.CERT_REQUIRED
    assert (made.protocol, made.mechanism) == (AuthProtocol.SSL, None)


def test_tls_with_an_authority(authority: trustme.CA, tmp_path: Path) -> None:
    """A file or text with certificates replaces the authorities of this machine; a context is used as it is."""
    pem = authority.cert_pem.bytes()
    (tmp_path / "ca.pem").write_bytes(pem)

    for made in (SSLCredentials(cafile=tmp_path / "ca.pem"), SSLCredentials(cadata=pem.decode())):
        assert len(made.context.get_ca_certs()) == 1
        assert made.context.check_hostname
    given = context()
    assert SSLCredentials(given).context is given
    assert SSLCredentials(purpose=ssl.Purpose.SERVER_AUTH).context.check_hostname


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"cafile": "/nowhere/ca.pem"}, r"/nowhere/ca\.pem cannot be read"),
        ({"cadata": "no certificate"}, "cadata cannot be read"),
        ({"purpose": ssl.Purpose.CLIENT_AUTH}, "purpose=ssl.Purpose.SERVER_AUTH"),
    ],
)
def test_tls_that_cannot_work_is_refused(arguments: dict[str, Any], message: str) -> None:
    """The file or argument is named."""
    with pytest.raises(ConfigurationError, match=message):
        SSLCredentials(**arguments)


@pytest.mark.parametrize("mechanism", [None, "PLAIN", "SCRAM-SHA-256", SASLMechanism.SCRAM_SHA_512])
def test_user_and_password(mechanism: str | None) -> None:
    """The default mechanism is PLAIN, and a context makes the protocol SASL_SSL."""
    made = SASLCredentials(username="ann", password="s3cret", mechanism=mechanism)
    secure = SASLCredentials(username="ann", password="s3cret", mechanism=mechanism, ssl_context=context())

    assert made.mechanism == (mechanism or "PLAIN")
    assert (made.protocol, secure.protocol) == ("SASL_PLAINTEXT", "SASL_SSL")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SASLCredentials(username="ann", password="s3cret", mechanism="GSSAPI"), "'GSSAPI' takes no user"),
        (lambda: SASLCredentials(username="ann"), "without password"),
        (lambda: SASLCredentials(password="s3cret"), "without username"),
        (lambda: GSSAPICredentials(mechanism="PLAIN"), "'PLAIN' is not that of GSSAPICredentials"),
        (lambda: OAuthCredentials(oauth_cb="s3cret"), "oauth_cb is a str"),
    ],
)
def test_credentials_that_cannot_work_are_refused(make: Callable[[], Credentials], message: str) -> None:
    """The message says what is wrong, and no secret."""
    with pytest.raises(ConfigurationError, match=message) as caught:
        make()
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "made",
    [
        SASLCredentials(username="ann", password="s3cret", mechanism="SCRAM-SHA-512"),
        OAuthCredentials(oauth_cb=lambda: "s3cret"),
        GSSAPICredentials(kerberos_service_name="kafka"),
        SSLCredentials(),
    ],
)
def test_no_secret_is_shown(made: Credentials) -> None:
    """The text of credentials names kind, user and protocol."""
    for text in (repr(made), str(made), f"{made}", repr([made])):
        assert "s3cret" not in text
        assert type(made).__name__ in text
        assert made.protocol in text


def test_credentials_load_no_client() -> None:
    """They are needed for definitions, before anything connects."""
    program = "import sys, stream_kafka; stream_kafka.SASLCredentials(); print('aiokafka' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "False"


# -- from text, and together


def test_credentials_from_what_users_write() -> None:
    """A context is TLS; text names a mechanism, for the user of the URL."""
    given, ours = context(), SASLCredentials(username="ann", password="s3cret")

    assert to_credentials(ours) is ours
    assert to_credentials(given).ssl_context is given
    assert to_credentials("scram-sha-256").mechanism is SASLMechanism.SCRAM_SHA_256
    assert isinstance(to_credentials("GSSAPI"), GSSAPICredentials)
    assert isinstance(to_credentials("SSL"), SSLCredentials)


@pytest.mark.parametrize("wrong", ["ann:s3cret", "OAUTHBEARER", 7, ("ann", "s3cret")])
def test_what_is_no_credentials_is_refused(wrong: object) -> None:
    """The value is not shown: it may hold a password."""
    with pytest.raises(ConfigurationError, match="these are no credentials") as caught:
        to_credentials(wrong)
    assert "s3cret" not in str(caught.value)


def test_the_user_of_a_url_goes_to_credentials_without_one() -> None:
    """The mechanism stays, and a user that credentials name wins."""
    user = ("ann", "s3cret")
    plain = combined(None, user=user)
    scram = combined(SASLCredentials(mechanism="SCRAM-SHA-256"), user=user)
    named = combined(SASLCredentials(username="bob", password="x"), user=user)
    secure = combined(SSLCredentials(), user=user)

    assert isinstance(plain, SASLCredentials)
    assert isinstance(scram, SASLCredentials)
    assert isinstance(named, SASLCredentials)
    assert isinstance(secure, SASLCredentials)
    assert (plain.username, plain.password, plain.mechanism) == ("ann", "s3cret", "PLAIN")
    assert (scram.username, scram.mechanism) == ("ann", "SCRAM-SHA-256")
    assert named.username == "bob"
    assert secure.protocol == "SASL_SSL"


def test_a_context_goes_to_credentials_without_one() -> None:
    """Without credentials it is TLS alone; a context of the credentials wins, and theirs are not changed."""
    given, other = context(), context()
    ours = GSSAPICredentials()
    over = combined(ours, context=given)
    own = combined(SSLCredentials(other), context=given)
    alone = combined(None, context=given)

    assert over is not None
    assert own is not None
    assert alone is not None
    assert (over.ssl_context, own.ssl_context, alone.ssl_context) == (given, other, given)
    assert ours.ssl_context is None
    assert combined(None) is None


def test_what_does_not_fit_together_is_refused() -> None:
    """A user for credentials that have no use for one, and none where one is needed."""
    with pytest.raises(ConfigurationError, match="OAuthCredentials logs in without one") as caught:
        combined(OAuthCredentials(oauth_cb=lambda: "t"), user=("ann", "s3cret"))
    assert "s3cret" not in str(caught.value)
    with pytest.raises(ConfigurationError, match="SCRAM-SHA-512 needs user and password"):
        combined(SASLCredentials(mechanism="SCRAM-SHA-512"))


# -- for the client


def test_what_the_client_is_told() -> None:
    """Each kind is translated into the names of the client."""
    scram = security_options(SASLCredentials(username="ann", password="s3cret", mechanism="SCRAM-SHA-256"), 1.0)
    token = security_options(OAuthCredentials(oauth_cb=lambda: "t", ssl_context=context()), 1.0)

    assert security_options(None, 1.0) == {"security_protocol": "PLAINTEXT"}
    assert security_options(SSLCredentials(), 1.0)["security_protocol"] == "SSL"
    assert (scram["sasl_mechanism"], scram["sasl_plain_username"]) == ("SCRAM-SHA-256", "ann")
    assert token["security_protocol"] == "SASL_SSL"
    assert isinstance(token["sasl_oauth_token_provider"], AbstractTokenProvider)


def test_kerberos_without_its_package_names_the_extra() -> None:
    """The package needs libraries of the system, so it is not installed by default."""
    with pytest.raises(MissingPackageError, match=r"pip install 'stream-kafka\[gssapi\]'"):
        security_options(GSSAPICredentials(), 1.0)


class Provider(AbstractTokenProvider):  # type: ignore[misc]
    """A token provider as the client library has them."""

    async def token(self) -> str:
        """Give a token."""
        return "token"

    def extensions(self) -> dict[str, str]:
        """Give an extension."""
        return {"traceId": "7"}


async def asynchronous() -> str:
    """Give a token."""
    return "token"


@pytest.mark.parametrize("given", [Provider(), asynchronous, lambda: "token", lambda: asynchronous()])
async def test_tokens_come_from_functions_and_providers(given: Any) -> None:
    """Sync or async makes no difference; only a provider has extensions."""
    source = TokenSource(given, 5.0)

    assert await source.token() == "token"
    assert source.extensions() == ({"traceId": "7"} if isinstance(given, Provider) else {})


async def forever() -> str:
    """Give no token, ever."""
    await asyncio.Event().wait()
    return "never"


def broken() -> str:
    """Fail."""
    raise LookupError("no identity provider")


@pytest.mark.parametrize(
    ("given", "timeout", "message"),
    [
        (forever, 0.01, r"oauth_cb gave no token within 0\.01 s"),
        (broken, 30.0, r"oauth_cb gave no token, it raised LookupError: no identity provider"),
        (lambda: 7, 30.0, r"oauth_cb gave no token but a int"),
    ],
)
async def test_a_token_that_does_not_come(given: Any, timeout: float, message: str) -> None:
    """It is a broken connection to the client, which tries again; and to users a broker that is not there yet."""
    with pytest.raises(kafka.KafkaConnectionError, match=message) as caught:
        await TokenSource(given, timeout).token()
    with pytest.raises(BrokerUnavailableError, match=rf"h:9092: {message}"):
        raise why(caught.value, "h:9092", OAuthCredentials(oauth_cb=given))


# -- reasons


def mismatch(code: int) -> ssl.SSLCertVerificationError:
    """A certificate that was refused."""
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code, error.verify_message = code, "the reason"
    return error


def alert(reason: str) -> ssl.SSLError:
    """A handshake that the broker refused."""
    error = ssl.SSLError(1, reason)
    error.reason = reason
    return error


ANN = SASLCredentials(username="ann", password="s3cret", mechanism="SCRAM-SHA-256")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (kafka.SaslAuthenticationFailed("bad"), r"authentication failed for user 'ann' \(SCRAM-SHA-256\): bad; check"),
        (kafka.AuthenticationFailedError(), r"failed for user 'ann' \(SCRAM-SHA-256\); check broker_credentials"),
        (kafka.UnsupportedSaslMechanismError("x"), r"does not offer SCRAM-SHA-256; choose"),
        (kafka.IllegalSaslStateError("x"), r"a listener without log-in; take the credentials away"),
        (mismatch(20), r"is not trusted \(the reason\); .*SSLCredentials\(cafile=\.\.\.\)"),
        (mismatch(62), r"for another host name \(the reason\); connect by a name"),
        (mismatch(64), r"for another host name"),
        (alert("TLSV13_ALERT_CERTIFICATE_REQUIRED"), r"refuses the TLS handshake .*load_cert_chain"),
    ],
)
def test_a_refusal_says_who_and_what_to_do(error: Exception, message: str) -> None:
    """The address comes first, and the error is one that waiting does not mend, also behind another one."""
    outer = kafka.KafkaConnectionError("closed")
    outer.__cause__ = error
    for seen in (error, outer):
        made = why(seen, "h:9092", ANN)
        assert isinstance(made, AuthenticationError)
        with pytest.raises(AuthenticationError, match=rf"h:9092.*{message}"):
            raise made
        assert "s3cret" not in str(made)


def late() -> TimeoutError:
    """A deadline as asyncio has it: what it came from is a cancellation."""
    error = TimeoutError()
    error.__cause__ = asyncio.CancelledError()
    return error


@pytest.mark.parametrize(
    ("error", "credentials", "message"),
    [
        (ConnectionRefusedError(111, "x"), None, "h:9092 Connection refused"),
        (TimeoutError(), None, "h:9092 does not answer"),
        (late(), None, "h:9092 does not answer"),
        (kafka.KafkaConnectionError("its answers make no sense"), ANN, "closes the connection without an answer"),
        (EOFError(), None, r"may want TLS \(kafkas://\), want a log-in \(broker_credentials\), or be no Kafka"),
        (ConnectionResetError(), SSLCredentials(), r"may have no TLS on this port \(kafka://\), want a log-in"),
        (kafka.KafkaConnectionError("closed"), ANN, r"may want TLS \(kafkas://\), or be no Kafka"),
        (kafka.UnknownError("odd"), None, "h:9092: .*odd"),
    ],
)
def test_an_absence_may_end(error: Exception, credentials: Credentials | None, message: str) -> None:
    """A broker that is not up yet looks like this, so a worker waits; what may be wrong is said all the same."""
    with pytest.raises(BrokerUnavailableError, match=message):
        raise why(error, "h:9092", credentials)


async def test_a_function_that_hangs_takes_one_thread_and_none_of_the_pool() -> None:
    """However often a token is asked for, and by how many clients: it is called once until it returns, and then it is of use again."""
    entered, go = threading.Semaphore(0), threading.Event()
    calls = 0

    def hang() -> str:
        nonlocal calls
        calls += 1
        entered.release()
        assert go.wait(20)
        return f"token {calls}"

    credentials = OAuthCredentials(oauth_cb=hang)
    sources = [security_options(credentials, 0.01)["sasl_oauth_token_provider"] for _ in range(3)]
    assert len(set(map(id, sources))) == 1
    before = {thread.ident for thread in threading.enumerate()}
    for source in sources * 20:
        with pytest.raises(TokenError, match="within"):
            await source.token()

    assert calls == 1
    hanging = [thread for thread in threading.enumerate() if thread.ident not in before]
    assert [(thread.name, thread.daemon) for thread in hanging] == [("oauth_cb", True)]
    async with asyncio.timeout(20):
        assert await asyncio.to_thread(lambda: "the pool has threads") == "the pool has threads"
    patient = TokenSource(hang, 20.0)
    patient._call = sources[0]._call
    late = asyncio.create_task(patient.token())
    await asyncio.sleep(0)
    go.set()
    assert await late == "token 1"
    assert await patient.token() == "token 2"


@pytest.mark.parametrize(
    ("iterations", "message"),
    [
        (1, "1 iterations"),
        (4095, "4095 iterations"),
        (4096, ""),
        (16_384, ""),
        (131_073, "131073 iterations"),
        (10**12, "10{12} "),
    ],
)
async def test_scram_takes_the_iterations_that_kafka_stores(iterations: int, message: str) -> None:
    """Who asks a connection for fewer wants to try passwords on the answer; who asks for more keeps the event loop."""
    options = security_options(SASLCredentials(username="ann", password="s3cret", mechanism="SCRAM-SHA-256"), 1.0)
    scram = Connection("localhost", 9092, connect_timeout=1.0, **options).authenticator_scram()
    assert isinstance(scram, ScramLogin)  # aiokafka's would take the most of them as well, for hours
    steps = scram._authenticator
    first, _ = next(steps)
    nonce = first.decode().rpartition("r=")[2]
    challenge = f"r={nonce}more,s=c2FsdA==,i={iterations}".encode()
    if message:
        with pytest.raises(ValueError, match=message):
            steps.send(challenge)
    else:
        assert b"p=" in steps.send(challenge)[0]
