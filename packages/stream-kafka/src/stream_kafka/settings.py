"""The settings of the Kafka transport: frozen, plain values in seconds and bytes."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import unquote

import msgspec

from stream_core.errors import ConfigurationError
from stream_kafka.credentials import Credentials, SSLCredentials, combined

__all__ = ["KafkaSettings", "Partitioner"]

Partitioner = Callable[[bytes | None, Sequence[int], Sequence[int]], int]
"""Chooses the partition of a record: of its key, all partitions of the topic, and those that have a leader (here all)."""

_KIB = 1024
_MIB = 1024 * _KIB
_SCHEMES = ("kafka", "kafkas", "aiokafka")


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
        connections_max_idle: seconds after which a connection that is not used is closed; shorter than the brokers' own (10 minutes).
        retry_backoff: seconds between attempts.
        max_partition_fetch_bytes: bytes of one partition in one answer.
        fetch_max_bytes: bytes of all partitions in one answer.
        fetch_max_wait: seconds that a broker holds a fetch when there is nothing to read.
        max_unpacked_bytes: bytes of memory that the records of one compressed batch may take; a larger one cannot be decoded.
        check_crcs: whether the checksums of batches are compared.
        producer_metadata_max_age: ``metadata_max_age`` of producers; the same when ``None``.
        producer_connections_max_idle: ``connections_max_idle`` of producers; the same when ``None``.
        linger: seconds that a batch waits for more records when nothing of its partition is in flight; 0 sends at the end of the
            current turn of the event loop. While one is in flight the next one fills anyway.
        max_batch_size: bytes of one batch of one partition before compression; stay below ``max.message.bytes`` of the topics.
        max_request_size: bytes of the largest record that is accepted.
        compression: ``gzip``, ``snappy``, ``lz4`` or ``zstd``; ``None`` for none. All but gzip need ``stream-kafka[compression]``.
        backlog: bytes that may wait for acknowledgement before :meth:`~stream_core.ports.Producer.room` waits.
        partitioner: chooses the partition of records that name none; ``None`` does as the Java client: by the key (murmur2), else any.
        credentials: how clients log in and know the brokers; ``None`` is neither TLS nor a log-in.
    """

    servers: tuple[str, ...] = ("localhost:9092",)
    client_id: str = "stream"
    request_timeout: float = 40.0
    session_timeout: float = 30.0
    heartbeat_interval: float = 3.0
    rebalance_timeout: float = 30.0
    transaction_timeout: float = 15.0
    metadata_max_age: float = 60.0
    connections_max_idle: float = 540.0
    retry_backoff: float = 0.1
    max_partition_fetch_bytes: int = _MIB
    fetch_max_bytes: int = 50 * _MIB
    fetch_max_wait: float = 0.5
    max_unpacked_bytes: int = 64 * _MIB
    check_crcs: bool = True
    producer_metadata_max_age: float | None = None
    producer_connections_max_idle: float | None = None
    linger: float = 0.0
    max_batch_size: int = 128 * _KIB
    max_request_size: int = 1_000_000
    compression: str | None = None
    backlog: int = 32 * _MIB
    partitioner: Partitioner | None = None
    credentials: Credentials | None = None

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

    @property
    def connect_timeout(self) -> float:
        """Seconds for one connection and its log-in: short beside the session, since a coordinator that moves needs a new one."""
        return min(10.0, self.request_timeout, self.session_timeout / 3)

    @property
    def of_producers(self) -> KafkaSettings:
        """The same, as producers use them."""
        return msgspec.structs.replace(
            self,
            metadata_max_age=self.producer_metadata_max_age or self.metadata_max_age,
            connections_max_idle=self.producer_connections_max_idle or self.connections_max_idle,
        )

    def __rich_repr__(self) -> Any:
        """Yield the values that differ from their defaults; credentials show no secret."""
        for name in self.__struct_fields__:
            yield name, getattr(self, name), _DEFAULTS.get(name)

    def __repr__(self) -> str:
        shown = (f"{name}={value!r}" for name, value, default in self.__rich_repr__() if value != default)
        return f"KafkaSettings({', '.join(shown)})"

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        credentials: Credentials | None = None,
        ssl_context: ssl.SSLContext | None = None,
        **overrides: Any,
    ) -> KafkaSettings:
        """Read the addresses, and user and password if there are any, from a broker URL.

        Args:
            url: ``kafka://[user:password@]host[:port][,host[:port]...]`` (or ``aiokafka://``), and ``kafkas://`` for TLS. Several complete
                URLs separated by ``,`` or ``;`` are one cluster too. User and password are percent-encoded, and select SASL.
            credentials: how to log in; a user that they name wins over that of the URL.
            ssl_context: for TLS, unless the credentials have one.
            **overrides: other settings by name.

        Raises:
            ConfigurationError: the URL is not one of Kafka, names no host, or does not fit the credentials.
        """
        parts = [part.strip() for part in url.replace(";", ",").split(",") if part.strip()]
        scheme, _, rest = parts[0].partition("://") if parts else ("", "", "")
        if not rest or (scheme not in _SCHEMES and not {".", ":"} & set(scheme)):
            named = f" (scheme {scheme!r})" if rest else ""
            raise ConfigurationError(f"not a Kafka URL{named}; write kafka://host:9092,host2:9092")
        schemes = {before for before, mark, _ in (part.partition("://") for part in parts) if mark}
        if len({"kafka" if one == "aiokafka" else one for one in schemes}) > 1:
            raise ConfigurationError(
                f"the broker URLs have different schemes ({', '.join(sorted(schemes))}); they are one cluster, which has TLS "
                "(kafkas://) or has none (kafka://)"
            )
        if scheme == "kafkas" and ssl_context is None and (credentials is None or credentials.ssl_context is None):
            ssl_context = SSLCredentials().ssl_context
        users = dict.fromkeys(user for part in parts if (user := _user(part)) is not None)
        if len(users) > 1:
            raise ConfigurationError("the broker URLs name more than one user; one cluster has one")
        secured = combined(credentials, user=next(iter(users), None), context=ssl_context)
        return cls(servers=tuple(map(_address, parts)), credentials=secured, **overrides)


_DEFAULTS = dict(zip(KafkaSettings.__struct_fields__, KafkaSettings.__struct_defaults__, strict=True))

_ENCODE = "percent-encode what is neither letter nor digit in user and password ('@' is %40, ',' is %2C, '/' is %2F)"


def _user(part: str) -> tuple[str, str] | None:
    credentials, at, _ = part.rpartition("://")[2].rpartition("@")
    if not at:
        return None
    user, colon, password = credentials.partition(":")
    if not colon or not user:
        raise ConfigurationError(f"a broker URL with a user needs a password: kafka://user:password@host; {_ENCODE}")
    return unquote(user), unquote(password)


def _address(part: str) -> str:
    host = part.rpartition("://")[2].rpartition("@")[2].split("/")[0]
    if not host:
        raise ConfigurationError("a broker URL without a host; write kafka://host:9092")
    name, colon, port = host.rpartition(":")
    if not colon or host.endswith("]"):
        return f"{host}:9092"
    if not name or not port.isdigit():
        # Not shown: it may be a piece of a password.
        raise ConfigurationError(f"a broker URL whose port is no number; write kafka://host:9092, and {_ENCODE}")
    return host
