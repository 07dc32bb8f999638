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
from pathlib import Path
from typing import Any, NamedTuple, Self

from stream_app.settings.faust_names import REFUSED, RENAMED
from stream_app.settings.objects import read_object
from stream_app.settings.parameters import Parameter, Section
from stream_app.settings.sections import (
    AgentSettings,
    AppSettings,
    ClassSettings,
    ReplySettings,
    SchemaRegistrySettings,
    TableSettings,
    TopicSettings,
    WebSettings,
    WorkerSettings,
)
from stream_app.settings.transport import TransportSettings
from stream_core.errors import ConfigurationError, UnknownSettingError

__all__ = ["SettingRow", "Settings", "known_settings", "parameters_of"]

DEFAULT = "default"
"""Where a value is from that nobody has given."""


class SettingRow(NamedTuple):
    """One setting for a table; values are text, without credentials.

    Attributes:
        name: of the setting.
        value: that holds now.
        default: the value when nothing else is said.
        env: its environment variable, with the prefix of the app; empty where there is none.
        help: one sentence, with the unit.
        source: where the value is from: ``default``, ``argument``, ``assignment``, ``environment variable X``, or ``configuration X``.
        section: the heading that it stands under.
        kind: what values are, with the unit.
        cost: what one pays for another value; may be empty.
    """

    name: str
    value: str
    default: str
    env: str
    help: str
    source: str
    section: str
    kind: str
    cost: str


class Settings(
    AppSettings,
    TransportSettings,
    AgentSettings,
    TableSettings,
    TopicSettings,
    SchemaRegistrySettings,
    ReplySettings,
    WebSettings,
    WorkerSettings,
    ClassSettings,
):
    """The settings of an app. A subclass may add some of its own: attributes that are a ``Parameter``.

    Args:
        id_: the name of the app; letters, digits, ``.``, ``_`` and ``-``.
        environ: the environment; that of the process when left out.
        **options: settings by name.

    Raises:
        UnknownSettingError: there is no setting of that name; the message names the nearest one.
        ConfigurationError: a value cannot be converted, or the setting is one of Faust that has no effect here.
    """

    title = "Of one's own"  # of settings that a subclass adds

    name: str
    """The name of the app, without its version."""
    values: dict[str, Any]
    """The values that differ from the defaults, or were given."""
    sources: dict[str, str]
    """Where each of these is from."""
    frozen: bool
    """Whether the app has started, so that nothing can be assigned any more."""

    def __init__(self, id_: str, /, *, environ: Mapping[str, str] | None = None, **options: Any) -> None:
        _check_id(id_)
        environ = os.environ if environ is None else environ
        vars(self).update(
            name=id_, values={}, sources={}, frozen=False, _source="argument", _defaults={}, _strong=set(), _settled={}
        )
        for name, value in options.items():
            _check_name(type(self), name)
            setattr(self, name, value)
        self._prefix = (environ.get("APP_ENV_PREFIX") or self.env_prefix).rstrip("_")
        for name, parameter in parameters_of(type(self)).items():
            variable = self._variable(parameter)
            weak = next(filter(environ.get, parameter.fallback_env), None)
            if weak is not None:
                value = parameter.convert(environ[weak], weak)
                self._defaults[name] = value, f"environment variable {weak}"
                if name not in self.values:
                    self.values[name], self.sources[name] = self._defaults[name]
            if variable and environ.get(variable):
                value = parameter.convert(environ[variable], variable)
                self._defaults[name] = value, f"environment variable {variable}"
                self.values[name], self.sources[name] = self._defaults[name]
                self._strong.add(name)
        self._source = "assignment"

    _source: str
    """What assigns."""
    _prefix: str
    _defaults: dict[str, tuple[Any, str]]
    """What holds where nothing is assigned, of settings that the environment knows, and by which variables."""
    _strong: set[str]
    """The settings that environment variables have set."""
    _settled: dict[str, str]
    """The settings that definitions have used already, and which ones."""

    def _variable(self, parameter: Parameter[Any]) -> str:
        if not parameter.env or parameter.name == "env_prefix" or not self._prefix:
            return parameter.env or ""
        return f"{self._prefix}_{parameter.env}"

    @property
    def id(self) -> str:
        """Name and version: the consumer group, and the prefix of the topics of the app."""
        return self.name if self.version == 1 else self.id_format.format(id=self.name, self=self)

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
        return given if given is not None else self.debug or self.broker_scheme == "memory" or sys.flags.dev_mode

    def __setattr__(self, name: str, value: object) -> None:
        if name not in _OWN:
            _check_name(type(self), name)
        super().__setattr__(name, value)

    def assign(self, parameter: Parameter[Any], value: object) -> None:
        """Assign a setting; ``None`` restores what holds without any assignment: the value of the environment, else the default.

        Raises:
            ConfigurationError: the app has started, or something was defined with another value.
        """
        name = parameter.name
        if self.frozen:
            raise ConfigurationError(f"{name} cannot be changed: the app has started; assign it before app.start()")
        new, source = (
            self._defaults.get(name, (None, DEFAULT))
            if value is None
            else (parameter.convert(value, name), self._source)
        )
        if what := self._settled.get(name):
            if (parameter.default(self) if new is None else new) == self.values.get(name, parameter.default(self)):
                return
            raise ConfigurationError(
                f"{name} cannot be changed any more: {what} was defined with {parameter.show(getattr(self, name))};"
                " assign it before that"
            )
        if new is None:
            self.values.pop(name, None)
            self.sources.pop(name, None)
        else:
            self.values[name], self.sources[name] = new, source

    def settle(self, name: str, what: str) -> Any:
        """Use a setting for a definition: it cannot be changed any more, since that would come too late for it.

        Returns:
            the value.
        """
        self._settled.setdefault(name, what)
        return getattr(self, name)

    def load(self, source: Any, *, silent: bool = False) -> None:
        """Take settings from a module, class, object or mapping, but those that the environment has set.

        Args:
            source: see :func:`~stream_app.settings.objects.read_object`.
            silent: do nothing when there is no such module.

        Raises:
            UnknownSettingError: a mapping names a setting that does not exist.
            ConfigurationError: it cannot be loaded, a value does not fit, or the app has started.
        """
        values = read_object(source, [*known_settings(type(self)), *RENAMED, *REFUSED], REFUSED, silent=silent)
        vars(self)["_source"] = f"configuration {source if isinstance(source, str) else _named(source)}"
        try:
            for name, value in values.items():
                _check_name(type(self), name)
                if name not in self._strong:
                    setattr(self, name, value)
        finally:
            vars(self)["_source"] = "assignment"

    def changed(self, **options: Any) -> Self:
        """Make other settings of the same app, which are like these but for ``options``; these stay as they are.

        Args:
            options: settings by name, which win over the environment.

        Raises:
            UnknownSettingError: there is no such setting.
            ConfigurationError: a value does not fit, or something was defined with another one.
        """
        other = object.__new__(type(self))
        own = {name: dict(value) if isinstance(value, dict) else value for name, value in vars(self).items()}
        vars(other).update(own, frozen=False)
        for name, value in options.items():
            setattr(other, name, value)
        return other

    def freeze(self) -> None:
        """Check the settings against each other and end assignment; the app calls it when it starts. Raises ConfigurationError."""
        self.check()
        vars(self)["frozen"] = True

    def check(self) -> None:
        """Raise ConfigurationError, with all reasons, when settings do not fit together."""
        if problems := list(self._problems()):
            raise ConfigurationError("; ".join(problems))

    def _problems(self) -> Iterator[str]:
        try:
            _check_id(self.id)
        except ConfigurationError as error:
            yield f"id_format={self.id_format}: {error}"
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
        """List all settings, section by section."""
        for name, parameter in parameters_of(type(self)).items():
            yield SettingRow(
                name=name,
                value=parameter.show(getattr(self, name)),
                default=parameter.show(parameter.default(self)),
                env=self._variable(parameter),
                help=parameter.help,
                source=self.sources.get(name, DEFAULT),
                section=_title(parameter),
                kind=parameter.kind,
                cost=parameter.cost,
            )

    def __repr__(self) -> str:
        changed = (f"{row.name}={row.value}" for row in self.describe() if row.name in self.values)
        return f"<Settings {self.id}: {', '.join(changed)}>"


_OWN = frozenset(name for name in Settings.__annotations__ if name.startswith("_"))
"""What settings keep beside settings."""


def parameters_of(owner: type) -> Mapping[str, Parameter[Any]]:
    """Give the settings of a class by name: its own first, then section by section."""
    found: dict[str, Parameter[Any]] = {}
    for base in owner.__mro__:
        for name, parameter in vars(base).items():
            if isinstance(parameter, Parameter):
                found.setdefault(name, parameter)
    return found


def _title(parameter: Parameter[Any]) -> str:
    section = parameter.section
    title: str = getattr(section, "title", "") if issubclass(section, Section) else ""
    return title or section.__name__


def known_settings(owner: type = Settings) -> Collection[str]:
    """Give the names of all settings."""
    return parameters_of(owner).keys()


def _named(source: object) -> str:
    if isinstance(source, Mapping):
        return "mapping"
    return getattr(source, "__qualname__", None) or getattr(source, "__name__", None) or type(source).__qualname__


def _check_id(id_: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,200}", id_):
        raise ConfigurationError(
            f"an app cannot be named {id_!r}: use letters, digits, '.', '_' and '-', as in topic names"
        )


def _check_name(owner: type[Settings], name: str) -> None:
    """Raise UnknownSettingError or ConfigurationError unless there is such a setting."""
    known = parameters_of(owner)
    if name in known:
        return
    if new := RENAMED.get(name):
        raise UnknownSettingError(f"the setting {name!r} is now {new}: rename it")
    if refusal := REFUSED.get(name):
        raise ConfigurationError(f"the setting {name!r} of Faust has no effect here: {refusal.why}; {refusal.instead}")
    near = difflib.get_close_matches(name, known, n=1) or difflib.get_close_matches(name.lower(), known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else "the page on settings has all of them"
    raise UnknownSettingError(f"there is no setting {name!r}: {hint}")
