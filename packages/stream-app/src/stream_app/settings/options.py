"""The settings as arguments of an app, for editors and type checkers. A test holds this and the settings together."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta, tzinfo
from pathlib import Path
from typing import Any, Literal, TypedDict

from stream_app.settings.transport import Partitioner
from stream_core.values.codecs import Codec
from stream_kafka.credentials import Credentials

__all__ = ["SettingOptions"]


class SettingOptions(TypedDict, total=False):
    """What ``App(id, ...)`` takes: each setting, as it may be written. ``None`` is the default.

    What they mean is in the order of :class:`~stream_app.settings.Settings`, and on the page on settings. A class of settings of one's own
    may have more: an app with such a class takes them as well, and its constructor names them for type checkers.
    """

    env_prefix: str | None
    version: int | None
    id_format: str | None
    processing_guarantee: Literal["at_least_once", "exactly_once"] | None
    origin: str | None
    autodiscover: bool | Iterable[str] | Callable[[], Iterable[str]] | None
    timezone: tzinfo | str | None
    debug: bool | None
    broker: str | Sequence[str] | None
    broker_credentials: Credentials | ssl.SSLContext | str | None
    ssl_context: ssl.SSLContext | None
    broker_check_crcs: bool | None
    broker_client_id: str | None
    broker_commit_interval: float | timedelta | None
    broker_commit_every: int | None
    broker_commit_bytes: int | None
    broker_session_timeout: float | timedelta | None
    broker_heartbeat_interval: float | timedelta | None
    broker_rebalance_timeout: float | timedelta | None
    broker_request_timeout: float | timedelta | None
    broker_transaction_timeout: float | timedelta | None
    consumer_max_fetch_size: int | None
    consumer_max_unpacked_size: int | None
    consumer_auto_offset_reset: Literal["earliest", "latest"] | None
    consumer_metadata_max_age_ms: int | None
    consumer_connections_max_idle_ms: int | None
    producer_linger: float | timedelta | None
    producer_max_batch_size: int | None
    producer_max_request_size: int | None
    producer_compression_type: Literal["gzip", "snappy", "lz4", "zstd"] | None
    producer_acks: Literal["all", -1] | None
    producer_partitioner: Partitioner | str | None
    producer_metadata_max_age_ms: int | None
    producer_connections_max_idle_ms: int | None
    stream_buffer_maxsize: int | None
    stream_buffer_max_bytes: int | None
    stream_processing_timeout: float | timedelta | None
    stream_recovery_delay: float | timedelta | None
    stream_wait_empty: bool | None
    agent_max_restarts: int | None
    agent_supervisor: Literal["one_for_one", "one_for_all", "crash"] | type[Any] | None
    key_serializer: Codec | str | None
    value_serializer: Codec | str | None
    datadir: str | Path | None
    tabledir: str | Path | None
    store: str | None
    store_lock_timeout: float | timedelta | None
    table_check_mutations: bool | None
    table_key_index_size: int | None
    topic_partitions: int | None
    topic_replication_factor: int | None
    topic_allow_declare: bool | None
    topic_discovery_interval: float | timedelta | None
    topic_disable_leader: bool | None
    schema_registry_url: str | None
    schema_registry_credentials: str | None
    schema_registry_ssl_context: ssl.SSLContext | None
    reply_to: str | None
    reply_to_prefix: str | None
    reply_expires: float | timedelta | None
    reply_create_topic: bool | None
    reply_to_allowed: Sequence[str] | str | None
    web_enabled: bool | None
    web_port: int | None
    web_bind: str | None
    web_transport: str | None
    web_ssl_context: ssl.SSLContext | None
    web_cors_options: Mapping[str, Any] | str | None
    web_application_options: Mapping[str, Any] | str | None
    web_host: str | None
    canonical_url: str | None
    cache: str | None
    web_dashboard_enabled: bool | None
    web_graph_enabled: bool | None
    web_tables_enabled: bool | None
    web_router_enabled: bool | None
    web_schemas_enabled: bool | None
    web_stats_enabled: bool | None
    web_metrics_enabled: bool | None
    blocking_timeout: float | timedelta | None
    logging_config: Mapping[str, Any] | str | None
    loghandlers: Iterable[logging.Handler] | None
    worker_redirect_stdouts: bool | None
    worker_redirect_stdouts_level: str | int | None
    Agent: type[Any] | str | None
    Channel: type[Any] | str | None
    Table: type[Any] | str | None
    Monitor: type[Any] | str | None
    Topic: type[Any] | str | None
    Worker: type[Any] | str | None
