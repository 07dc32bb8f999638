"""What the Kafka transport can be told: frozen, plain values in seconds and bytes."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec

from stream_core.errors import ConfigurationError

__all__ = ["KafkaSettings"]

_KIB = 1024
_MIB = 1024 * _KIB
_SECURE_SCHEMES = {"kafka": "PLAINTEXT", "kafkas": "SSL"}


class KafkaSettings(msgspec.Struct, frozen=True, kw_only=True, repr_omit_defaults=True):
    """Settings of one Kafka cluster, for all its clients.

    Attributes:
        servers: bootstrap addresses, ``host:port``; a port that is missing is 9092.
        client_id: name of this program in the broker's logs and quotas.
        request_timeout: seconds for one answer of a broker; longer than ``rebalance_timeout``, because joining is one request.
        session_timeout: seconds without a heartbeat after which the group takes a member for dead.
        heartbeat_interval: seconds between heartbeats; at most a third of the session timeout.
        rebalance_timeout: seconds that the group waits for a member to join again.
        transaction_timeout: seconds after which the broker aborts a transaction that nobody ended.
        metadata_max_age: seconds after which topics and leaders are asked for again: how soon new partitions are seen.
        retry_backoff: seconds between attempts.
        max_partition_fetch_bytes: bytes of one partition in one answer.
        fetch_max_bytes: bytes of all partitions in one answer.
        fetch_max_wait: seconds that a broker holds a fetch when there is nothing to read.
        linger: seconds that a batch waits for more records when nothing of its partition is in flight; 0 sends at the end of the
            current turn of the event loop. While one is in flight the next one fills anyway.
        max_batch_size: bytes of one batch of one partition before compression; stay below ``max.message.bytes`` of the topics.
        max_request_size: bytes of the largest record that is accepted.
        compression: ``gzip``, ``snappy``, ``lz4`` or ``zstd``; ``None`` for none. All but gzip need ``stream-kafka[compression]``.
        backlog: bytes that may wait for acknowledgement before :meth:`~stream_core.ports.Producer.room` waits.
        security_protocol: ``PLAINTEXT``, ``SSL``, ``SASL_PLAINTEXT`` or ``SASL_SSL``.
        sasl_mechanism: ``PLAIN``, ``SCRAM-SHA-256`` or ``SCRAM-SHA-512``.
        username: SASL user name.
        password: SASL password; never shown.
        ssl_context: an :class:`ssl.SSLContext`, for the two protocols with SSL.
    """

    servers: tuple[str, ...] = ("localhost:9092",)
    client_id: str = "stream"
    request_timeout: float = 40.0
    session_timeout: float = 30.0
    heartbeat_interval: float = 3.0
    rebalance_timeout: float = 30.0
    transaction_timeout: float = 15.0
    metadata_max_age: float = 60.0
    retry_backoff: float = 0.1
    max_partition_fetch_bytes: int = _MIB
    fetch_max_bytes: int = 50 * _MIB
    fetch_max_wait: float = 0.5
    linger: float = 0.0
    max_batch_size: int = 128 * _KIB
    max_request_size: int = 1_000_000
    compression: str | None = None
    backlog: int = 32 * _MIB
    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str = "PLAIN"
    username: str | None = None
    password: str | None = None
    ssl_context: Any = None

    def __post_init__(self) -> None:
        if not self.servers:
            raise ConfigurationError("servers is empty; name at least one broker, such as 'localhost:9092'")
        if self.compression not in (None, "gzip", "snappy", "lz4", "zstd"):
            raise ConfigurationError(
                f"compression={self.compression!r} is unknown; use gzip, snappy, lz4, zstd or None"
            )
        if self.heartbeat_interval * 3 > self.session_timeout:
            raise ConfigurationError(
                f"heartbeat_interval={self.heartbeat_interval:g} is more than a third of session_timeout={self.session_timeout:g}; "
                "one lost heartbeat would cost the membership"
            )
        if self.rebalance_timeout >= self.request_timeout:
            raise ConfigurationError(
                f"request_timeout={self.request_timeout:g} must be longer than rebalance_timeout={self.rebalance_timeout:g}: "
                "the broker answers a join only when all members have joined"
            )

    def __rich_repr__(self) -> Any:
        """Yield the values that differ from their defaults, the password masked."""
        for name in self.__struct_fields__:
            value = getattr(self, name)
            yield name, "***" if name == "password" and value is not None else value, _DEFAULTS.get(name)

    def __repr__(self) -> str:
        shown = (f"{name}={value!r}" for name, value, default in self.__rich_repr__() if value != default)
        return f"KafkaSettings({', '.join(shown)})"

    @classmethod
    def from_url(cls, url: str, **overrides: Any) -> KafkaSettings:
        """Read the addresses, and credentials if there are any, from a broker URL.

        Args:
            url: ``kafka://[user:password@]host[:port][,host[:port]...]``, or ``kafkas://`` for TLS. Several complete URLs
                separated by ``,`` or ``;`` are one cluster too. Credentials select SASL.
            **overrides: other settings by name; they win over the URL.

        Raises:
            ConfigurationError: the URL is not one of Kafka, or names no host.
        """
        first, *more = (part for part in url.replace(";", ",").split(",") if part)
        scheme, _, rest = first.partition("://")
        if not rest or scheme not in _SECURE_SCHEMES:
            raise ConfigurationError(f"not a Kafka URL (scheme {scheme!r}); write kafka://host:9092,host2:9092")
        credentials, _, host = urlsplit(first).netloc.rpartition("@")
        servers = tuple(_address(part) for part in (host, *more))
        values: dict[str, Any] = {"servers": servers, "security_protocol": _SECURE_SCHEMES[scheme]}
        if credentials:
            user, _, password = credentials.partition(":")
            values["username"], values["password"] = unquote(user), unquote(password)
            values["security_protocol"] = "SASL_SSL" if scheme == "kafkas" else "SASL_PLAINTEXT"
        return cls(**{**values, **overrides})


_DEFAULTS = dict(zip(KafkaSettings.__struct_fields__, KafkaSettings.__struct_defaults__, strict=True))


def _address(part: str) -> str:
    host = part.rpartition("://")[2].rpartition("@")[2].split("/")[0]
    if not host:
        raise ConfigurationError("a broker URL without a host; write kafka://host:9092")
    named = host.rpartition(":")
    return host if named[0] and named[2].isdigit() else f"{host}:9092"
