"""Several topics that are read as one: named, or found by a pattern."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn, TypeVar

from stream_core.errors import ConfigurationError
from stream_core.sending.topic import Topic

__all__ = ["TopicGroup", "TopicPattern"]

K = TypeVar("K")
V = TypeVar("V")


class TopicGroup(Topic[K, V]):
    """Several topics that are read as one; it cannot be sent to.

    Args:
        parts: the topics, which are described alike.

    Raises:
        ConfigurationError: one of them has other types than the first, or another ``on_decode_error`` or ``acks``.
    """

    def __init__(self, parts: Sequence[Topic[K, V]]) -> None:
        first = parts[0]
        for part in parts:
            for what in ("schema", "on_decode_error", "acks"):
                if getattr(part, what) != getattr(first, what):
                    raise ConfigurationError(
                        f"topics {first.name} and {part.name} are read as one, and their {what} differs: describe them alike, or apart"
                    )
        super().__init__(first.name, schema=first.schema, on_decode_error=first.on_decode_error, acks=first.acks)
        self.name = ", ".join(part.name for part in parts)
        self._parts: tuple[Topic[K, V], ...] = tuple(parts)

    @property
    def parts(self) -> Sequence[Topic[K, V]]:
        """The topics."""
        return self._parts

    async def send(self, value: V | Any = None, **_: Any) -> NoReturn:
        """Refuse: there is more than one topic.

        Raises:
            ConfigurationError: always.
        """
        raise ConfigurationError(
            f"{self.name} are several topics: send to one of them, described by its own app.topic()"
        )


class TopicPattern(TopicGroup[K, V]):
    """All topics whose names match, also those that appear later; it cannot be sent to.

    Args:
        pattern: regular expression that matches the whole of a name.
        options: those of :class:`Topic`, for each of them.

    Raises:
        ConfigurationError: it is no regular expression.
    """

    def __init__(self, pattern: str | re.Pattern[str], **options: Any) -> None:
        try:
            self._pattern = re.compile(pattern)
        except re.error as error:
            raise ConfigurationError(f"{pattern!r} is no regular expression for names of topics: {error}") from error
        self._options = options
        super().__init__([Topic("pattern", **options)])
        self.name = self._pattern.pattern
        self._parts = ()

    def find(self, names: Iterable[str]) -> Sequence[Topic[K, V]]:
        """Take the topics among ``names`` that match into :attr:`parts`, and return those that are new."""
        known = {part.name for part in self._parts}
        found = sorted(name for name in names if name not in known and self._pattern.fullmatch(name))
        new = [Topic[K, V](name, **self._options) for name in found]
        for one in new:
            one.registry = self.registry
        self._parts = (*self._parts, *new)
        return new

    def __repr__(self) -> str:
        return f"<TopicPattern {self.name}>"
