"""Protobuf: the codec ``protobuf``, for the classes that ``protoc`` has made, with their files in a schema registry."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from typing import Any

from stream_core.errors import ConfigurationError, MissingPackageError
from stream_core.ports import SchemaText
from stream_core.values.encoding import type_name
from stream_core.values.registered import Naming, Reader, RegisteredCodec, Resolved, Writer

__all__ = ["Protobuf"]

_KNOWN = "google/protobuf/"
"""Files that every implementation of Protobuf brings along: no registry has them."""


class Protobuf(RegisteredCodec):
    """The codec ``protobuf``, in the wire format of Confluent's serializers.

    The type of the topic is a class that ``protoc`` has made. Its file must import no other one but those of ``google/protobuf``.

    Args:
        subject: how subjects are named; see :data:`~stream_core.values.registered.Naming`. The name of a record is the full name of its
            message.
        auto_register: register schemas that are not there; else they must be.

    Raises:
        MissingPackageError: protobuf is not installed.
    """

    kind = "PROTOBUF"
    whole = True

    def __init__(self, *, subject: Naming = "topic", auto_register: bool = True) -> None:
        super().__init__(subject=subject, auto_register=auto_register)
        try:
            from google.protobuf.message import Message  # noqa: PLC0415 - an extra
        except ImportError as error:
            raise MissingPackageError(
                "the codec 'protobuf' needs protobuf: pip install 'stream-core[protobuf]'"
            ) from error
        self._message = Message

    def writer(self, type_: Any) -> Writer:
        """Make what writes messages of a class. Raises ConfigurationError."""
        descriptor = self._checked(type_).DESCRIPTOR
        file = descriptor.file
        if others := [one.name for one in file.dependencies if not one.name.startswith(_KNOWN)]:
            raise ConfigurationError(
                f"{type_.__name__}: its file {file.name} imports {', '.join(others)}: put its messages into one file"
            )
        indexes = list(_path(descriptor))
        head = b"\0" if indexes == [0] else _varints([len(indexes), *indexes])  # the short form of the first message

        def dumps(value: Any) -> bytes:
            if not isinstance(value, type_):
                raise TypeError(f"a {type_.__name__} is written here, and not a {type(value).__name__}")
            data: bytes = value.SerializeToString(deterministic=True)
            return head + data

        return Writer(descriptor.full_name, SchemaText(self.kind, b64encode(file.serialized_pb).decode()), dumps)

    def reader(self, written: Resolved, type_: Any) -> Reader:
        """Make what reads messages as a class: Protobuf tells fields by their numbers, whatever they were written with."""
        cls = self._checked(type_)

        def loads(data: bytes) -> Any:
            return cls.FromString(data[_after_path(data) :])

        return loads

    def describes(self, cls: type) -> bool:
        """Tell whether a class says what its schema is: one that ``protoc`` has made."""
        return issubclass(cls, self._message)

    def _checked(self, type_: Any) -> Any:
        if not (isinstance(type_, type) and issubclass(type_, self._message)):
            raise ConfigurationError(
                f"{type_name(type_)} is no class that protoc has made: describe the topic with one as its type"
            )
        return type_


def _path(descriptor: Any) -> Iterator[int]:
    """Give the indexes of a message and those around it, from the outermost on, each in what it stands in."""
    outer = descriptor.containing_type
    if outer is not None:
        yield from _path(outer)
    siblings = descriptor.file.message_types_by_name if outer is None else outer.nested_types_by_name
    yield [one.full_name for one in siblings.values()].index(descriptor.full_name)


def _varints(numbers: list[int]) -> bytes:
    """Return numbers as Protobuf writes them with their sign (zigzag)."""
    data = bytearray()
    for number in numbers:
        left = number << 1
        while left > 127:
            data.append(left & 127 | 128)
            left >>= 7
        data.append(left)
    return bytes(data)


def _after_path(data: bytes) -> int:
    """Return where the message begins: behind the count of indexes and the indexes. Raises ValueError."""
    try:
        count, at = _varint(data, 0)
        for _ in range(count):
            _, at = _varint(data, at)
    except IndexError:
        raise ValueError("it ends before the message begins") from None
    return at


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Return a number that is not negative, and where it ends. Raises IndexError."""
    number = shift = 0
    while data[at] & 128:
        number |= (data[at] & 127) << shift
        shift, at = shift + 7, at + 1
    return (number | data[at] << shift) >> 1, at + 1
