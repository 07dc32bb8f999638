"""The App: what a program defines, sends and reads. Its life is in :mod:`stream_app.life`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterable, Awaitable, Iterable
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, ClassVar, Unpack

from stream_app import settings
from stream_app.absent_members import explain
from stream_app.definitions.agents import AgentDefinitions
from stream_app.definitions.chores import ChoreDefinitions
from stream_app.definitions.commands import CommandDefinitions
from stream_app.definitions.configuration import Configuration
from stream_app.definitions.tables import TableDefinitions
from stream_app.life import Life
from stream_app.sensors.monitor import Monitor
from stream_app.settings.options import SettingOptions
from stream_core.errors import MissingPackageError
from stream_core.primitives import HeadersArg, RecordMetadata
from stream_core.runs import current_run
from stream_core.sending.topic import Topic
from stream_core.streams.channel import Channel
from stream_core.streams.iterables import stream_of
from stream_core.streams.stream import Stream
from stream_core.streams.targets import SendCallback
from stream_core.values.codecs import CodecArg
from stream_core.values.schemas import Schema

__all__ = ["App"]

if TYPE_CHECKING:
    from stream_app.worker import Worker


class App(AgentDefinitions, TableDefinitions, ChoreDefinitions, CommandDefinitions, Life):  # type: ignore[misc]  # app.task is for functions of the app
    """An application: agents over topics, with tables.

    Several apps may run in one process. Definitions and sends are safe from any thread.

    Args:
        id: name of the app: the consumer group, and the prefix of its changelogs.
        config_source: settings from elsewhere, as for :meth:`config_from_object`.
        monitor: what counts, in the place of the setting ``Monitor``.
        options: settings by name, which are on the page on settings; environment variables win over them.

    Raises:
        UnknownSettingError: there is no such setting; the message names the nearest.
        ConfigurationError: a value does not fit.

    Example::

        app = App("bank", broker="kafka://localhost:9092", store="rocksdb://")
    """

    Settings: type[settings.Settings] = settings.Settings
    """The class of the settings; override it to add some.

    :meta private:
    """

    worker_class: ClassVar[type[Worker] | None] = None
    """The class of workers, if it is one of yours. In a subclass ``Worker = MyWorker`` means it."""

    def __init__(
        self,
        id: str,  # noqa: A002 - the name is the guides'
        *,
        beacon: Any = None,
        loop: asyncio.AbstractEventLoop | None = None,
        config_source: Any = None,
        monitor: Monitor | None = None,
        **options: Unpack[SettingOptions],
    ) -> None:
        Configuration.__init__(self, self.Settings(id, **options))
        if config_source is not None:
            self.config_from_object(config_source)
        if monitor is not None:
            self._set_monitor(monitor)
        Life.__init__(self, beacon=beacon, loop=loop)

    def __init_subclass__(cls) -> None:
        """Take a class that is written as ``Worker``, ``Topic``, ``Channel``, ``Table`` or ``Agent`` for what is made of these."""
        for name in ("Worker", "Topic", "Channel", "Table", "Agent"):
            if isinstance(given := vars(cls).get(name), type):
                setattr(cls, f"{name.lower()}_class", given)
                delattr(cls, name)
        super().__init_subclass__()

    # -- sending and reading

    async def send(
        self,
        channel: Topic[Any, Any] | Channel[Any, Any] | str,
        key: Any = None,
        value: Any = None,
        partition: int | None = None,
        timestamp: float | None = None,
        headers: HeadersArg | None = None,
        schema: Schema | None = None,
        key_serializer: CodecArg = None,
        value_serializer: CodecArg = None,
        callback: SendCallback | None = None,
        *,
        force: bool = False,
    ) -> Awaitable[RecordMetadata]:
        """Send to a topic, a channel, or a topic by its name; see :meth:`Topic.send <stream_core.sending.topic.Topic.send>`."""
        target = self._named(channel)
        alone = current_run() is None and bool(self.engines)  # else it is found without help
        with self.engine.run.entered() if alone else nullcontext():
            return await target.send(
                value,
                key=key,
                partition=partition,
                timestamp=timestamp,
                headers=headers,
                schema=schema,
                key_serializer=key_serializer,
                value_serializer=value_serializer,
                callback=callback,
                force=force,
            )

    def stream(
        self,
        channel: Topic[Any, Any] | Channel[Any, Any] | str | Iterable[Any] | AsyncIterable[Any],
        *,
        name: str | None = None,
    ) -> Stream[Any]:
        """Read a topic or channel outside of agents: in a task, or beside the stream of an agent.

        Progress in a topic is committed. Reading one that no agent reads costs a rebalance when it begins. Whoever reads it when the app
        stops, in a task that is none of the app, gets :class:`~stream_core.errors.WorkerError`.

        Args:
            channel: what to read; a topic may be given by its name. Any other iterable, plain or asynchronous, is a stream that ends
                with it, and needs no started app.
            name: names its progress in committed offsets; give one when several streams read one topic.

        Raises:
            ConfigurationError: the app is not started, runs in another event loop or thread, or there is a stream of that name.
        """
        if isinstance(channel, Topic | Channel | str):
            return self.engine.stream(self._named(channel), name)
        return stream_of(channel, name or "iterable")

    # -- programs

    def worker(self, *services: Any, **options: Any) -> Worker:
        """Make a worker for this app, and for more apps and services; the arguments are those of :class:`Worker`."""
        if (chosen := self.conf.Worker or self.worker_class) is not None:
            return chosen(self, *services, **options)
        from stream_app.worker import Worker  # noqa: PLC0415 - it takes a while, and programs that embed an app need none

        return Worker(self, *services, **options)

    Worker = worker

    def main(self) -> None:
        """Run the command line of this app: ``python app.py worker``, and all other commands of ``stream``.

        Raises:
            MissingPackageError: there is no command line; the message names the package.
        """
        try:
            from stream_cli.main import run  # noqa: PLC0415 - the command line is loaded only by programs that are one
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] not in ("stream_cli", "click", "rich"):
                raise
            raise MissingPackageError(f"app.main() needs the command line ({error}); pip install stream-cli") from error
        run(self, sys.argv[1:])

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Explain a name that is not here; one of a property that fails is the property's own error."""
            if hasattr(type(self), name):
                return object.__getattribute__(self, name)
            raise AttributeError(explain(self, name, dir(self)), name=name, obj=self)

    def __repr__(self) -> str:
        return f"<App {self.id}: {len(self.agents)} agents, {len(self.tables)} tables>"
