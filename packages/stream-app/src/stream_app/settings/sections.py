"""The settings of an app, but for those of its transport: one class for each heading of the page on settings."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Mapping
from datetime import UTC, tzinfo
from pathlib import Path
from typing import Any, Literal

from stream_app.settings.caches import cache_url
from stream_app.settings.parameters import (
    Bytes,
    Count,
    Parameter,
    Port,
    Seconds,
    Section,
    codec,
    flag,
    handlers,
    id_format,
    level,
    mapping,
    names,
    path,
    registry_url,
    seconds,
    some_or_all,
    subclass_of,
    tls_context,
    web_application,
    web_transport,
    web_url,
    zone,
)
from stream_app.settings.stores import store_url
from stream_core.values.codecs import Codec

__all__ = [
    "AgentSettings",
    "AppSettings",
    "ClassSettings",
    "ReplySettings",
    "SchemaRegistrySettings",
    "TableSettings",
    "TopicSettings",
    "WebSettings",
    "WorkerSettings",
]


class AppSettings(Section):
    """What the app is called, what it guarantees, and where its parts are."""

    title = "The app"

    env_prefix = Parameter(str, "", "Prefix of the environment variables: X reads X_BROKER_URL.", env="APP_ENV_PREFIX")
    version = Parameter(
        Count,
        1,
        "Version of the app: above 1 it is part of the id.",
        env="APP_VERSION",
        cost="The app starts afresh, in a consumer group, tables and topics of its own.",
    )
    id_format = Parameter(
        str,
        "{id}-v{self.version}",
        "How the id of a version above 1 is made of name and version: the consumer group, and prefix of topics.",
        env="APP_ID_FORMAT",
        parse=id_format,
    )
    processing_guarantee = Parameter[Literal["at_least_once", "exactly_once"]](
        Literal["at_least_once", "exactly_once"],
        "at_least_once",
        "at_least_once, or exactly_once for events, tables and outputs in one transaction.",
        cost="Under exactly_once readers see outputs with the commit, which comes more often, by broker_commit_interval.",
    )
    origin = Parameter[str | None](
        str | None, None, "Package of the project, in which autodiscover=True looks.", env="APP_ORIGIN"
    )
    autodiscover = Parameter[Any](
        Any,
        False,
        "Modules to import at start: true for all in origin, a list of names, or a function that gives it.",
        parse=some_or_all,
        kind="true or false, list, or function",
    )
    timezone = Parameter[tzinfo](
        Any, UTC, "Time zone of crontab(), such as Europe/Berlin.", parse=zone, kind="time zone"
    )
    debug = Parameter(
        bool,
        False,
        "Whether a worker has a debugging console, logs who blocks its event loop, and shows everybody the pages "
        "that are for this machine alone otherwise.",
        env="APP_DEBUG",
        fallback_env=("FAUST_DEBUG", "F_DEBUG"),
        parse=flag,
        cost="For development: whoever reaches the port of the web server reads the pages.",
    )


class AgentSettings(Section):
    """How agents read, and what becomes of what fails."""

    title = "Agents and streams"

    stream_buffer_maxsize = Parameter(
        Count,
        4096,
        "Records of one partition that may wait for an agent.",
        cost="Memory, up to stream_buffer_max_bytes.",
    )
    stream_buffer_max_bytes = Parameter(
        Bytes,
        128 * 1024**2,
        "Bytes of keys and values of all partitions of a worker that may wait for agents; "
        "each partition may have 1 MiB, however many there are.",
        cost="Memory.",
    )
    stream_processing_timeout = Parameter(
        Seconds, 300.0, "Seconds for one event, after which a worker reports that it is stuck.", parse=seconds
    )
    stream_recovery_delay = Parameter(
        Seconds,
        0.0,
        "Seconds to wait after partitions are assigned, before tables are recovered and events are taken.",
        parse=seconds,
        cost="Each rebalance takes longer; where many workers start one after the other, they recover less in vain.",
    )
    stream_wait_empty = Parameter(
        bool,
        True,
        "Whether open events may finish before partitions are given up, for some seconds.",
        parse=flag,
        cost="Without it events that are open at a rebalance or a stop are done again.",
    )
    agent_max_restarts = Parameter(int, 5, "How often the same event may fail before the worker exits.")
    agent_supervisor = Parameter[Any](
        Any,
        "one_for_one",
        "Which actors of an agent start again after a failure: one_for_one, one_for_all or crash; or a class of mode.",
        kind="`one_for_one`, `one_for_all`, `crash`, or a class",
    )
    key_serializer = Parameter[Codec | str](
        Any, "raw", "Codec of keys that name none.", env="APP_KEY_SERIALIZER", parse=codec, kind="codec, or its name"
    )
    value_serializer = Parameter[Codec | str](
        Any,
        "json",
        "Codec of values that name none.",
        env="APP_VALUE_SERIALIZER",
        parse=codec,
        kind="codec, or its name",
    )


class ReplySettings(Section):
    """Where answers to questions go."""

    title = "Questions and answers"

    reply_to = Parameter[str | None](
        str | None, None, "Topic for answers to the questions of this process; one of its own when unset."
    )
    reply_to_prefix = Parameter(str, "f-reply-", "How the name of that topic begins.", env="APP_REPLY_TO_PREFIX")
    reply_expires = Parameter(
        Seconds, 86_400.0, "Seconds for which unread answers are kept.", env="APP_REPLY_EXPIRES", parse=seconds
    )
    reply_create_topic = Parameter(
        bool,
        False,
        "Whether that topic is made at the start, not at the first question.",
        env="APP_REPLY_CREATE_TOPIC",
        parse=flag,
    )
    reply_to_allowed = Parameter[list[str]](
        list[str],
        [],
        "What names of topics begin with to which answers may go, beside the app's own topics and reply_to_prefix; comma-separated.",
        parse=names,
    )


class TableSettings(Section):
    """Where the state of a worker is, and how tables are kept."""

    title = "Tables and state"

    datadir = Parameter[Path](
        Path,
        lambda conf: Path(f"{conf.name}-data"),
        "Directory of the state of this worker.",
        env="APP_DATADIR",
        fallback_env=("FAUST_DATADIR", "F_DATADIR"),
        parse=path,
        shown="{name}-data",
    )
    tabledir = Parameter[Path](
        Path,
        Path("tables"),
        "Directory of the tables; a relative one is in {datadir}/v{version}.",
        env="APP_TABLEDIR",
        parse=path,
        read=lambda conf, value: conf.appdir / value,
    )
    store = Parameter(
        str,
        "memory://",
        "URL of the store of tables: rocksdb:// or memory://, or the path of a class; options stand in its query, as in rocksdb://?cache=256M.",
        env="APP_STORE",
        parse=store_url,
        kind="URL",
        cost="Tables in memory are read from their changelogs at each start; those of RocksDB go on where they were.",
    )
    store_lock_timeout = Parameter(
        Seconds, 10.0, "Seconds to wait for a table partition that another process holds.", parse=seconds
    )
    table_check_mutations = Parameter[bool | None](
        bool | None,
        None,
        "Whether an event fails that changes a table value in place and does not assign it; "
        "when unset it does under debug, on a memory:// broker, in tests of agents, and in Python's development mode.",
        parse=flag,
        cost="A value that can change in place is encoded once more when an event reads or assigns it, and again at the end of the event.",
    )
    table_key_index_size = Parameter(
        Count,
        10_000,
        "Keys of a table whose partition is remembered, for reads outside of events.",
        cost="Memory; a key that is not remembered is looked for in each partition of this worker.",
    )


class TopicSettings(Section):
    """How topics are made that do not exist."""

    title = "Topics"

    topic_partitions = Parameter[int | None](
        Count | None,
        None,
        "Partitions of the topics that the app creates; "
        "when unset 8 for one that it reads, and as many as the largest of those for others.",
    )
    topic_replication_factor = Parameter(Count, 1, "Replication factor of the topics that the app creates.")
    topic_allow_declare = Parameter(bool, True, "Whether the app may create topics.", parse=flag)
    topic_discovery_interval = Parameter(
        Seconds, 30.0, "Seconds between two looks for new topics that match a pattern.", parse=seconds
    )
    topic_disable_leader = Parameter[bool | None](
        bool | None,
        None,
        "Whether no leader is elected; when unset there is one if a task or timer is on_leader.",
        parse=flag,
    )


class SchemaRegistrySettings(Section):
    """Where the schemas are of values that are Avro, and the like."""

    title = "The schema registry"

    schema_registry_url = Parameter[str | None](
        str | None,
        None,
        "URL of the schema registry, for avro, json-schema and protobuf; several are separated by ','. memory:// is in this process.",
        parse=registry_url,
        secret=True,
        kind="URL",
    )
    schema_registry_credentials = Parameter[str | None](
        str | None,
        None,
        "User and password for the schema registry, as user:password.",
        secret=True,
        kind="user:password",
    )
    schema_registry_ssl_context = Parameter[ssl.SSLContext | None](
        Any,
        None,
        "TLS for connections to the schema registry.",
        env=None,
        parse=tls_context,
        kind="ssl.SSLContext",
    )


class WebSettings(Section):
    """The web server of a worker."""

    title = "The web server"

    web_enabled = Parameter(bool, True, "Whether the worker starts its web server.", env="APP_WEB_ENABLED", parse=flag)
    web_port = Parameter(Port, 6066, "Port of the web server.", fallback_env=("FAUST_WEB_PORT", "F_WEB_PORT"))
    web_bind = Parameter(
        str,
        "127.0.0.1",
        "Address that the web server listens on.",
        cost="With 0.0.0.0 every machine that reaches this one reads its pages, and nobody has to log in.",
    )
    web_transport = Parameter(
        str,
        "tcp://",
        "Where the web server listens: tcp:// is at web_bind and web_port, unix:///path a socket in a directory.",
        parse=web_transport,
        kind="URL",
    )
    web_ssl_context = Parameter[ssl.SSLContext | None](
        Any,
        None,
        "TLS of the web server, with its certificate: it speaks https.",
        env=None,
        parse=tls_context,
        kind="ssl.SSLContext",
        cost="Workers that pass requests on trust what their machines trust, and what SSL_CERT_FILE names.",
    )
    web_cors_options = Parameter[Mapping[str, Any] | None](
        Any,
        None,
        "Which other sites may read pages in a browser: by origin, or '*', what they may do; a page may say its own.",
        parse=mapping,
        kind="mapping",
        cost="A site that may do so reads pages as whoever looks at it.",
    )
    web_application_options = Parameter[Mapping[str, Any] | None](
        Any,
        None,
        "Options of the application of aiohttp: client_max_size, bytes of a body (1 MiB when unset), and middlewares, a list.",
        parse=web_application,
        kind="mapping",
    )
    web_host = Parameter[str | None](str | None, None, "Name in the URL that other workers are told of this one.")
    canonical_url = Parameter[str | None](
        str | None,
        None,
        "URL at which other workers reach the web server; when unset it is made of web_host, web_bind and web_port.",
        env="NODE_CANONICAL_URL",
        parse=web_url,
        kind="URL",
    )
    cache = Parameter(
        str,
        "memory://",
        "URL of the cache of pages: memory://, with bounds in its query, as in memory://?size=64M&entries=10000.",
        env="CACHE_URL",
        parse=cache_url,
        kind="URL",
        cost="Memory, up to size.",
    )
    web_dashboard_enabled = Parameter[bool | None](
        bool | None,
        None,
        "Whether / is the dashboard in a browser; "
        "when unset only where web_bind is this machine, web_transport is a socket, or under debug.",
        env="APP_WEB_DASHBOARD_ENABLED",
        parse=flag,
        cost="It shows names, settings without credentials, and what errors of events say.",
    )
    web_graph_enabled = Parameter[bool | None](
        bool | None,
        None,
        "Whether there is the page /graph; when unset only where web_bind is this machine, web_transport is a socket, or under debug.",
        parse=flag,
    )
    web_tables_enabled = Parameter[bool | None](
        bool | None,
        None,
        "Whether there are the pages /table; when unset only where web_bind is this machine, web_transport is a socket, or under debug.",
        parse=flag,
        cost="They show all that tables hold.",
    )
    web_router_enabled = Parameter[bool | None](
        bool | None,
        None,
        "Whether there are the pages /router; when unset only where web_bind is this machine, web_transport is a socket, or under debug.",
        parse=flag,
    )
    web_schemas_enabled = Parameter[bool | None](
        bool | None,
        None,
        "Whether there are /openapi.json and /asyncapi.json; "
        "when unset only where web_bind is this machine, web_transport is a socket, or under debug.",
        env="APP_WEB_SCHEMAS_ENABLED",
        parse=flag,
    )
    web_stats_enabled = Parameter[bool | None](
        bool | None,
        None,
        "Whether there are the pages /stats and /assignment; "
        "when unset only where web_bind is this machine, web_transport is a socket, or under debug.",
        env="APP_WEB_STATS_ENABLED",
        parse=flag,
    )
    web_metrics_enabled = Parameter[bool | None](
        bool | None,
        None,
        "Whether there is the page /metrics; when unset only where web_bind is this machine, web_transport is a socket, or under debug.",
        env="APP_WEB_METRICS_ENABLED",
        parse=flag,
    )


class WorkerSettings(Section):
    """How a worker logs, and how it is watched. Arguments of ``Worker``, and options of the command line, go first.

    A worker takes them of its first app when it starts; nothing of them happens where an app is started in a program of yours.
    """

    title = "Workers"

    blocking_timeout = Parameter[float | None](
        Seconds | None,
        None,
        "Seconds for which the event loop may be blocked before a worker logs who does it; when unset 10 under debug, else nobody looks.",
        fallback_env=("FAUST_BLOCKING_TIMEOUT", "F_BLOCKING_TIMEOUT"),
        parse=seconds,
        cost="A thread that wakes four times in that time.",
    )
    logging_config = Parameter[Mapping[str, Any] | None](
        Any,
        None,
        "Configuration of logging, for logging.config.dictConfig, instead of level and file of the worker; JSON in the environment.",
        parse=mapping,
        kind="mapping",
    )
    loghandlers = Parameter[list[logging.Handler]](
        Any,
        lambda conf: [],
        "Handlers of logging that get the log of a worker, too.",
        env=None,
        parse=handlers,
        kind="list of handlers",
        shown="none",
    )
    worker_redirect_stdouts = Parameter(
        bool, False, "Whether what the program prints becomes records of the log.", parse=flag
    )
    worker_redirect_stdouts_level = Parameter[str | int](
        str | int, "WARNING", "Level of these records.", parse=level, kind="level"
    )


class ClassSettings(Section):
    """Classes of one's own, derived from those of the library. A subclass of ``App`` may name them as its attributes instead."""

    title = "Classes"

    Agent = Parameter[type[Any] | None](
        Any,
        None,
        "Class of agents.",
        env=None,
        parse=subclass_of("stream_app.definitions.agents:Agent"),
        kind="class, or its path",
    )
    Channel = Parameter[type[Any] | None](
        Any,
        None,
        "Class of channels.",
        env=None,
        parse=subclass_of("stream_core.streams.channel:Channel"),
        kind="class, or its path",
    )
    Table = Parameter[type[Any] | None](
        Any,
        None,
        "Class of tables.",
        env=None,
        parse=subclass_of("stream_tables.table:Table"),
        kind="class, or its path",
    )
    Monitor = Parameter[type[Any] | None](
        Any,
        None,
        "Class of app.monitor: one is made when the app starts. When unset there is one when somebody reads app.monitor.",
        env=None,
        parse=subclass_of("stream_app.sensors.monitor:Monitor"),
        kind="class, or its path",
    )
    Topic = Parameter[type[Any] | None](
        Any,
        None,
        "Class of topics.",
        env=None,
        parse=subclass_of("stream_core.sending.topic:Topic"),
        kind="class, or its path",
    )
    Worker = Parameter[type[Any] | None](
        Any,
        None,
        "Class of workers.",
        env=None,
        parse=subclass_of("stream_app.worker:Worker"),
        kind="class, or its path",
    )
