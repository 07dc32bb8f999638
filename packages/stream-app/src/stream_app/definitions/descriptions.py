"""What a program says of a topic, compared with what it has said before."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from typing import Any, TypeVar, cast

from stream_core.errors import ConfigurationError
from stream_core.sending.topic import AnyTopic, Topic
from stream_core.values.schemas import Schema

__all__ = ["check_again", "refusing"]

F = TypeVar("F", bound=Callable[..., Any])

TYPES = ("key_type", "value_type", "key_serializer", "value_serializer")
POLICIES = {"compacting": "compact", "deleting": "delete"}


def refusing(reasons: Mapping[str, str]) -> Callable[[F], F]:
    """Refuse options of Faust that have no effect here, before the method is called; ``None`` and ``False`` ask for nothing, and pass.

    Args:
        reasons: by name, why it is refused, and what to use.

    Raises:
        ConfigurationError: one is given; says the reason.
    """

    def of(method: F) -> F:
        @wraps(method)
        def call(self: Any, *args: Any, **options: Any) -> Any:
            for name in options.keys() & reasons.keys():
                value = options.pop(name)
                if value is not None and value is not False:
                    raise ConfigurationError(
                        f"{method.__name__.lower()}: {name}={value!r} has no effect: {reasons[name]}"
                    )
            return method(self, *args, **options)

        return cast(F, call)

    return of


def check_again(topic: AnyTopic, schema: Schema | None, options: Mapping[str, Any]) -> None:
    """Compare a further description of a topic with the first one, in what the further one says.

    Args:
        topic: the topic as it was described first.
        schema: the whole schema, where the further description gives one.
        options: the arguments of the further description; ``None`` stands for one that was left out.

    Raises:
        ConfigurationError: they differ; names what differs with both values.
    """
    differences = [
        f"{name}={_shown(given)}, and {_shown(known)} before"
        for name, given, known in _pairs(topic, schema, options)
        if given != known
    ]
    if differences:
        raise ConfigurationError(
            f"topic {topic.name} is described twice, and not alike: {'; '.join(differences)}; describe it once, and share it"
        )


def _pairs(topic: AnyTopic, schema: Schema | None, options: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Give what was said, and what holds: by name."""
    said = {name: value for name, value in options.items() if value is not None}
    types = {name: said.pop(name) for name in TYPES if name in said}
    if schema is not None:
        yield "schema", schema, topic.schema
    for name, value in types.items():
        yield name, value, getattr(topic.schema, name)
    again: AnyTopic = Topic(topic.name, schema=topic.schema, **said)
    cleanup = topic.config.get("cleanup.policy", "").split(",")
    for name in said:
        if name in POLICIES:
            yield name, said[name], POLICIES[name] in cleanup
        elif name == "retention":
            yield "retention.ms", again.config["retention.ms"], topic.config.get("retention.ms")
        elif name == "config":
            for key, value in again.config.items():
                if key in said["config"]:
                    yield key, value, topic.config.get(key)
        else:
            yield name, getattr(again, name), getattr(topic, name)


def _shown(value: Any) -> str:
    return value.__name__ if isinstance(value, type) else "nothing" if value is None else repr(value)
