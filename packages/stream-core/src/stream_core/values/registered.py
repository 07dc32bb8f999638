"""Codecs whose schemas are in a schema registry: values begin with the id of the schema that they were written with.

The bytes are those that Confluent's serializers write: a zero, the id in four bytes, then the value. Ids never change, so both directions
are kept: what is read is asked for once for each id, before the records of a chunk are decoded, and what is written is registered once for
each subject, before the first value is encoded. Encoding and decoding themselves wait for nobody.
"""

from __future__ import annotations

import asyncio
import logging
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Iterable
from time import monotonic
from typing import Any, ClassVar, Literal, NamedTuple, TypeVar, get_args

from stream_core.errors import (
    ConfigurationError,
    EncodeError,
    RegistryUnavailableError,
    SchemaRefusedError,
    UnknownSchemaError,
)
from stream_core.ports import SchemaRegistry, SchemaText
from stream_core.values.codecs import Codec
from stream_core.values.namespaces import named_by_payload
from stream_core.values.wire import is_record, without_none

__all__ = ["Naming", "RegisteredCodec", "Resolved", "Schemas", "TopicCodec", "Writer"]

T = TypeVar("T")

logger = logging.getLogger(__name__)

HEAD = 5
"""Bytes in front of a value: a zero, and the id of its schema."""

UNKNOWN = 5.0
"""Seconds until the registry is asked again for an id that it did not know."""

SHORTEST, LONGEST = 0.5, 10.0
"""Seconds between two attempts to reach the registry while records wait for it."""

Naming = Literal["topic", "record", "topic_record"]
"""How subjects are named: ``orders-value``; the full name of the record; or both, as ``orders-shop.Order``."""


class Resolved(NamedTuple):
    """A schema with those that it refers to.

    Attributes:
        schema: the schema.
        references: name and schema of each one that is referred to, those first to which others refer.
    """

    schema: SchemaText
    references: tuple[tuple[str, SchemaText], ...] = ()


class Writer(NamedTuple):
    """How values of one type are written.

    Attributes:
        name: the full name of the type in the schema; empty where it has none.
        schema: what is registered.
        write: encodes one value, without the id. Raises TypeError or ValueError.
    """

    name: str
    schema: SchemaText
    write: Callable[[Any], bytes]


Reader = Callable[[bytes], Any]
"""Decodes what follows the id of a schema to plain data."""


class Schemas:
    """What is known of a schema registry: it is asked once for what never changes.

    Args:
        registry: what is asked.
    """

    def __init__(self, registry: SchemaRegistry) -> None:
        self._registry = registry
        self._known: dict[int, Resolved] = {}
        self._unknown: dict[int, tuple[float, UnknownSchemaError]] = {}
        self._ids: dict[tuple[str, SchemaText], int] = {}
        self._asked: dict[tuple[asyncio.AbstractEventLoop, object], asyncio.Task[Any]] = {}

    def known(self, id_: int) -> Resolved | None:
        """Return the schema of that id, if it was fetched."""
        return self._known.get(id_)

    def unknown(self, id_: int) -> UnknownSchemaError | None:
        """Return why there is no schema of that id, if the registry said so a moment ago."""
        if (found := self._unknown.get(id_)) is None:
            return None
        return found[1] if monotonic() < found[0] else None

    async def fetch(self, id_: int) -> None:
        """Ask for the schema of that id, with those that it refers to. One that does not exist is :meth:`unknown` then.

        Raises:
            RegistryError: the registry does not answer, or not as it should.
        """
        if id_ in self._known or self.unknown(id_) is not None:
            return
        try:
            self._known[id_] = await self._once(id_, lambda: self._fetch(id_))
        except UnknownSchemaError as error:
            self._unknown[id_] = monotonic() + UNKNOWN, error
        else:
            self._unknown.pop(id_, None)

    async def _fetch(self, id_: int) -> Resolved:
        schema = await self._registry.schema(id_)
        references: dict[str, SchemaText] = {}
        await self._follow(schema, references)
        return Resolved(schema, tuple(references.items()))

    async def _follow(self, schema: SchemaText, into: dict[str, SchemaText]) -> None:
        for reference in schema.references:
            if reference.name not in into:
                found = (await self._registry.version(reference.subject, reference.version)).schema
                await self._follow(found, into)
                into[reference.name] = found

    async def id_of(
        self, subject: str, schema: SchemaText, *, register: bool, explain: Callable[[str, str], str]
    ) -> int:
        """Return the id of a schema under a subject.

        Args:
            subject: the subject.
            schema: the schema.
            register: register it if it is not there.
            explain: compares a schema with an older one, and says in words what does not fit.

        Raises:
            SchemaRefusedError: it is not there and may not be registered, or does not fit the versions before it; the message names the
                subject, the version, its id, and the field.
            RegistryError: the registry does not answer, or not as it should.
        """
        key = subject, schema
        if key not in self._ids:
            id_ = self._ids[key] = await self._once(key, lambda: self._id_of(subject, schema, register, explain))
            if not schema.references:
                self._known.setdefault(id_, Resolved(schema))
        return self._ids[key]

    async def _id_of(self, subject: str, schema: SchemaText, register: bool, explain: Callable[[str, str], str]) -> int:
        try:
            if register:
                return await self._registry.register(subject, schema)
            return await self._registry.find(subject, schema)
        except UnknownSchemaError as error:
            raise SchemaRefusedError(
                f"subject {subject} does not have the schema {schema.text}, and auto_register=False: register it first"
            ) from error
        except SchemaRefusedError as error:
            try:
                latest = await self._registry.version(subject, None)
            except UnknownSchemaError:
                raise error from None
            found = explain(schema.text, latest.schema.text)
            raise SchemaRefusedError(
                f"subject {subject} does not take the schema, which does not fit version {latest.version} (schema id {latest.id}): "
                f"{found or error}; change it, or the compatibility of the subject"
            ) from error

    async def _once(self, what: object, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask once for what several in this event loop want to know at the same time."""
        key = asyncio.get_running_loop(), what

        async def answer() -> T:
            return await ask()

        if (task := self._asked.get(key)) is None:
            task = self._asked[key] = asyncio.create_task(answer(), name=f"schema registry: {what}")
            task.add_done_callback(lambda done: self._answered(key, done))
        return await asyncio.shield(task)

    def _answered(self, key: tuple[asyncio.AbstractEventLoop, object], task: asyncio.Task[Any]) -> None:
        self._asked.pop(key, None)
        if not task.cancelled():
            task.exception()  # whoever asked may be gone


class RegisteredCodec(Codec):
    """Base class of the codecs that a schema registry is needed for: :class:`TopicCodec` does the work, for one topic.

    Args:
        schema: the schema to write with, and to read into, as text; derived from the type of the topic when left out.
        subject: how subjects are named; see :data:`Naming`.
        auto_register: register schemas that are not there; else they must be.

    Raises:
        ConfigurationError: there is no such naming.
        MissingPackageError: a package that it needs is not installed.
    """

    kind: ClassVar[str]
    """What the registry calls schemas of this kind."""

    whole: ClassVar[bool] = False
    """Whether what is read is of the declared type already; else it is plain data, which becomes one."""

    def __init__(self, schema: str | None = None, *, subject: Naming = "topic", auto_register: bool = True) -> None:
        if subject not in get_args(Naming):
            raise ConfigurationError(
                f"{type(self).__name__}: subject={subject!r} is none of {', '.join(get_args(Naming))}"
            )
        self.schema, self.subject, self.auto_register = schema, subject, auto_register

    @abstractmethod
    def writer(self, type_: Any) -> Writer:
        """Make what writes values of a type; ``None`` when the codec has a schema of its own. Raises ConfigurationError."""

    @abstractmethod
    def reader(self, written: Resolved, type_: Any) -> Reader:
        """Make what reads values that were written with a schema, to become values of a type. Raises ValueError."""

    def describes(self, cls: type) -> bool:
        """Tell whether a class says what its schema is, where the topic has no type: a record."""
        return is_record(cls)

    def explain(self, new: str, old: str) -> str:
        """Say in words what keeps a schema from replacing an older one; empty when that cannot be told."""
        return ""

    def _dumps(self, obj: Any) -> bytes | None:
        raise EncodeError(self._no_topic)

    def _loads(self, data: bytes) -> Any:
        raise TypeError(self._no_topic)

    def __or__(self, other: Codec) -> Codec:
        raise ConfigurationError(f"{type(self).__name__} cannot be part of a chain of codecs: name it alone")

    @property
    def _no_topic(self) -> str:
        return f"{type(self).__name__} asks a schema registry, which only the keys and values of topics can wait for: use json here"


class TopicCodec(Codec):
    """A :class:`RegisteredCodec` at work for the keys or values of one topic.

    Args:
        codec: the codec.
        topic: name of the topic.
        part: ``"key"`` or ``"value"``.
        type_: the type of them; ``None`` where none is declared.
        schemas: what is known of the registry.

    Raises:
        ConfigurationError: no schema can be made of the type.
    """

    def __init__(self, codec: RegisteredCodec, topic: str, part: str, type_: Any, schemas: Schemas) -> None:
        self._codec, self._topic, self._part, self._schemas = codec, topic, part, schemas
        self._type = without_none(type_)
        self._writers: dict[type, tuple[bytes, Callable[[Any], bytes]]] = {}
        self._readers: dict[int, Reader] = {}
        if codec.schema is not None or not _is_open(self._type):
            self._declared: Writer | None = codec.writer(None if codec.schema is not None else self._type)
        else:
            self._declared = None

    @property
    def whole(self) -> bool:
        """Whether what is read is of the declared type already."""
        return self._codec.whole

    # -- writing

    def dumps(self, obj: Any) -> bytes:
        """Encode a value of a class for which :meth:`ready_to_write` was awaited. Raises TypeError or ValueError."""
        head, write = self._writers[type(obj)]
        return head + write(obj)

    async def ready_to_write(self, obj: Any) -> None:
        """Find out the id for values of the class of ``obj``; it is registered if need be.

        Raises:
            EncodeError: no schema can be made of the class.
            RegistryError: as :meth:`Schemas.id_of`.
        """
        if obj is None or (cls := type(obj)) in self._writers:
            return
        writer = self._declared
        if writer is None:
            if not self._codec.describes(cls):
                raise EncodeError(
                    f"no schema can be made of {cls.__name__}: send a record, or describe the topic with {self._part}_type="
                )
            try:
                writer = self._codec.writer(cls)
            except ConfigurationError as error:
                raise EncodeError(str(error)) from error
        id_ = await self._schemas.id_of(
            self._subject(writer.name),
            writer.schema,
            register=self._codec.auto_register,
            explain=self._codec.explain,
        )
        self._writers[cls] = b"\0" + id_.to_bytes(4), writer.write

    def _subject(self, name: str) -> str:
        naming = self._codec.subject
        if naming == "topic":
            return f"{self._topic}-{self._part}"
        if not name:
            raise EncodeError(f"subject={naming!r} needs a schema that has a name: a record")
        return name if naming == "record" else f"{self._topic}-{name}"

    # -- reading

    def loads(self, data: bytes) -> Any:
        """Decode a value whose id was given to :meth:`ready_to_read`. Raises ValueError for bytes that cannot be decoded."""
        id_ = int.from_bytes(data[1:HEAD])
        read = self._readers.get(id_)
        if read is None or data[0]:
            read = self._reader(data, id_)
        try:
            return read(data[HEAD:])
        except Exception as error:
            raise ValueError(f"what was written with schema id {id_} cannot be read: {error}") from None

    def _reader(self, data: bytes, id_: int) -> Reader:
        if len(data) < HEAD or data[0]:
            raise ValueError(
                "it does not begin with a zero and the id of a schema: it was not written for a schema registry"
            )
        if (written := self._schemas.known(id_)) is None:
            if (unknown := self._schemas.unknown(id_)) is not None:
                raise ValueError(str(unknown)) from unknown
            raise UnknownSchemaError(f"schema id {id_} was not asked for")
        if written.schema.kind != self._codec.kind:
            raise ValueError(f"schema id {id_} is of kind {written.schema.kind}, and not {self._codec.kind}")
        try:
            read = self._readers[id_] = self._codec.reader(written, self._type)
        except Exception as error:
            raise ValueError(f"schema id {id_} cannot be used: {error}") from None
        return read

    async def ready_to_read(self, payloads: Iterable[bytes | None], wanted: Callable[[], bool]) -> None:
        """Fetch the schemas that payloads were written with. While the registry cannot be reached they wait.

        Args:
            payloads: keys or values of records.
            wanted: tells whether they are wanted still; asked after each attempt.

        Raises:
            AuthenticationError: the registry refuses the credentials.
            RegistryError: it does not answer as a registry does.
        """
        ids = {data[1:HEAD] for data in payloads if data is not None and len(data) >= HEAD and not data[0]}
        missing = [number for number in map(int.from_bytes, ids) if number not in self._readers]
        delay = SHORTEST
        while missing:
            try:
                for id_ in missing:
                    await self._schemas.fetch(id_)
                return
            except RegistryUnavailableError as error:
                logger.warning("records of topic %s wait for the schema registry: %s", self._topic, error)
            await asyncio.sleep(delay)
            delay = min(delay * 2, LONGEST)
            if not wanted():
                return


def _is_open(type_: Any) -> bool:
    """Tell whether a type leaves open what a value is: each class of records has a schema of its own then."""
    return type_ in (None, Any, object) or bool(named_by_payload(type_))
