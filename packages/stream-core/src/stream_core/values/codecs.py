"""Codecs: how an object becomes the bytes of a key or value, and back.

A codec is named where it is declared (``value_serializer="json"``), never by a header or payload. Names combine from left
to right: ``"json|binary"`` writes JSON and then base64. Built in are ``json``, ``raw``, ``text``, ``binary``, ``yaml`` when
PyYAML is installed,
and ``avro`` when fastavro is; more come from :func:`register`, and from packages with entry points of the group ``stream.codecs``.
"""

from __future__ import annotations

import difflib
import pickle
from base64 import b64decode, b64encode
from collections.abc import Callable
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import msgspec
import orjson

from stream_core.errors import ConfigurationError, MissingPackageError

__all__ = ["GROUP", "Codec", "CodecArg", "Pickle", "codec_names", "get_codec", "json_dumps", "register"]

GROUP = "stream.codecs"
"""Entry points of this group name codecs of other packages: a :class:`Codec`, or what makes one when it is called."""


class Codec:
    """Base class of codecs: override ``_dumps`` and ``_loads``; ``a | b`` is the codec that writes with ``a``, then ``b``."""

    def dumps(self, obj: Any) -> bytes | None:
        """Encode ``obj``; ``None`` as a result is a tombstone. Raises TypeError or ValueError for what it cannot encode."""
        return self._dumps(obj)

    def loads(self, data: bytes) -> Any:
        """Decode ``data``. Raises ValueError for bytes that this codec did not write."""
        return self._loads(data)

    def _dumps(self, obj: Any) -> bytes | None:
        raise ConfigurationError(f"{type(self).__name__} cannot encode: define _dumps(obj)")

    def _loads(self, data: bytes) -> Any:
        raise ConfigurationError(f"{type(self).__name__} cannot decode: define _loads(data)")

    def __or__(self, other: Codec) -> Codec:
        return _Chain(self, other)


CodecArg = Codec | str | None
"""How users name a codec: the codec itself, a name or chain of names, or ``None`` for the default of the place."""


class _Chain(Codec):
    """Two codecs in a row."""

    def __init__(self, first: Codec, second: Codec) -> None:
        self.first, self.second = first, second

    def _dumps(self, obj: Any) -> bytes | None:
        return self.second.dumps(self.first.dumps(obj))

    def _loads(self, data: bytes) -> Any:
        return self.first.loads(self.second.loads(data))


def _jsonable(obj: Any) -> Any:
    """Return what orjson is to write for an object that it does not know: ``obj.__json__()`` (records have it), else msgspec's builtins."""
    hook = getattr(type(obj), "__json__", None)
    return msgspec.to_builtins(obj) if hook is None else hook(obj)


json_loads = orjson.loads
"""JSON to plain values."""

json_dumps = partial(orjson.dumps, default=_jsonable, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_UTC_Z)
"""JSON bytes of any object. A partial of the C function, because tables call it for each key."""


class _Json(Codec):
    """Compact UTF-8 JSON; times in UTC end in ``Z``; bytes are base64, as msgspec writes them."""

    def _dumps(self, obj: Any) -> bytes:
        return json_dumps(obj)

    def _loads(self, data: bytes) -> Any:
        return orjson.loads(data)


class _Raw(Codec):
    """Bytes as they are; encodes text as UTF-8, and numbers, dates, UUIDs and the like as their text."""

    def _dumps(self, obj: Any) -> bytes | None:
        if obj is None or isinstance(obj, bytes):
            return obj
        if isinstance(obj, bytearray | memoryview):
            return bytes(obj)
        plain = msgspec.to_builtins(obj)
        if isinstance(plain, str):
            return plain.encode()
        if isinstance(plain, int | float):
            return msgspec.json.encode(plain)
        raise TypeError(f"{type(obj).__name__} has no raw form: declare its type, or use the json serializer")

    def _loads(self, data: bytes) -> Any:
        return data


class _Text(_Raw):
    """As raw, but decodes to ``str``."""

    def _loads(self, data: bytes) -> str:
        return data.decode()


class _Binary(_Raw):
    """Base64 of what raw writes: behind another codec, for channels that carry text only."""

    def _dumps(self, obj: Any) -> bytes | None:
        data = super()._dumps(obj)
        return None if data is None else b64encode(data)

    def _loads(self, data: bytes) -> bytes:
        return b64decode(data, validate=True)


_YAML_BREAKS = frozenset("\x85\u2028\u2029")


_YAML_BYTES = 250_000
"""Bytes of the largest document that is read: the event loop waits meanwhile, for seconds where the parser is the one in Python."""


_YAML_DEPTH = 100
"""Sequences and mappings inside each other that are read."""


class _Yaml(Codec):
    """YAML in its safe form: plain values only, no tags that name classes."""

    def __init__(self) -> None:
        try:
            import yaml  # noqa: PLC0415 - an extra
        except ImportError as error:
            raise MissingPackageError("the codec 'yaml' needs PyYAML: pip install 'stream-core[yaml]'") from error
        self._yaml = yaml
        self._loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the parser in C, where PyYAML was built with it

    def _dumps(self, obj: Any) -> bytes:
        json = json_dumps(obj).decode()  # records, dates and the like as JSON has them
        readable = _YAML_BREAKS.isdisjoint(json)  # PyYAML writes these as they are, and reads them as the end of a line
        text: str = self._yaml.safe_dump(orjson.loads(json), allow_unicode=readable, sort_keys=False)
        return text.encode()

    def _loads(self, data: bytes) -> Any:
        try:
            if len(data) > _YAML_BYTES:
                raise ValueError(
                    f"{len(data)} bytes of YAML are more than {_YAML_BYTES}: it is slow to read; send JSON"
                )
            depth = 0
            # Step by step: to build what is nested deeper ends the process in C.
            for event in self._yaml.parse(data, self._loader):
                depth += isinstance(event, self._yaml.CollectionStartEvent)
                depth -= isinstance(event, self._yaml.CollectionEndEvent)
                if depth > _YAML_DEPTH:
                    raise ValueError(f"it is nested more than {_YAML_DEPTH} deep")
            return self._yaml.load(data, self._loader)  # both loaders are safe ones
        except self._yaml.YAMLError as error:
            raise ValueError(f"it is no YAML: {error}") from error


class Pickle(Codec):
    """Pickle, in base64 as Faust writes it. Reading it runs code that the message names, so it has no name of its own.

    Only for topics that nobody else can write to, and only on purpose::

        register("pickle", Pickle())
    """

    def _dumps(self, obj: Any) -> bytes:
        return b64encode(pickle.dumps(obj))

    def _loads(self, data: bytes) -> Any:
        return pickle.loads(b64decode(data, validate=True))


_codecs: dict[str, Codec] = {"json": _Json(), "raw": _Raw(), "text": _Text(), "binary": _Binary()}

_extras: dict[str, Callable[[], Codec]] = {"yaml": _Yaml}
"""Built in, and made when they are first named."""


def register(name: str, codec: Codec) -> None:
    """Make ``codec`` known under ``name``; a codec of that name is replaced. Raises ConfigurationError for a name with ``|``."""
    if not name or "|" in name:
        raise ConfigurationError(f"a codec cannot be named {name!r}: '|' separates the names of a chain")
    _codecs[name] = codec


def codec_names() -> list[str]:
    """Return the names that are known, sorted."""
    return sorted({*_codecs, *_extras, *entry_points(group=GROUP).names})


def get_codec(codec: Codec | str) -> Codec:
    """Return the codec of that name or chain of names (``"json|binary"``); a codec is returned as it is.

    Raises:
        ConfigurationError: no codec has that name; the message names the nearest one.
    """
    if isinstance(codec, Codec):
        return codec
    first, *rest = (_named(name.strip()) for name in codec.split("|"))
    for other in rest:
        first = first | other
    return first


def _named(name: str) -> Codec:
    if name not in _codecs:
        if point := next(iter(entry_points(group=GROUP, name=name)), None):
            _codecs[name] = _load(point)
        elif name in _extras:
            _codecs[name] = _extras[name]()
        else:
            raise _unknown(name)
    return _codecs[name]


def _load(point: EntryPoint) -> Codec:
    try:
        found = point.load()
        codec = found if isinstance(found, Codec) else found()
    except ConfigurationError:
        raise
    except Exception as error:
        raise ConfigurationError(f"the codec {point.name!r} ({point.value}) cannot be loaded: {error}") from error
    if not isinstance(codec, Codec):
        raise ConfigurationError(
            f"the codec {point.name!r} ({point.value}) is of type {type(codec).__name__}, no Codec"
        )
    return codec


def _unknown(name: str) -> ConfigurationError:
    if name == "pickle":
        return ConfigurationError(
            "the codec 'pickle' runs code that the message names, so it is refused: where only you can write to the topic, say so "
            "with stream_core.values.codecs.register('pickle', stream_core.values.codecs.Pickle()) before the topic is described"
        )
    near = difflib.get_close_matches(name, codec_names(), n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(codec_names())}"
    return ConfigurationError(f"there is no codec {name!r}: {hint}")
