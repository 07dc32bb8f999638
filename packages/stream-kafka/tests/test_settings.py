"""Settings are read from URLs, checked, and shown without secrets."""

from __future__ import annotations

import pytest

from stream_core.errors import ConfigurationError
from stream_kafka import KafkaSettings, KafkaTransport


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

    assert (settings.username, settings.password) == ("ann", "s3cr@t")
    assert settings.security_protocol == "SASL_SSL"
    assert settings.servers == ("h1:9092", "h2:9092")
    for text in (repr(settings), str(settings), f"{settings}", repr([settings]), repr(list(settings.__rich_repr__()))):
        assert "s3cr" not in text


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
