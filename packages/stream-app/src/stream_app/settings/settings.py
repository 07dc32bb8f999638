"""``app.conf``: every setting of an app by a flat name.

A value comes from an assignment (``app.conf.store = ...``, until the app starts), else from the environment, else from the
arguments of the app, else from its default.
"""

from __future__ import annotations

import difflib
import os
import re
import sys
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, tzinfo
from pathlib import Path
from typing import Any, Literal, NamedTuple

from stream_app.settings.faust_names import REFUSED, RENAMED, WITHOUT_EFFECT
from stream_app.settings.parameters import (
    Bytes,
    Count,
    Parameter,
    Port,
    Seconds,
    codec,
    flag,
    masked,
    names,
    path,
    seconds,
    url,
    web_url,
    zone,
)
from stream_app.settings.transport import TransportSettings
from stream_core.errors import ConfigurationError, UnknownSettingError
from stream_core.values.codecs import Codec

__all__ = ["SettingRow", "Settings", "known_settings"]


class SettingRow(NamedTuple):
    """One setting for a table; values are text, without credentials."""

    name: str
    value: str
    default: str
    env: str
    help: str


class Settings(TransportSettings):
    """The settings of an app.

    Args:
        id_: the name of the app; letters, digits, ``.``, ``_`` and ``-``.
        environ: the environment; that of the process when left out.
        **options: settings by name.

    Raises:
        UnknownSettingError: there is no setting of that name; the message names the nearest one.
        ConfigurationError: a value cannot be converted, or the setting is one of Faust that has no effect here.
    """

    env_prefix = Parameter(str, "", "Prefix of the environment variables: X reads X_BROKER_URL.", env="APP_ENV_PREFIX")
    version = Parameter(
        Count, 1, "Version of the app: above 1 it is part of the id, so the app starts afresh.", env="APP_VERSION"
    )
    processing_guarantee = Parameter[Literal["at_least_once", "exactly_once"]](
        Literal["at_least_once", "exactly_once"],
        "at_least_once",
        "at_least_once, or exactly_once for events, tables and outputs in one transaction.",
    )

    datadir = Parameter[Path](
        Path,
        lambda conf: Path(f"{conf.name}-data"),
        "Directory of the state of this worker.",
        env="APP_DATADIR",
        fallback_env=("FAUST_DATADIR", "F_DATADIR"),
        parse=path,
    )
    tabledir = Parameter[Path](
        Path,
        Path("tables"),
        "Directory of the tables; a relative one is in {datadir}/v{version}.",
        env="APP_TABLEDIR",
        parse=path,
        read=lambda conf, value: conf.appdir / value,
    )
    origin = Parameter[str | None](
        str | None, None, "Package of the project, in which autodiscover=True looks.", env="APP_ORIGIN"
    )
    autodiscover = Parameter[Any](
        Any, False, "Modules to import at start: true for all in origin, a list of names, or a function that gives it."
    )
    timezone = Parameter[tzinfo](Any, UTC, "Time zone of crontab(), such as Europe/Berlin.", parse=zone)

    store = Parameter(
        str, "memory://", "URL of the store of tables: rocksdb:// or memory://.", env="APP_STORE", parse=url
    )
    store_lock_timeout = Parameter(
        Seconds, 10.0, "Seconds to wait for a table partition that another process holds.", parse=seconds
    )

    table_check_mutations = Parameter[bool | None](
        bool | None,
        None,
        "Whether an event fails that changes a table value in place and does not assign it; "
        "when unset it does on a memory:// broker, in tests of agents, and in Python's development mode.",
        parse=flag,
    )

    key_serializer = Parameter[Codec | str](
        Any, "raw", "Codec of keys that name none.", env="APP_KEY_SERIALIZER", parse=codec
    )
    value_serializer = Parameter[Codec | str](
        Any, "json", "Codec of values that name none.", env="APP_VALUE_SERIALIZER", parse=codec
    )

    stream_buffer_maxsize = Parameter(Count, 4096, "Records of one partition that may wait for an agent.")
    stream_buffer_max_bytes = Parameter(
        Bytes, 128 * 1024**2, "Bytes of keys and values of all partitions of a worker that may wait for agents."
    )
    stream_processing_timeout = Parameter(
        Seconds, 300.0, "Seconds for one event, after which a worker reports that it is stuck.", parse=seconds
    )
    agent_max_restarts = Parameter(int, 5, "How often the same event may fail before the worker exits.")

    agent_supervisor = Parameter[Any](
        Any, "one_for_one", "Which actors of an agent start again after a failure: one_for_one, one_for_all or crash."
    )
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

    topic_partitions = Parameter[int | None](
        Count | None, None, "Partitions of the topics that the app creates; those of the source topic when unset."
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

    web_enabled = Parameter(bool, True, "Whether the worker starts its web server.", env="APP_WEB_ENABLED", parse=flag)
    web_port = Parameter(Port, 6066, "Port of the web server.", fallback_env=("FAUST_WEB_PORT", "F_WEB_PORT"))
    web_bind = Parameter(str, "127.0.0.1", "Address that the web server listens on.")
    web_host = Parameter[str | None](str | None, None, "Name in the URL that other workers are told of this one.")
    canonical_url = Parameter[str | None](
        str | None,
        None,
        "URL at which other workers reach the web server; when unset it is made of web_host, web_bind and web_port.",
        env="NODE_CANONICAL_URL",
        parse=web_url,
    )
    web_stats_enabled = Parameter[bool | None](
        bool | None,
        None,
        "Whether there are the pages /stats and /assignment; when unset only where web_bind is this machine.",
        env="APP_WEB_STATS_ENABLED",
        parse=flag,
    )
    web_metrics_enabled = Parameter[bool | None](
        bool | None,
        None,
        "Whether there is the page /metrics; when unset only where web_bind is this machine.",
        env="APP_WEB_METRICS_ENABLED",
        parse=flag,
    )

    name: str
    """The name of the app, without its version."""
    values: dict[str, Any]
    """The values that differ from the defaults, or were given."""
    frozen: bool
    """Whether the app has started, so that nothing can be assigned any more."""
    from_environment: set[str]
    """The settings that environment variables have set."""

    def __init__(self, id_: str, /, *, environ: Mapping[str, str] | None = None, **options: Any) -> None:
        if not re.fullmatch(r"[A-Za-z0-9._-]{1,200}", id_):
            raise ConfigurationError(
                f"an app cannot be named {id_!r}: use letters, digits, '.', '_' and '-', as in topic names"
            )
        environ = os.environ if environ is None else environ
        vars(self).update(name=id_, values={}, frozen=False, from_environment=set())
        for name, value in options.items():
            setattr(self, name, value)
        prefix = environ.get("APP_ENV_PREFIX") or self.env_prefix
        for name, parameter in _parameters(type(self)).items():
            found = None if name in self.values else next(filter(environ.get, parameter.fallback_env), None)
            variable = parameter.env if name == "env_prefix" or not prefix else f"{prefix.rstrip('_')}_{parameter.env}"
            if source := variable if environ.get(variable) else found:
                self.values[name] = parameter.convert(environ[source], source)
                self.from_environment.add(name)

    @property
    def id(self) -> str:
        """Name and version: the consumer group, and the prefix of the topics of the app."""
        return self.name if self.version == 1 else f"{self.name}-v{self.version}"

    @property
    def appdir(self) -> Path:
        """The directory of this version of the app in ``datadir``."""
        return self.datadir / f"v{self.version}"

    @property
    def exactly_once(self) -> bool:
        """Whether the processing guarantee is exactly_once."""
        return self.processing_guarantee == "exactly_once"

    @property
    def checks_mutations(self) -> bool:
        """Whether table values that are changed in place are looked for: where a program is tried, and its speed does not matter."""
        given = self.table_check_mutations
        return given if given is not None else self.broker_scheme == "memory" or sys.flags.dev_mode

    @property
    def store_scheme(self) -> str:
        """The driver of the stores, such as ``rocksdb``."""
        return self.store.partition("://")[0]

    def __setattr__(self, name: str, value: object) -> None:
        _check_name(type(self), name)
        super().__setattr__(name, value)

    def assign(self, parameter: Parameter[Any], value: object) -> None:
        """Assign a setting; ``None`` restores its default. Raises ConfigurationError once the app has started."""
        if self.frozen:
            raise ConfigurationError(
                f"{parameter.name} cannot be changed: the app has started; assign it before app.start()"
            )
        if value is None:
            self.values.pop(parameter.name, None)
        else:
            self.values[parameter.name] = parameter.convert(value, parameter.name)

    def load(self, values: Mapping[str, Any]) -> None:
        """Assign settings by name, but those that the environment has set. Raises UnknownSettingError, ConfigurationError."""
        for name, value in values.items():
            _check_name(type(self), name)
            if name not in self.from_environment:
                setattr(self, name, value)

    def freeze(self) -> None:
        """Check the settings against each other and end assignment; the app calls it when it starts. Raises ConfigurationError."""
        self.check()
        vars(self)["frozen"] = True

    def check(self) -> None:
        """Raise ConfigurationError, with all reasons, when settings do not fit together."""
        if problems := list(self._problems()):
            raise ConfigurationError("; ".join(problems))

    def _problems(self) -> Iterator[str]:
        session, request = self.broker_session_timeout, self.broker_request_timeout
        if self.broker_heartbeat_interval > session / 3:
            yield (
                f"broker_heartbeat_interval={self.broker_heartbeat_interval:g} must be at most a third of"
                f" broker_session_timeout={session:g}, or one lost heartbeat costs the membership"
            )
        for name in ("broker_session_timeout", "broker_rebalance_timeout"):
            if getattr(self, name) >= request:
                yield (
                    f"{name}={getattr(self, name):g} must be shorter than broker_request_timeout={request:g},"
                    " because joining the group is one request"
                )
        if self.exactly_once and self.broker_commit_interval >= self.broker_transaction_timeout / 2:
            yield (
                f"broker_commit_interval={self.broker_commit_interval:g} must be less than half of"
                f" broker_transaction_timeout={self.broker_transaction_timeout:g}, or the broker aborts slow transactions"
            )

    def describe(self) -> Iterator[SettingRow]:
        """All settings in the order of their definition."""
        for name, parameter in _parameters(type(self)).items():
            default = masked(parameter.default(self))
            yield SettingRow(name, masked(getattr(self, name)), default, parameter.env, parameter.help)

    def __repr__(self) -> str:
        changed = (f"{row.name}={row.value}" for row in self.describe() if row.name in self.values)
        return f"<Settings {self.id}: {', '.join(changed)}>"


def _parameters(owner: Any) -> Mapping[str, Parameter[Any]]:
    """The settings of a class by name, those of the classes below it last."""
    return {
        name: parameter
        for base in owner.__mro__
        for name, parameter in vars(base).items()
        if isinstance(parameter, Parameter)
    }


def known_settings() -> Collection[str]:
    """The names of all settings."""
    return _parameters(Settings).keys()


def _check_name(owner: type[Settings], name: str) -> None:
    """Raise UnknownSettingError or ConfigurationError unless there is such a setting."""
    known = _parameters(owner)
    if name in known:
        return
    if new := RENAMED.get(name):
        raise UnknownSettingError(f"the setting {name!r} is now {new}: rename it")
    if reason := REFUSED.get(name):
        raise ConfigurationError(f"the setting {name!r} of Faust has no effect here: {reason}; remove it")
    if name in WITHOUT_EFFECT:
        raise ConfigurationError(f"the setting {name!r} of Faust has no effect here (yet): remove it")
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else "see the configuration reference for all of them"
    raise UnknownSettingError(f"there is no setting {name!r}: {hint}")
