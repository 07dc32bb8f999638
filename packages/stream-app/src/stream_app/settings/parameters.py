"""One setting: its type, default, environment variable and help, as a typed descriptor; and how text becomes its value."""

from __future__ import annotations

import importlib
import logging
import re
import ssl
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta, tzinfo
from pathlib import Path
from string import Formatter
from types import UnionType
from typing import Annotated, Any, ClassVar, Generic, Literal, Self, TypeVar, Union, get_args, get_origin, overload
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from msgspec import Meta

from stream_core.errors import ConfigurationError
from stream_core.values.codecs import Codec, get_codec

__all__ = [
    "BrokerURL",
    "Bytes",
    "Count",
    "Milliseconds",
    "Parameter",
    "Port",
    "Seconds",
    "Section",
    "codec",
    "flag",
    "function",
    "handlers",
    "id_format",
    "level",
    "mapping",
    "masked",
    "names",
    "path",
    "registry_url",
    "seconds",
    "some_or_all",
    "subclass_of",
    "tls_context",
    "url",
    "urls",
    "web_application",
    "web_transport",
    "web_url",
    "zone",
]

T = TypeVar("T")

Count = Annotated[int, Meta(ge=1, description="number, 1 or more")]
Bytes = Annotated[int, Meta(ge=1, description="bytes")]
Milliseconds = Annotated[int, Meta(ge=1, description="milliseconds")]
Port = Annotated[int, Meta(ge=1, le=65535, description="number of a port")]
Seconds = Annotated[float, Meta(ge=0, description="seconds, or a timedelta")]

_WORDS = {
    word: value for words, value in (("true yes 1 on", True), ("false no 0 off", False)) for word in words.split()
}


_RATE = re.compile(r"(\d+(?:\.\d*)?)\s*/\s*([smhd])")

_PER = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class Section:
    """Settings that belong together: one heading of the page on settings."""

    title: ClassVar[str]


class Parameter(Generic[T]):
    """A setting, as a class attribute of its settings class.

    Args:
        type_: what values are converted to, by msgspec; text is converted too.
        default: the value, or a function of the settings that computes it.
        help_: one sentence, with the unit.
        env: its environment variable; the name in capitals when left out, and ``None`` where text cannot be a value.
        fallback_env: variables that replace the default, but not an argument.
        parse: makes a value of ``type_`` from what users write, before conversion.
        read: makes of a value what readers get, when that depends on other settings.
        secret: a value that does not fit is not shown, and neither is one that is text without being a URL.
        kind: what values are, with the unit, where ``type_`` does not tell.
        shown: the default in words, where it is computed.
        cost: what one pays for a larger or another value, in a sentence.

    Attributes:
        section: the class that the setting was defined in.
    """

    def __init__(
        self,
        type_: Any,
        default: T | Callable[[Any], T],
        help_: str,
        *,
        env: str | None = "",
        fallback_env: Sequence[str] = (),
        parse: Callable[[Any], Any] | None = None,
        read: Callable[[Any, T], T] | None = None,
        secret: bool = False,
        kind: str = "",
        shown: str = "",
        cost: str = "",
    ) -> None:
        self.type, self.help, self.env, self.fallback_env = type_, help_, env, fallback_env
        self.kind, self.shown, self.cost = kind or _kind_of(type_), shown, cost
        self._default, self._parse, self._read, self._secret = default, parse, read, secret
        self.name = ""
        self.section: type = Section

    def __set_name__(self, owner: type, name: str) -> None:
        self.name, self.section = name, owner
        if self.env == "":
            self.env = name.upper()

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
        """Assign a value; ``None`` restores the value of the environment, or the default."""
        settings.assign(self, value)

    def default(self, settings: Any) -> T:
        """Give the value when nothing else is said."""
        default: Any = self._default
        value: T = default(settings) if callable(default) else default
        return value

    def convert(self, value: object, source: str) -> T:
        """Make a value of what users wrote.

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

    def show(self, value: object) -> str:
        """Give a value as text, without what is secret in it."""
        if self._secret and isinstance(value, str) and "://" not in value:
            return "***"
        return masked(value)


def _kind_of(type_: Any) -> str:
    """Say what values of a type are, with their unit."""
    words = {bool: "true or false", str: "text", int: "number", Path: "path"}
    if type_ in words:
        return words[type_]
    if isinstance(type_, UnionType) or get_origin(type_) is Union:
        return _kind_of(next(one for one in get_args(type_) if one is not type(None)))
    if get_origin(type_) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(type_))
    if get_origin(type_) is list:
        return "list, or text with commas"
    notes = [note.description for note in getattr(type_, "__metadata__", ()) if isinstance(note, Meta)]
    return notes[0] if notes and notes[0] else ""


class BrokerURL(str):
    """The URL of a broker as text, in which ``***`` stands for user and password.

    So neither a log, nor ``print(app.conf.broker)``, nor JSON shows them.

    Attributes:
        clear: the whole URL.
    """

    __slots__ = ("clear",)
    clear: str

    def __new__(cls, url: str) -> Self:
        text = super().__new__(cls, masked(url))
        text.clear = url
        return text


def flag(value: object) -> object:
    """Read a boolean from true, yes, on, 1 or false, no, off, 0 in any case."""
    return _WORDS.get(value.strip().lower(), value) if isinstance(value, str) else value


def names(value: object) -> object:
    """Read a list of names from text that commas separate."""
    return [name for part in value.split(",") if (name := part.strip())] if isinstance(value, str) else value


def some_or_all(value: object) -> object:
    """``True`` or ``False``, a list of names, which may be text that commas separate, or a function that gives it."""
    if isinstance(value, str):
        word = flag(value)
        return word if isinstance(word, bool) else names(value)
    if not callable(value) and not isinstance(value, bool | Iterable):
        raise ValueError("it is not a list of names: write True, names of modules, or a function that gives them")
    return value


def mapping(value: object) -> object:
    """Read a mapping, or one as JSON."""
    if isinstance(value, str | bytes):
        try:
            value = msgspec.json.decode(value)
        except msgspec.DecodeError as error:
            raise ValueError(f"it is not JSON: {error}") from error
    if not isinstance(value, Mapping):
        raise ValueError("it is not a mapping")
    return value


def handlers(value: object) -> object:
    """Handlers of :mod:`logging`."""
    given = list(value) if isinstance(value, Iterable) else [value]
    if not all(isinstance(one, logging.Handler) for one in given):
        raise ValueError("these are no handlers: write a list of objects such as logging.FileHandler('shop.log')")
    return given


def level(value: object) -> object:
    """Read a level of :mod:`logging`: a number, or a name in letters of any case."""
    if isinstance(value, str):
        if value.isdigit():
            return int(value)
        if value.upper() not in logging.getLevelNamesMapping():
            raise ValueError("there is no such level: write CRITICAL, ERROR, WARNING, INFO or DEBUG, or a number")
        return value.upper()
    return value


def id_format(value: object) -> object:
    """Read a format of ids, of name and version."""
    text = str(value)
    try:
        fields = {name for _, name, _, _ in Formatter().parse(text) if name is not None}
    except ValueError as error:
        raise ValueError(f"it is not a format: {error}") from error
    if fields - {"id", "self.version"} or "id" not in fields:
        raise ValueError("write {id} for the name of the app, and {self.version}")
    return text


def subclass_of(path: str) -> Callable[[object], object]:
    """Make what takes a class that is derived from another one, or the path of such a class.

    Args:
        path: of the other one, ``package.module:Class``; it is imported at the first use.
    """

    def parse(value: object) -> object:
        if isinstance(value, str):
            value = function(value)
        base = _imported(path)
        if not isinstance(value, type) or not issubclass(value, base):
            raise ValueError(f"it is not a class that is derived from {base.__module__}.{base.__qualname__}")
        return value

    return parse


def seconds(value: object) -> object:
    """Seconds from a timedelta, or from a rate as Faust reads it (``"30/m"`` is 0.5); numbers are seconds already."""
    if isinstance(value, str) and (found := _RATE.fullmatch(value.strip())):
        return float(found[1]) / _PER[found[2]]
    return value.total_seconds() if isinstance(value, timedelta) else value


def path(value: object) -> Path:
    """Read a path; ``~`` is the home directory."""
    return Path(str(value)).expanduser()


def zone(value: object) -> object:
    """Read a time zone, or the name of one."""
    if isinstance(value, str):
        try:
            return ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ValueError(f"there is no time zone {value!r}: write Europe/Berlin, UTC and the like") from error
    if not isinstance(value, tzinfo):
        raise ValueError("it is not a time zone")
    return value


def function(value: object) -> object:
    """Read a function, or the path of one: ``package.module.name`` or ``package.module:name``."""
    if isinstance(value, str):
        try:
            value = _imported(value)
        except (ImportError, AttributeError, ValueError) as error:
            raise ValueError(f"it cannot be imported ({error}): write package.module:name") from error
    if not callable(value):
        raise ValueError("it is not a function")
    return value


def _imported(path: str) -> Any:
    module, _, name = path.replace(":", ".").rpartition(".")
    return getattr(importlib.import_module(module), name)


def tls_context(value: object) -> ssl.SSLContext:
    """Take a context for TLS."""
    if not isinstance(value, ssl.SSLContext):
        raise ValueError("it is not an ssl.SSLContext: make one with ssl.create_default_context()")
    return value


def codec(value: object) -> object:
    """Read a codec, or the name of one that exists."""
    if isinstance(value, Codec | str):
        get_codec(value)
    return value


def url(value: object) -> str:
    """Read a URL with a scheme, such as ``rocksdb://``."""
    text = str(value)
    scheme, separator, _ = text.partition("://")
    if not scheme or not separator:
        raise ValueError(f"it has no scheme: write {scheme.strip(':/') or 'rocksdb'}://")
    return text


def registry_url(value: object) -> str:
    """URLs of a schema registry, separated by commas, such as ``http://localhost:8081``."""
    urls = [one.strip() for one in str(value).split(",")]
    if not all(re.match(r"[A-Za-z0-9_.:]+://", one) for one in urls):
        raise ValueError("it is not a URL of a schema registry: write http://host:port")
    return ",".join(urls)


def web_url(value: object) -> object:
    """Read a URL of a web server, such as ``https://worker-1.example``, without a slash at the end."""
    text = str(value).rstrip("/")
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("it is not a URL of a web server: write http://host:port")
    return text


def web_transport(value: object) -> str:
    """Read where a web server listens: ``tcp://``, or ``unix://`` with the path of a socket."""
    text = str(value)
    scheme, _, path = text.partition("://")
    if path.strip("/") if scheme == "tcp" else not (scheme == "unix" and path.startswith("/")):
        raise ValueError("write tcp://, with web_bind and web_port beside it, or unix:///path/of/the/socket")
    return text


def web_application(value: object) -> object:
    """Options of the application of a web server: a mapping, or the text of one as JSON."""
    options = mapping(value)
    if isinstance(options, Mapping):
        if unknown := sorted(set(options) - {"client_max_size", "middlewares"}):
            raise ValueError(f"{', '.join(unknown)} cannot be set: it takes client_max_size and middlewares")
        size = options.get("client_max_size", 1)
        if not isinstance(size, int) or size < 1:
            raise ValueError("client_max_size is a number of bytes, 1 or more")
    return options


def urls(value: object) -> list[str]:
    """Broker URLs from text that ``;`` or ``,`` separates, or from a list; a missing scheme is that of the first, else kafka."""
    if isinstance(value, bytes):
        raise ValueError("it is bytes: write text")
    given = re.split("[;,]", value) if isinstance(value, str) else value if isinstance(value, list | tuple) else [value]
    parts = [part for item in given if (part := (item.clear if isinstance(item, BrokerURL) else str(item)).strip())]
    if not parts:
        raise ValueError("it names no broker")
    schemes = {part.partition("://")[0]: None for part in parts if "://" in part}
    if len(schemes) > 1:
        raise ValueError(f"its URLs name more than one driver: {', '.join(schemes)}")
    scheme = next(iter(schemes), "kafka")
    for part in parts:
        user, at, _ = part.rpartition("://")[2].rpartition("@")
        if at and ":" not in user:
            raise ValueError(
                "its password is left out: give the setting itself on, or the attribute clear of each URL"
                if user == "***"
                else "it has a user without password: percent-encode ',' ';' and '@' in it (%2C, %3B, %40)"
            )
    return [BrokerURL(part if "://" in part else f"{scheme}://{part}") for part in parts]


def masked(value: object) -> str:
    """Show a value as text, without the credentials of URLs in it: rather too much is left out than too little."""
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return re.sub(r"://(?:(?!://)\S)*@", "://***@", text)
