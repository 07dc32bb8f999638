"""Settings are read from URLs, checked, and shown without secrets."""

from __future__ import annotations

import re
import ssl

import pytest

from stream_core.errors import ConfigurationError
from stream_kafka import KafkaSettings, KafkaTransport, SASLCredentials, SSLCredentials


@pytest.mark.parametrize(
    ("url", "servers"),
    [
        ("kafka://h1:9092,h2", ("h1:9092", "h2:9092")),
        ("kafka://h1,kafka://h2:1", ("h1:9092", "h2:1")),
        ("kafka://h1:1;kafka://h2:2", ("h1:1", "h2:2")),
        ("kafka://localhost/", ("localhost:9092",)),
        ("kafka://[::1]:9093", ("[::1]:9093",)),
    ],
)
def test_addresses_of_a_url(url: str, servers: tuple[str, ...]) -> None:
    """One URL may name several brokers, and the port may be left out."""
    assert KafkaSettings.from_url(url).servers == servers


def test_credentials_are_taken_from_the_url_and_never_shown() -> None:
    """A user in the URL selects SASL; the password is unquoted, and absent from every text."""
    settings = KafkaSettings.from_url("kafkas://ann:s3cr%40t@h1:9092,h2")
    credentials = settings.credentials

    assert isinstance(credentials, SASLCredentials)
    assert (credentials.username, credentials.password) == ("ann", "s3cr@t")
    assert (credentials.protocol, credentials.mechanism) == ("SASL_SSL", "PLAIN")
    assert settings.servers == ("h1:9092", "h2:9092")
    for text in (repr(settings), str(settings), f"{settings}", repr([settings]), repr(list(settings.__rich_repr__()))):
        assert "s3cr" not in text


def test_tls_by_scheme_and_by_context() -> None:
    """``kafkas://`` checks with the authorities of this machine, unless a context says otherwise."""
    context = ssl.create_default_context()
    by_scheme = KafkaSettings.from_url("kafkas://h1").credentials
    by_context = KafkaSettings.from_url("kafka://h1", ssl_context=context).credentials
    scram = KafkaSettings.from_url("kafkas://h1", credentials=SASLCredentials(username="ann", password="x")).credentials

    assert KafkaSettings.from_url("kafka://h1").credentials is None
    assert isinstance(by_scheme, SSLCredentials)
    assert isinstance(by_context, SSLCredentials)
    assert isinstance(scram, SASLCredentials)
    assert by_scheme.context.check_hostname
    assert by_context.context is context
    assert scram.protocol == "SASL_SSL"


def test_the_user_of_a_url_may_stand_in_each_of_them() -> None:
    """One cluster has one user; a mechanism is chosen by credentials that have none."""
    mechanism = SASLCredentials(mechanism="SCRAM-SHA-512")
    settings = KafkaSettings.from_url("kafka://ann:p%2Fw@h1;kafka://ann:p%2Fw@h2,h3", credentials=mechanism)

    assert settings.servers == ("h1:9092", "h2:9092", "h3:9092")
    assert isinstance(settings.credentials, SASLCredentials)
    assert (settings.credentials.password, settings.credentials.mechanism) == ("p/w", "SCRAM-SHA-512")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("kafka://ann:s3cret@h1;kafka://bob:s3cret@h2", "more than one user"),
        ("kafka://s3cret@h1", "needs a password"),
        ("kafka://ann:s3,cret@h1", "percent-encode"),
        ("kafka://ann:s3cret/h1", "port is no number"),
        ("ann:s3cret@h1:9092", "not a Kafka URL; write"),
    ],
)
def test_a_broken_url_shows_no_password(url: str, message: str) -> None:
    """What cannot be read may be a piece of a password: it is not repeated."""
    with pytest.raises(ConfigurationError, match=message) as caught:
        KafkaSettings.from_url(url)
    assert not {"s3", "s3cret", "cret"} & set(re.findall(r"\w+", str(caught.value)))


@pytest.mark.parametrize(
    "url",
    [
        "kafka://ann:s3cret@a:9092,kafkas://b:9093",
        "kafkas://a;kafka://b",
        "kafka://a:1;http://b:2",
        "aiokafka://a,kafkas://b",
        "a:9092,kafkas://b",
    ],
)
def test_the_urls_of_one_cluster_have_one_scheme(url: str) -> None:
    """With two of them nobody could say whether passwords leave in the clear."""
    with pytest.raises(ConfigurationError, match=r"different schemes|not a Kafka URL") as caught:
        KafkaSettings.from_url(url)
    assert "s3cret" not in str(caught.value)


def test_two_names_of_one_scheme_are_one() -> None:
    """Faust's name for it goes with the short one."""
    assert KafkaSettings.from_url("kafka://a;aiokafka://b,c").servers == ("a:9092", "b:9092", "c:9092")


def test_producers_have_times_of_their_own() -> None:
    """Metadata and idle connections of producers follow their own settings."""
    settings = KafkaSettings(producer_metadata_max_age=7.0, producer_connections_max_idle=8.0)

    assert (settings.of_producers.metadata_max_age, settings.of_producers.connections_max_idle) == (7.0, 8.0)
    assert (settings.metadata_max_age, settings.connections_max_idle) == (60.0, 540.0)
    shared = KafkaSettings(metadata_max_age=5.0, connections_max_idle=6.0)
    assert shared.of_producers == shared


@pytest.mark.parametrize("url", ["aiokafka://h1", "my.package.Transport://h1", "package:Transport://h1", "kafka://h1"])
def test_other_names_of_the_driver(url: str) -> None:
    """Faust's second name works, and so does the path of a class that builds on this transport."""
    assert KafkaSettings.from_url(url).servers == ("h1:9092",)


def test_a_context_that_checks_nothing_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    """It is used, because somebody made it so, but not in silence."""
    context = ssl.create_default_context()
    context.check_hostname = False
    KafkaTransport("kafka://h1", ssl_context=context)
    context.verify_mode = ssl.CERT_NONE
    KafkaTransport("kafka://h1", ssl_context=context)
    KafkaTransport("kafkas://h1")

    first, second = (record.getMessage() for record in caplog.records)
    assert "does not check the host names" in first
    assert "does not check the certificates" in second


def test_overrides_win_over_the_url() -> None:
    """Settings given by name beside the URL are used; an unknown name is an error."""
    assert KafkaSettings.from_url("kafka://h1", client_id="me", linger=0.1).client_id == "me"
    with pytest.raises(TypeError):
        KafkaSettings.from_url("kafka://h1", lingr=0.1)


@pytest.mark.parametrize("url", ["http://h1", "h1:9092", "kafka://", "kafka:///topic"])
def test_what_is_no_kafka_url_is_refused(url: str) -> None:
    """The error says how to write one."""
    with pytest.raises(ConfigurationError, match="kafka://host"):
        KafkaSettings.from_url(url)


@pytest.mark.parametrize(
    "wrong",
    [
        {"servers": ()},
        {"compression": "rar"},
        {"heartbeat_interval": 20.0},
        {"rebalance_timeout": 60.0},
    ],
)
def test_settings_that_do_not_fit_are_refused(wrong: dict[str, object]) -> None:
    """Each refusal names the setting."""
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        KafkaSettings(**wrong)  # type: ignore[arg-type]


def test_a_transport_is_made_from_settings_or_a_url() -> None:
    """Both ways give the same clients; none of them connects yet."""
    assert KafkaTransport("kafka://h1", client_id="me").producer().backlog == 0
    assert KafkaTransport(KafkaSettings(servers=("h1",))).consumer("g", read_committed=True).lease() == 0.0
