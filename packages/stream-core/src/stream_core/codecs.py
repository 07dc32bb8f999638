"""Codecs: how an object becomes the bytes of a key or value, and back.

A codec is named where it is declared (``value_serializer="json"``), never by a header or payload. Names combine from left
to right: ``"json|binary"`` writes JSON and then base64. Built in are ``json``, ``raw``, ``text`` and ``binary``; more
come from :func:`register`.
"""

from __future__ import annotations

import difflib
from base64 import b64decode, b64encode
from functools import partial
from typing import Any

import msgspec
import orjson

from stream_core.errors import ConfigurationError

__all__ = ["Codec", "CodecArg", "codec_names", "get_codec", "json_dumps", "register"]


class Codec:
    """Base class of codecs: override ``_dumps`` and ``_loads``; ``a | b`` is the codec that writes with ``a``, then ``b``."""

    def dumps(self, obj: Any) -> bytes | None:
        """Encode ``obj``; ``None`` as a result is a tombstone. Raises TypeError or ValueError for what it cannot encode."""
        return self._dumps(obj)

    def loads(self, data: bytes) -> Any:
        """Decode ``data``. Raises ValueError for bytes that this codec did not write."""
        return self._loads(data)

    def _dumps(self, obj: Any) -> bytes | None:
        raise NotImplementedError(f"{type(self).__name__} cannot encode: define _dumps(obj)")

    def _loads(self, data: bytes) -> Any:
        raise NotImplementedError(f"{type(self).__name__} cannot decode: define _loads(data)")

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
    """What orjson does not know: ``obj.__json__()`` if its class has that (records do), else msgspec's builtins."""
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


_codecs: dict[str, Codec] = {"json": _Json(), "raw": _Raw(), "text": _Text(), "binary": _Binary()}

_NOT_BUILT_IN = {
    "pickle": "reading pickle runs code that the message names",
    "yaml": "YAML needs a package that is not installed with this one",
}


def register(name: str, codec: Codec) -> None:
    """Make ``codec`` known under ``name``; a codec of that name is replaced. Raises ConfigurationError for a name with ``|``."""
    if not name or "|" in name:
        raise ConfigurationError(f"a codec cannot be named {name!r}: '|' separates the names of a chain")
    _codecs[name] = codec


def codec_names() -> list[str]:
    """The names that are known, sorted."""
    return sorted(_codecs)


def get_codec(codec: Codec | str) -> Codec:
    """The codec of that name or chain of names (``"json|binary"``); a codec is returned as it is.

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
    if found := _codecs.get(name):
        return found
    if reason := _NOT_BUILT_IN.get(name):
        raise ConfigurationError(
            f"the codec {name!r} is not built in, because {reason}: to use it all the same, write a Codec with _dumps and"
            f" _loads and call stream_core.codecs.register({name!r}, codec) where the topic is declared"
        )
    near = difflib.get_close_matches(name, _codecs, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(codec_names())}"
    raise ConfigurationError(f"there is no codec {name!r}: {hint}")
