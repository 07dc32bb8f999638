"""One setting: its type, default, environment variable and help, as a typed descriptor; and how text becomes its value."""

from __future__ import annotations

import importlib
import re
import ssl
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta, tzinfo
from pathlib import Path
from typing import Annotated, Any, Generic, Self, TypeVar, overload
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from msgspec import Meta

from stream_core.errors import ConfigurationError
from stream_core.values.codecs import Codec, get_codec

__all__ = [
    "Bytes",
    "Count",
    "Parameter",
    "Port",
    "Seconds",
    "codec",
    "flag",
    "function",
    "masked",
    "names",
    "path",
    "seconds",
    "tls_context",
    "url",
    "urls",
    "web_url",
    "zone",
]

T = TypeVar("T")

Count = Annotated[int, Meta(ge=1)]
Bytes = Annotated[int, Meta(ge=1)]
Port = Annotated[int, Meta(ge=1, le=65535)]
Seconds = Annotated[float, Meta(ge=0)]

_WORDS = {
    word: value for words, value in (("true yes 1 on", True), ("false no 0 off", False)) for word in words.split()
}


class Parameter(Generic[T]):
    """A setting, as a class attribute of its settings class.

    Args:
        type_: what values are converted to, by msgspec; text is converted too.
        default: the value, or a function of the settings that computes it.
        help_: one sentence, with the unit.
        env: its environment variable; the name in capitals when left out.
        fallback_env: variables that replace the default, but not an argument.
        parse: makes a value of ``type_`` from what users write, before conversion.
        read: makes of a value what readers get, when that depends on other settings.
        secret: a value that does not fit is not shown.
    """

    def __init__(
        self,
        type_: Any,
        default: T | Callable[[Any], T],
        help_: str,
        *,
        env: str = "",
        fallback_env: Sequence[str] = (),
        parse: Callable[[Any], Any] | None = None,
        read: Callable[[Any, T], T] | None = None,
        secret: bool = False,
    ) -> None:
        self.type, self.help, self.env, self.fallback_env = type_, help_, env, fallback_env
        self._default, self._parse, self._read, self._secret = default, parse, read, secret
        self.name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name
        self.env = self.env or name.upper()

    @overload
    def __get__(self, settings: None, owner: type) -> Self: ...
    @overload
    def __get__(self, settings: object, owner: type) -> T: ...
    def __get__(self, settings: Any, owner: type) -> Self | T:
        if settings is None:
            return self
        values: Mapping[str, T] = settings.values
        value = values[self.name] if self.name in values else self.default(settings)
        return value if self._read is None else self._read(settings, value)

    def __set__(self, settings: Any, value: object) -> None:
        """Assign a value; ``None`` restores the default."""
        settings.assign(self, value)

    def default(self, settings: Any) -> T:
        """The value when nothing else is said."""
        default: Any = self._default
        value: T = default(settings) if callable(default) else default
        return value

    def convert(self, value: object, source: str) -> T:
        """A value from what users wrote.

        Args:
            value: text from the environment, or an object from code.
            source: where it stands, for the message.

        Raises:
            ConfigurationError: it cannot be converted.
        """
        try:
            parsed = value if self._parse is None else self._parse(value)
            converted: T = msgspec.convert(parsed, self.type, strict=False)
        except (ValueError, TypeError, ConfigurationError) as error:
            shown = masked(value) if isinstance(value, str | list) else repr(value)
            shown = "***" if self._secret else shown
            raise ConfigurationError(f"{source}={shown} cannot be used: {error} ({self.help})") from None
        return converted


def flag(value: object) -> object:
    """A boolean from true, yes, on, 1 or false, no, off, 0 in any case."""
    return _WORDS.get(value.strip().lower(), value) if isinstance(value, str) else value


def names(value: object) -> object:
    """A list of names from text that commas separate."""
    return [name for part in value.split(",") if (name := part.strip())] if isinstance(value, str) else value


def seconds(value: object) -> object:
    """Seconds from a timedelta; numbers are seconds already."""
    return value.total_seconds() if isinstance(value, timedelta) else value


def path(value: object) -> Path:
    """A path; ``~`` is the home directory."""
    return Path(str(value)).expanduser()


def zone(value: object) -> object:
    """A time zone, or the name of one."""
    if isinstance(value, str):
        try:
            return ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ValueError(f"there is no time zone {value!r}: write Europe/Berlin, UTC and the like") from error
    if not isinstance(value, tzinfo):
        raise ValueError("it is no time zone")
    return value


def function(value: object) -> object:
    """A function, or the path of one: ``package.module.name`` or ``package.module:name``."""
    if isinstance(value, str):
        module, _, name = value.replace(":", ".").rpartition(".")
        try:
            value = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError, ValueError) as error:
            raise ValueError(f"it cannot be imported ({error}): write package.module:name") from error
    if not callable(value):
        raise ValueError("it is no function")
    return value


def tls_context(value: object) -> ssl.SSLContext:
    """A context for TLS."""
    if not isinstance(value, ssl.SSLContext):
        raise ValueError("it is no ssl.SSLContext: make one with ssl.create_default_context()")
    return value


def codec(value: object) -> object:
    """A codec, or the name of one that exists."""
    if isinstance(value, Codec | str):
        get_codec(value)
    return value


def url(value: object) -> str:
    """A URL with a scheme, such as ``rocksdb://``."""
    text = str(value)
    if "://" not in text:
        raise ValueError(f"it has no scheme: write {text}://")
    return text


def web_url(value: object) -> object:
    """A URL of a web server, such as ``https://worker-1.example``, without a slash at the end."""
    text = str(value).rstrip("/")
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("it is no URL of a web server: write http://host:port")
    return text


def urls(value: object) -> list[str]:
    """Broker URLs from text that ``;`` or ``,`` separates, or from a list; a missing scheme is that of the first, else kafka."""
    given = re.split("[;,]", value) if isinstance(value, str) else value if isinstance(value, list | tuple) else [value]
    parts = [part for item in given if (part := str(item).strip())]
    if not parts:
        raise ValueError("it names no broker")
    schemes = {part.partition("://")[0]: None for part in parts if "://" in part}
    if len(schemes) > 1:
        raise ValueError(f"its URLs name more than one driver: {', '.join(schemes)}")
    scheme = next(iter(schemes), "kafka")
    for part in parts:
        user, at, _ = part.rpartition("://")[2].rpartition("@")
        if at and ":" not in user:
            raise ValueError("it has a user without password: percent-encode ',' ';' and '@' in it (%2C, %3B, %40)")
    return [part if "://" in part else f"{scheme}://{part}" for part in parts]


def masked(value: object) -> str:
    """A value as text, without the credentials of URLs in it: rather too much is left out than too little."""
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return re.sub(r"://(?:(?!://)\S)*@", "://***@", text)
