"""What a program says of the windows of a table, or of how long its values live, and how values lie in stores and changelogs for it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from typing import Any, TypeVar, cast

from stream_core.engine.participants import OnLost
from stream_core.engine.work import Work
from stream_core.errors import ConfigurationError
from stream_core.ports import Store
from stream_core.primitives import TP
from stream_core.values.schemas import Schema
from stream_tables.changelog import Replay
from stream_tables.held import Held
from stream_tables.keys import Keys
from stream_tables.partition import TablePartition, not_told
from stream_tables.values import kept_types
from stream_tables.windows.aging import Age, AgingKeys, AgingSchema
from stream_tables.windows.aligned import HoppingWindow, TumblingWindow
from stream_tables.windows.closing import Closer
from stream_tables.windows.keys import RangedKeys, RangedSchema
from stream_tables.windows.kinds import Seconds, Window
from stream_tables.windows.late import LateArg, LatePolicy
from stream_tables.windows.partition import WindowedPartition
from stream_tables.windows.rows import Layout
from stream_tables.windows.session import SessionWindow
from stream_tables.windows.sliding import SlidingWindow
from stream_tables.windows.table import WindowedTable

__all__ = ["WindowDefinitions"]

K = TypeVar("K")
V = TypeVar("V")
W = TypeVar("W", bound=Callable[..., Any])


class WindowDefinitions(Held[K, V]):
    """A table whose values lie by their keys alone, until something else is said: in windows, or with the time of their assignment.

    Args:
        name: of the table.
        schema: how its keys and values are encoded.
        changelog: name of its changelog topic.
        partitions: how many partitions it has; ``None`` when that is not said.
        default: makes the value of a missing key; ``None``: it is a KeyError.
        ttl: seconds or a timedelta for which a value can be read; ``None`` for ever.
    """

    def __init__(
        self,
        name: str,
        *,
        schema: Schema,
        changelog: str,
        partitions: int | None = None,
        default: Callable[[], V] | None = None,
        ttl: Seconds | None = None,
    ) -> None:
        super().__init__(name, partitions=partitions, changelog=changelog, default=default)
        self.schema = self.log_schema = schema
        self.layout: Layout | None = None
        self._windows: WindowedTable[K, V] | None = None
        self._keys = self._user_keys = Keys[K](name, schema)
        self._of_text, self._encode = self._keys.of_text, self._keys.encode
        self._kept = kept = kept_types(schema)
        self._plain = next(iter(kept)) if len(kept) == 1 else self
        if ttl is not None:
            self.layout = age = Age(ttl)
            self._read_by(AgingKeys(name, schema), AgingSchema.of(schema, age))

    def tumbling(
        self,
        size: Seconds,
        expires: Seconds | None = None,
        key_index: bool = False,
        *,
        grace: Seconds | None = None,
        late: LateArg = None,
    ) -> WindowedTable[K, V]:
        """Keep a value for each key and window; windows stand side by side.

        Args:
            size: seconds or a timedelta that a window is long.
            expires: how long a window can be read after its end; ``None`` for ever.
            key_index: as in Faust; keys can be listed without it.
            grace: how long events still change a window after its end. Left out it is as long as a window can be read.
            late: what happens to an event whose windows are all closed: ``"skip"``, the default, counts it and says so once,
                ``"dead_letter"`` sends it to another topic, ``"crash"`` ends the worker; or a function, which is called with a
                :class:`~stream_tables.windows.late.Late`.

        Returns:
            the windows: what is read and changed in place of this table.

        Raises:
            ConfigurationError: a length of time is none, or the table has other windows already.
        """
        return self.using_window(TumblingWindow(size, expires, grace=grace), key_index=key_index, late=late)

    def hopping(
        self,
        size: Seconds,
        step: Seconds,
        expires: Seconds | None = None,
        key_index: bool = False,
        *,
        grace: Seconds | None = None,
        late: LateArg = None,
    ) -> WindowedTable[K, V]:
        """Keep a value for each key and window; a window begins with each step, so that an event counts in several of them.

        Args:
            size: seconds or a timedelta that a window is long.
            step: between the starts of two windows; not longer than the size.
            expires: this and the others as of :meth:`tumbling`.
            key_index: likewise.
            grace: likewise.
            late: likewise.
        """
        return self.using_window(HoppingWindow(size, step, expires, grace=grace), key_index=key_index, late=late)

    def sliding(
        self,
        before: Seconds,
        after: Seconds = 0,
        expires: Seconds | None = None,
        key_index: bool = False,
        *,
        grace: Seconds | None = None,
        late: LateArg = None,
    ) -> WindowedTable[K, V]:
        """Keep for each key what happened around each instant, to the millisecond; it is put together when it is read.

        Args:
            before: seconds or a timedelta that a window reaches back from its instant.
            after: that it reaches ahead.
            expires: how long a window can be read after its end; ``None`` for ever.
            key_index: as of :meth:`tumbling`.
            grace: how far behind the latest event one may be that still counts. Left out it is as long as a window can be read.
            late: as of :meth:`tumbling`.
        """
        return self.using_window(SlidingWindow(before, after, expires, grace=grace), key_index=key_index, late=late)

    def session(
        self,
        gap: Seconds,
        expires: Seconds | None = None,
        key_index: bool = False,
        *,
        grace: Seconds | None = None,
        late: LateArg = None,
    ) -> WindowedTable[K, V]:
        """Keep a value for each key and session: the events of a key that are no further apart than a gap.

        An event between two sessions makes them one: ``windows[key] += 1`` adds up their values, the older first, and then 1.
        So ``default()`` must change nothing where it is added, as 0 or an empty list.

        Args:
            gap: seconds or a timedelta: an event that is no further than this from a session belongs to it.
            expires: how long a session can be read after its end (its last event, and the gap); ``None`` for ever.
            key_index: as of :meth:`tumbling`.
            grace: how long a session still takes events after that end. Left out it is as long as a session can be read.
            late: as of :meth:`tumbling`.
        """
        return self.using_window(SessionWindow(gap, expires, grace=grace), key_index=key_index, late=late)

    def using_window(self, window: Window, *, key_index: bool = False, late: LateArg = None) -> WindowedTable[K, V]:
        """Keep a value for each key and window, of a kind that is given as an object.

        Args:
            window: such as ``faust.TumblingWindow(60)``.
            key_index: as of :meth:`tumbling`.
            late: likewise.

        Raises:
            ConfigurationError: it is not a window, the table has other windows already, or it runs.
        """
        if not isinstance(window, Window):
            raise ConfigurationError(
                f"table {self.name}: {window!r} is not a window; give a TumblingWindow(...), for instance"
            )
        if self._windows is None:
            self._lie_in(window, LatePolicy(late, self.name), key_index=key_index)
        elif self.window is not None and _shape(window) != _shape(self.window):
            raise ConfigurationError(
                f"table {self.name} has {self.window!r} already, and cannot have {window!r} as well: define another table"
            )
        elif late is not None and late != self._windows.late.choice:
            raise ConfigurationError(f"table {self.name} has late={self._windows.late.choice!r} already: say it once")
        assert self._windows is not None
        return self._windows

    def _lie_in(self, window: Window, late: LatePolicy, *, key_index: bool) -> None:
        if isinstance(self.layout, Age):
            raise ConfigurationError(
                f"table {self.name} has ttl={self.layout.ttl:g}, and cannot have windows as well: give those expires="
            )
        if self._held:
            raise ConfigurationError(
                f"table {self.name} gets windows while the app runs: give it some where it is defined"
            )
        self.layout = window
        self._windows = WindowedTable(self, self._user_keys, window, late, key_index=key_index)
        # What is read and written past the windows has keys and rules of its own: see WindowedPartition.
        self._read_by(RangedKeys(self.name, self.schema, window), RangedSchema.of(self.schema, window))
        self.check_windows()

    def _read_by(self, keys: Keys[K], log_schema: Schema) -> None:
        """Let keys and values lie in stores and in the changelog in another way than as they are encoded."""
        self._keys, self.log_schema = keys, log_schema
        self._of_text = self._encode = keys.encode
        self._plain, self._kept = self, frozenset()  # no value is kept as it is

    @property
    def window(self) -> Window | None:
        """The kind of its windows; ``None`` when it has none."""
        return self.layout if isinstance(self.layout, Window) else None

    @property
    def windows(self) -> WindowedTable[K, V] | None:
        """Its windows, as :meth:`tumbling` and its like return them; ``None`` when it has none."""
        return self._windows

    # -- for the manager of tables

    @property
    def has_work(self) -> bool:
        """Whether something is done beside events: windows that close or expire, values that age.

        :meta private:
        """
        return self.layout is not None and (self.layout.keeps is not None or self._closed is not None)

    def run(self, part: TablePartition[V], work: Work) -> None:
        """Do that in a partition that runs here from now on.

        :meta private:
        """
        if self.layout is not None and self.has_work:
            windowed = cast("WindowedPartition[V]", part)
            closer = Closer(self.name, windowed, self.layout, self._user_keys, self._closed, work)
            what = "lets time go on in" if self._closed is None else "calls on_window_close of"
            work.spawn(closer.run(), f"the task that {what} {self.name}")

    def tell_closed(self, callback: W) -> W:
        """See :meth:`.Held.tell_closed`. Raises ConfigurationError when windows of the table never close."""
        super().tell_closed(callback)
        if self.window is not None:
            self.check_windows()
        return callback

    def check_windows(self) -> None:
        """Make sure that there are windows, and that they close, where somebody is told of it. Raises ConfigurationError.

        :meta private:
        """
        told = self.on_window_close  # a method of a subclass may be there for tables with windows alone
        # Without vars(self), which would make each later access to an attribute of the table slower (CPython 3.11 keeps them in an array).
        if self.window is None and getattr(told, "__func__", told) is not type(self).on_window_close:
            raise ConfigurationError(
                f"table {self.name} has on_window_close, and no windows: give it some, such as .tumbling(60, expires=600)"
            )
        if self.window is not None and self.window.waits is None and self.on_window_close is not None:
            raise ConfigurationError(
                f"table {self.name} has on_window_close, and its windows never close: give them expires=, or grace="
            )

    @property
    def _closed(self) -> Callable[..., Any] | None:
        """What is called for each window that closes; a method of a subclass may be there for tables with windows alone."""
        return None if self.window is None else self.on_window_close

    def make_part(
        self, changelog: TP, partitions: int, store: Store, on_lost: OnLost = not_told, **options: Any
    ) -> TablePartition[V]:
        """Make a partition of it, with windows where it has some; the arguments are those of a TablePartition.

        :meta private:
        """
        first = (self.name, changelog, partitions, self.schema, store, on_lost)
        if self.layout is None:
            return TablePartition[V](*first, **options)
        told = self._closed is not None
        part: TablePartition[V] = self.layout.part_type(
            *first, window=self.layout, default=self.default, told=told, **options
        )
        return part

    def replay(self, only: Collection[bytes] | None = None) -> Replay:
        """Give what reads one partition of the changelog and says what the table holds, where no worker runs.

        Args:
            only: the keys to look for, as they are encoded; ``None`` for all.
        """
        layout, schema = self.layout, self.log_schema
        if isinstance(layout, Age):
            return Replay(schema, only, expired=layout.expired)
        if not isinstance(schema, RangedSchema):
            return Replay(schema, only)
        shown = None
        if isinstance(layout, SlidingWindow):
            shown = partial(layout.shown, schema.log_keys, schema, self.default)
        return Replay(schema, only, schema.key_of, shown=shown)


def _shape(window: Window) -> tuple[object, ...]:
    return window.name, window.keeps, window.waits
