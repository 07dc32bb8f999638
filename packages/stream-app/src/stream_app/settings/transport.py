"""The settings of the transport: the cluster, how to log in, and how records are read and written."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence
from typing import Any, Literal

from stream_app.settings.parameters import (
    BrokerURL,
    Bytes,
    Count,
    Milliseconds,
    Parameter,
    Seconds,
    Section,
    flag,
    function,
    seconds,
    tls_context,
    urls,
)
from stream_kafka.credentials import Credentials, to_credentials

__all__ = ["BrokerSettings", "ConsumerSettings", "Partitioner", "ProducerSettings", "TransportSettings"]

Partitioner = Callable[[bytes | None, Sequence[int], Sequence[int]], int]
"""Chooses the partition of a record: of its key, all partitions of the topic, and the available ones."""


class BrokerSettings(Section):
    """The cluster, how to log in, and how long to wait for it."""

    title = "The broker"

    broker = Parameter[list[str]](
        Any,
        lambda conf: ["kafka://localhost:9092"],
        "URLs of the brokers, separated by ';' or ','; user and password read as *** in them, but for the attribute clear.",
        env="BROKER_URL",
        parse=urls,
        secret=True,
        kind="URLs, as list or text",
        shown="kafka://localhost:9092",
    )
    broker_credentials = Parameter[Credentials | None](
        Any,
        None,
        "How to log in: SSLCredentials, SASLCredentials, GSSAPICredentials or OAuthCredentials; as text the mechanism of the URL's user.",
        parse=to_credentials,
        secret=True,
        kind="credentials, or a mechanism",
    )
    ssl_context = Parameter[ssl.SSLContext | None](
        Any,
        None,
        "TLS for connections to the broker, unless the credentials have their own.",
        env=None,
        parse=tls_context,
        kind="ssl.SSLContext",
    )
    broker_check_crcs = Parameter(
        bool,
        True,
        "Whether the checksums of records are compared.",
        parse=flag,
        cost="Time for each batch; without it damage on the way is not noticed.",
    )
    broker_client_id = Parameter(str, "stream", "Name of the app in the logs and quotas of the broker.")
    broker_commit_interval = Parameter[float](
        Seconds,
        lambda conf: 0.1 if conf.exactly_once else 2.8,
        "Seconds between commits; under exactly_once outputs become visible with them.",
        parse=seconds,
        shown="2.8, and 0.1 under exactly_once",
        cost="The more seldom, the more is done again after a failure; each commit is some requests.",
    )
    broker_commit_every = Parameter[int | None](
        Count | None,
        None,
        "Finished events of a worker after which it commits before the interval is over; never when unset.",
        cost="Each commit is some requests.",
    )
    broker_commit_bytes = Parameter(
        Bytes,
        64 * 1024**2,
        "Bytes that changed values of tables take in the memory of a worker, roughly, after which it commits before the interval is over.",
        cost="Memory, up to three times as much while a commit takes long; the less it is, the more often a key that changes is written.",
    )
    broker_session_timeout = Parameter(
        Seconds,
        30.0,
        "Seconds without a heartbeat after which the group takes a worker for dead.",
        parse=seconds,
        cost="So long nobody works on the partitions of a worker that was killed.",
    )
    broker_heartbeat_interval = Parameter(Seconds, 3.0, "Seconds between heartbeats.", parse=seconds)
    broker_rebalance_timeout = Parameter(
        Seconds, 30.0, "Seconds that the group waits for a worker to join again.", parse=seconds
    )
    broker_request_timeout = Parameter(Seconds, 40.0, "Seconds to wait for an answer of a broker.", parse=seconds)
    broker_transaction_timeout = Parameter(
        Seconds, 15.0, "Seconds after which the broker aborts a transaction that nobody ended.", parse=seconds
    )


class ConsumerSettings(Section):
    """How records are read."""

    title = "Reading"

    consumer_max_fetch_size = Parameter(
        Bytes, 1024**2, "Bytes of one partition in one answer of a broker.", cost="Memory, for each partition."
    )
    consumer_max_unpacked_size = Parameter(
        Bytes, 64 * 1024**2, "Bytes of memory that one compressed batch may take; a larger one cannot be decoded."
    )
    consumer_auto_offset_reset = Parameter[Literal["earliest", "latest"]](
        Literal["earliest", "latest"],
        "earliest",
        "Where a partition without a committed offset begins: earliest or latest.",
    )
    consumer_metadata_max_age_ms = Parameter(
        Milliseconds, 60_000, "Milliseconds after which a consumer asks for new topics, partitions and leaders."
    )
    consumer_connections_max_idle_ms = Parameter(
        Milliseconds, 540_000, "Milliseconds after which a consumer closes a connection that is not used."
    )


class ProducerSettings(Section):
    """How records are written."""

    title = "Writing"

    producer_linger = Parameter(
        Seconds,
        0.0,
        "Seconds that a batch waits for more records.",
        parse=seconds,
        cost="Each send may take that much longer; batches are larger and fewer.",
    )
    producer_max_batch_size = Parameter(Bytes, 256 * 1024, "Bytes of one batch of one partition.")
    producer_max_request_size = Parameter(Bytes, 1_000_000, "Bytes of the largest record that is accepted.")
    producer_compression_type = Parameter[Literal["gzip", "snappy", "lz4", "zstd"] | None](
        Literal["gzip", "snappy", "lz4", "zstd"] | None,
        None,
        "Compression of batches: gzip, snappy, lz4 or zstd.",
        cost="Time of the processor, for less to send and to keep.",
    )
    producer_acks = Parameter[Literal[-1]](
        Literal[-1],
        -1,
        "Acknowledgements: all (-1); nothing less, because the producer is idempotent.",
        parse=lambda value: -1 if value == "all" else value,
    )
    producer_partitioner = Parameter[Partitioner | None](
        Any,
        None,
        "Function of key, all partitions and available ones (or its path) that chooses a partition; that of the Java client when unset.",
        parse=function,
        kind="function, or its path",
    )
    producer_metadata_max_age_ms = Parameter(
        Milliseconds, 60_000, "Milliseconds after which a producer asks for new partitions and leaders."
    )
    producer_connections_max_idle_ms = Parameter(
        Milliseconds, 540_000, "Milliseconds after which a producer closes a connection that is not used."
    )


class TransportSettings(BrokerSettings, ConsumerSettings, ProducerSettings):
    """The part of the settings of an app that its transport gets."""

    @property
    def broker_scheme(self) -> str:
        """The driver of the broker, such as ``kafka``."""
        return self.broker[0].partition("://")[0]

    @property
    def broker_url(self) -> str:
        """All broker URLs as one text; it may hold credentials."""
        return ",".join(url.clear if isinstance(url, BrokerURL) else url for url in self.broker)

    @property
    def transport_options(self) -> dict[str, Any]:
        """What the transport is told beside its URL; of this ``memory://`` takes nothing but the partitioner."""
        if self.broker_scheme == "memory":
            return {"partitioner": self.producer_partitioner}
        return {
            "client_id": self.broker_client_id,
            "credentials": self.broker_credentials,
            "ssl_context": self.ssl_context,
            "request_timeout": self.broker_request_timeout,
            "session_timeout": self.broker_session_timeout,
            "heartbeat_interval": self.broker_heartbeat_interval,
            "rebalance_timeout": self.broker_rebalance_timeout,
            "transaction_timeout": self.broker_transaction_timeout,
            "metadata_max_age": self.consumer_metadata_max_age_ms / 1000,
            "connections_max_idle": self.consumer_connections_max_idle_ms / 1000,
            "max_partition_fetch_bytes": self.consumer_max_fetch_size,
            "max_unpacked_bytes": self.consumer_max_unpacked_size,
            "check_crcs": self.broker_check_crcs,
            "producer_metadata_max_age": self.producer_metadata_max_age_ms / 1000,
            "producer_connections_max_idle": self.producer_connections_max_idle_ms / 1000,
            "linger": self.producer_linger,
            "max_batch_size": self.producer_max_batch_size,
            "max_request_size": self.producer_max_request_size,
            "compression": self.producer_compression_type,
            "partitioner": self.producer_partitioner,
        }
