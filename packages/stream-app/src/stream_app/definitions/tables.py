"""Tables of an app: how a program defines them. The tables themselves are those of :mod:`stream_tables`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypedDict, TypeVar, Unpack, overload

from stream_app.definitions.checked import checked
from stream_app.definitions.descriptions import refusing
from stream_app.definitions.registry import Registry
from stream_app.settings import Settings
from stream_app.settings.stores import choose_store
from stream_core.errors import ConfigurationError
from stream_core.sending.several import TopicGroup
from stream_core.sending.topic import AnyTopic
from stream_core.streams.events import Event
from stream_core.values.codecs import CodecArg
from stream_core.values.schemas import Schema
from stream_tables import table as tables
from stream_tables.options import RocksDBOptions, read_options
from stream_tables.tables import CHANGELOG
from stream_tables.windows.kinds import Seconds

__all__ = ["TableDefinitions", "TableOptions"]

K = TypeVar("K")
V = TypeVar("V")


class TableOptions(TypedDict, total=False):
    """What a table may say beside its types.

    Attributes:
        key_serializer: codec of the keys, by name; JSON when left out.
        value_serializer: codec of the values, by name; JSON when left out.
        schema: types and serializers as one object, in place of those.
        partitions: partitions of the table; those of its source topics when left out.
        help: one sentence on what it holds.
        store: URL of its store, or the name of one: ``rocksdb://`` or ``memory``; the setting ``store`` when left out.
        options: of the store, such as ``{"bloom": 0}``; they count before what the URLs say. Those of the setting ``store`` hold for
            each table that uses the same driver. Where an app that is tried keeps its tables in memory, they have no effect.
        changelog_topic: the topic that has its changes, from :meth:`topic`; one of its own when left out.
        extra_topic_configs: more configuration of the changelog, in Kafka's names.
        recovery_buffer_size: changelog records that a recovery writes to the store at a time; 1000 when left out.
        standby_buffer_size: the same where a standby follows the changelog; without effect, as there are no standbys yet.
        on_changelog_event: called with the event of each changelog record that is applied while partitions are recovered or followed,
            before the store has it; sync or async. One that raises ends the worker.
        on_recover: called after each rebalance when all partitions of this worker are recovered; sync or async.
        on_window_close: called for each window that closes, with ``(key, (start, end))`` and its value, where the table has windows; sync
            or async.
        ttl: seconds or a timedelta for which a value can be read after its assignment, by the time of the events; for ever when left out.
    """

    key_serializer: CodecArg
    value_serializer: CodecArg
    schema: Schema | None
    partitions: int | None
    help: str
    store: Any
    options: Mapping[str, Any] | None
    changelog_topic: AnyTopic | None
    extra_topic_configs: Mapping[str, str] | None
    recovery_buffer_size: int
    standby_buffer_size: int | None
    on_changelog_event: Callable[[Event[Any]], Any] | None
    on_recover: Callable[[], Any] | None
    on_window_close: Callable[..., Any] | None
    ttl: Seconds | None


_GLOBAL = "an app has only tables with partitions so far: ask an agent for what other workers hold"

REFUSED: dict[str, str] = {
    "use_partitioner": "a key belongs to the partition of the event that changes it: bring events to it with stream.group_by(key)",
    "window": "windows are what the table gives: app.Table(...).using_window(window), or .tumbling(60)",
    "is_global": _GLOBAL,
    "synchronize_all_active_partitions": _GLOBAL,
    "recover_callbacks": "write on_recover=, or decorate functions with @table.on_recover",
}
"""Options of Faust's tables that have no effect here, and why."""


class TableDefinitions(Registry):
    """Defines tables."""

    table_class: ClassVar[type[tables.Table[Any, Any]]] = tables.Table
    """The class of tables, if it is one of yours. In a subclass of the app ``Table = MyTable`` means it."""

    @overload
    def Table(
        self,
        name: str,
        *,
        default: Callable[[], V] | None = None,
        key_type: type[K],
        value_type: type[V],
        **options: Unpack[TableOptions],
    ) -> tables.Table[K, V]: ...
    @overload
    def Table(
        self,
        name: str,
        *,
        default: Callable[[], V] | None = None,
        key_type: Any = None,
        value_type: Any = None,
        **options: Unpack[TableOptions],
    ) -> tables.Table[Any, V]: ...
    @refusing(REFUSED)
    @checked
    def Table(  # noqa: N802 - names and arguments are the guides'
        self,
        name: str,
        *,
        default: Callable[[], Any] | None = None,
        key_type: Any = None,
        value_type: Any = None,
        **options: Unpack[TableOptions],
    ) -> tables.Table[Any, Any]:
        """Define a table.

        Args:
            name: unique in the app; the changelog is ``{app id}-{name}-changelog``.
            default: makes the value of a missing key, such as ``int``.
            key_type: type of the keys.
            value_type: type of the values.
            options: see :class:`TableOptions`.

        Raises:
            ConfigurationError: there is a table of that name, no such option, or two of them contradict each other.
        """
        what, rest = f"table {name}", dict[str, Any](options)
        schema = self._table_schema(what, rest, key_type, value_type)
        if (store := rest.pop("store", None)) is not None:
            url = store if "://" in str(store) else f"{store}://"
            rest["store"] = Settings.store.convert(url, f"{what}: store")
        rest["store_options"] = self._store_options(what, rest.get("store"), rest.pop("options", None))
        cls: type[tables.Table[Any, Any]] = self.conf.settle("Table", what) or self.table_class
        table = cls(name, schema=schema, default=default, **self._changelog(name, rest), **rest)
        with self._defining:
            self._require_stopped(what)
            if name in self._tables:
                raise ConfigurationError(
                    f"there are two tables named {name!r}: they would share a changelog; rename one"
                )
            sharing = [other.name for other in self._tables.values() if other.changelog == table.changelog]
            if sharing:
                raise ConfigurationError(
                    f"tables {sharing[0]} and {name} would share the changelog {table.changelog}: give each one of its own"
                )
            self._tables[name] = table
        return table

    def _store_options(self, what: str, store: str | None, options: Mapping[str, Any] | None) -> Mapping[str, Any]:
        """Look at the options of a store where they are written, as far as its driver is known there."""
        if options:
            chosen = choose_store(self.conf.store if store is None else store)
            if chosen.scheme == "rocksdb":
                RocksDBOptions.of({**chosen.options, **read_options(options, f"{what}: options")}, what)
            elif store is not None and chosen.scheme == "memory":
                raise ConfigurationError(f"{what}: {store} has no options: leave options= out")
        return options or {}

    def _table_schema(self, what: str, options: dict[str, Any], key_type: Any, value_type: Any) -> Schema:
        given: Schema | None = options.pop("schema", None)
        serializers = options.pop("key_serializer", None), options.pop("value_serializer", None)
        if given is None:
            return Schema.for_table(
                key_type=key_type, value_type=value_type, key_serializer=serializers[0], value_serializer=serializers[1]
            )
        if any(one is not None for one in (key_type, value_type, *serializers)):
            raise ConfigurationError(
                f"{what} has either schema=, or types and serializers of its own: leave one of them out"
            )
        if given.hooks:
            raise ConfigurationError(
                f"{what}: a table encodes its keys and values without the headers of a record, so it does not call "
                f"{', '.join(given.hooks)} of {type(given).__name__}: do it in a codec, and give that as key_serializer= or "
                "value_serializer="
            )
        return Schema.for_table(
            key_type=given.key_type,
            value_type=given.value_type,
            key_serializer=given.key_serializer,
            value_serializer=given.value_serializer,
        )

    def _changelog(self, name: str, options: dict[str, Any]) -> dict[str, Any]:
        """Take what is said of the changelog out of the options of a table."""
        topic: AnyTopic | None = options.pop("changelog_topic", None)
        config = dict(options.pop("extra_topic_configs", None) or {})
        partitions = options.pop("partitions", None)
        if topic is not None:
            if isinstance(topic, TopicGroup):
                raise ConfigurationError(f"table {name}: changelog_topic={topic!r} are several topics: give one")
            if partitions is not None and topic.partitions not in (None, partitions):
                raise ConfigurationError(
                    f"table {name}: partitions={partitions}, and its changelog_topic has partitions={topic.partitions}: say it once"
                )
            config = topic.config | config
            partitions = partitions or topic.partitions
        if "compact" not in config.get("cleanup.policy", "compact"):
            raise ConfigurationError(
                f"table {name}: a changelog with cleanup.policy={config['cleanup.policy']} would lose state; describe it with "
                "compacting=True"
            )
        if topic is None:
            changelog = f"{self._id_for(f'table {name}')}-{name}-changelog"
            return {"changelog": changelog, "changelog_config": config, "partitions": partitions}
        topic.config, topic.partitions = CHANGELOG | config, partitions  # for an agent that reads it, too
        return {
            "changelog": topic.name,
            "changelog_config": config,
            "partitions": partitions,
            "replicas": topic.replicas,
        }
