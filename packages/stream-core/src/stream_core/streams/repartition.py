"""New keys for events: what ``group_by`` computes, and how the topic between is named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from types import MemberDescriptorType
from typing import Any, NoReturn, get_type_hints

from stream_core.errors import ConfigurationError, EncodeError
from stream_core.values.fields import FieldDescriptor
from stream_core.values.schemas import Schema

__all__ = ["Key"]


@dataclass(frozen=True, slots=True)
class Key:
    """How the new key of an event is made.

    Attributes:
        name: for the name of the topic between; a field's comes behind the name of its record class.
        compute: makes the key of a value; may return an awaitable.
        type: type of the keys; ``None`` when it is not known.
        partitions: of the topic between; ``None`` for the default.
    """

    name: str
    compute: Callable[[Any], Any]
    type: Any = None
    partitions: int | None = None
    field: bool = False

    @classmethod
    def of(cls, key: Any, name: str | None, partitions: int | None) -> Key:
        """Make it from the arguments of ``group_by``.

        Args:
            key: a field of a record class, or a function of the value.
            name: required for a function.
            partitions: of the topic between.

        Raises:
            ConfigurationError: ``key`` is neither, or a function without a name.
        """
        if isinstance(key, MemberDescriptorType):
            owner, field = key.__objclass__, key.__name__
            return cls(name or field, key.__get__, get_type_hints(owner).get(field), partitions, field=name is None)
        if isinstance(key, FieldDescriptor):
            return cls(name or key.field, key.getattr, key.type, partitions, field=name is None)
        if not callable(key):
            raise ConfigurationError(
                f"group_by({key!r}): give it a field, such as Transfer.account, or for several fields a function that makes one text of "
                'them: group_by(lambda one: f"{one.bank}-{one.account}", name="account")'
            )
        if name is None:
            raise ConfigurationError("group_by() with a function needs name=, for the name of its topic")
        return cls(name, key, None, partitions)

    def refuse(self, made: Any, error: EncodeError) -> NoReturn:
        """Raise the error of an event that could not be sent on, and say what to do when its new key is the reason.

        Args:
            made: the new key.
            error: what sending raised.
        """
        if self.type is not None or isinstance(made, (str, bytes, int, float, type(None))):
            raise error
        raise EncodeError(
            f"{error}: group_by(name={self.name!r}) made the key {made!r}; make text, bytes or a number of it, or give group_by() a topic= "
            "with a key_type",
            error.topic,
        ) from error

    def schema(self, source: Schema) -> Schema:
        """Make the schema of the topic between: that of the source, with the type of the new keys."""
        return replace(source, key_type=self.type, key_serializer=None)

    def topic(self, agent: str, source: str, value_type: Any) -> str:
        """Make the name of the topic between, which the id of the app precedes: ``{agent}-{source}-{Record.field or name}-repartition``.

        Args:
            agent: name of the agent.
            source: topic that it reads.
            value_type: of that topic; an inherited field's descriptor names the base class.
        """
        name = f"{getattr(value_type, '__name__', value_type)}.{self.name}" if self.field else self.name
        return f"{agent}-{source}-{name}-repartition"
