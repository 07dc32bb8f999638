"""Tables of an app: how a program defines them. The tables themselves are those of :mod:`stream_tables`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, TypeVar, overload

from stream_app.definitions.checked import checked
from stream_app.definitions.registry import Registry
from stream_core.errors import ConfigurationError
from stream_core.values.schemas import Schema
from stream_tables import table as tables

__all__ = ["TableDefinitions"]

K = TypeVar("K")
V = TypeVar("V")


class TableDefinitions(Registry):
    """Defines tables."""

    table_class: ClassVar[type[tables.Table[Any, Any]]] = tables.Table
    """The class of tables, where it is one of one's own. In a subclass of the app ``Table = MyTable`` means it."""

    @overload
    def Table(
        self,
        name: str,
        *,
        default: Callable[[], V] | None = None,
        key_type: type[K],
        value_type: type[V],
        key_serializer: Any = None,
        value_serializer: Any = None,
        partitions: int | None = None,
        help: str = "",
    ) -> tables.Table[K, V]: ...
    @overload
    def Table(
        self,
        name: str,
        *,
        default: Callable[[], V] | None = None,
        key_type: Any = None,
        value_type: Any = None,
        key_serializer: Any = None,
        value_serializer: Any = None,
        partitions: int | None = None,
        help: str = "",
    ) -> tables.Table[Any, V]: ...
    @checked
    def Table(  # noqa: N802 - names and arguments are the guides'
        self,
        name: str,
        *,
        default: Callable[[], Any] | None = None,
        key_type: Any = None,
        value_type: Any = None,
        key_serializer: Any = None,
        value_serializer: Any = None,
        partitions: int | None = None,
        help: str = "",  # noqa: A002 - the name is the guides'
    ) -> tables.Table[Any, Any]:
        """Define a table.

        Args:
            name: unique in the app; the changelog is ``{app id}-{name}-changelog``.
            default: makes the value of a missing key, such as ``int``.
            key_type: type of the keys.
            value_type: type of the values.
            key_serializer: codec of the keys, by name; JSON when left out.
            value_serializer: codec of the values, by name; JSON when left out.
            partitions: partitions of the table; those of its source topics when left out.
            help: one sentence on what it holds.

        Raises:
            ConfigurationError: there is a table of that name, or no such option.
        """
        schema = Schema.for_table(
            key_type=key_type, value_type=value_type, key_serializer=key_serializer, value_serializer=value_serializer
        )
        changelog = f"{self._id_for(f'table {name}')}-{name}-changelog"
        cls: type[tables.Table[Any, Any]] = self.conf.settle("Table", f"table {name}") or self.table_class
        table = cls(name, schema=schema, changelog=changelog, default=default, partitions=partitions, help=help)
        with self._defining:
            self._require_stopped(f"table {name}")
            if name in self._tables:
                raise ConfigurationError(
                    f"there are two tables named {name!r}: they would share a changelog; rename one"
                )
            self._tables[name] = table
        return table
