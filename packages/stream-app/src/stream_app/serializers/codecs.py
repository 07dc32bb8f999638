"""Codecs by their names."""

from typing import Any

from stream_core.values.codecs import Codec, CodecArg, get_codec, register

__all__ = ["Codec", "CodecArg", "dumps", "get_codec", "loads", "register"]


def dumps(codec: Codec | str | None, obj: Any) -> bytes | None:
    """Write an object as bytes.

    Args:
        codec: how, by name; several are written ``"json|binary"``. ``None`` leaves the object as it is, which then must be bytes.
        obj: the object.
    """
    return get_codec("raw" if codec is None else codec).dumps(obj)


def loads(codec: Codec | str | None, data: bytes) -> Any:
    """Read the object that :func:`dumps` has made these bytes of."""
    return get_codec("raw" if codec is None else codec).loads(data)
