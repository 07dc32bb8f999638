"""How an app gets its settings, and what belongs to it from other modules, before it runs."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import Any
from weakref import WeakSet

from stream_app.definitions.discovery import SCAN_IGNORE, Ignore, discover, share_main
from stream_app.definitions.registry import Registry
from stream_app.definitions.signals import SyncSignal
from stream_app.settings import Settings

__all__ = ["Configuration"]

_apps: WeakSet[Configuration] = WeakSet()
"""All apps of this process."""


class Configuration(Registry):
    """The steps from an app that is being defined to one that can run: settings are assigned, then final; then modules are imported."""

    on_before_configured = SyncSignal(decides=True)
    """Sent before the settings are final: ``handler(app, **kwargs)``."""

    on_configured = SyncSignal("conf", decides=True)
    """Sent with the settings as ``conf``, which may still be assigned: ``handler(app, conf, **kwargs)``."""

    on_after_configured = SyncSignal(decides=True)
    """Sent when the settings are final: ``handler(app, **kwargs)``."""

    SCAN_IGNORE: str | Iterable[Ignore] = SCAN_IGNORE
    """What ``autodiscover`` leaves out: by default ``__main__`` and tests.

    Names of modules, which leave out what is below them too (``"proj.old"``, or ``".old"`` in each place where it looks), and functions
    that take a full name, as in ``re.compile("_old$").search``.
    """

    _configured = _final = False

    def __init__(self, conf: Settings) -> None:
        super().__init__(conf)
        self._made_in = _caller(self)
        _apps.add(self)

    # -- configuration

    def config_from_object(self, source: Any, *, silent: bool = False, force: bool = False) -> None:
        """Take settings from a module, class, object or mapping; environment variables win over them.

        Args:
            source: ``"module"``, ``"module:Class"``, an object whose attributes have the names of settings, in small letters or in
                capitals, or a mapping. Of an object, attributes of other names are left alone; of a mapping, unknown names are errors.
            silent: do nothing when there is no such module.
            force: take them at once, which is always done: Faust may wait until a setting is read.

        Raises:
            ConfigurationError: it cannot be loaded, or the app has started.
            UnknownSettingError: a mapping names a setting that does not exist.
        """
        self.conf.load(source, silent=silent)

    def configure(self) -> None:
        """Send the signals in which settings may be assigned, once; the worker and :meth:`finalize` do it.

        When a handler fails it is done again by the next call.
        """
        if self._configured:
            return
        self._configured = True  # before the handlers, which may come here again
        try:
            self.on_before_configured.send()
            self.on_configured.send(conf=self.conf)
            self.on_after_configured.send()
        except BaseException:
            self._configured = False
            raise

    def finalize(self) -> None:
        """Make the settings final and import what ``autodiscover`` names; the worker and :meth:`start` do it.

        When that fails it is done again by the next call: an app is never run without a part of what belongs to it.
        """
        if self._final:
            return
        self._final = True  # before the imports, which may come here again
        try:
            self.configure()
            if self.conf.autodiscover:
                share_main(self)
            discover(self.conf.origin, self.conf.autodiscover, self.SCAN_IGNORE)
        except BaseException:
            self._final = False
            raise

    @property
    def finalized(self) -> bool:
        """Whether the settings are final."""
        return self._final

    def discover(self, *modules: str, ignore: Ignore | Iterable[Ignore] | None = None) -> list[str]:
        """Import modules in which parts of the app are defined, and those in the packages among them, beside what ``autodiscover`` names.

        Args:
            modules: names of modules and packages.
            ignore: what to leave out, in place of :attr:`SCAN_IGNORE`.

        Returns:
            the modules that were imported.

        Raises:
            ConfigurationError: there is no such module, or one raised when it was imported.
        """
        share_main(self)
        ignored = self.SCAN_IGNORE if ignore is None else ignore
        return [*discover(self.conf.origin, self.conf.autodiscover, ignored), *discover(None, modules, ignored)]

    @property
    def configured(self) -> bool:
        """Whether the signals of the configuration were sent."""
        return self._configured

    def doubts(self) -> Iterator[str]:
        """Say what looks as if it was not meant, in sentences for the log of a worker.

        :meta private:
        """
        for other in [app for app in _apps if app is not self and app.id == self.id]:
            if not other.finalized and other.defined:
                yield (
                    f"there are two apps named {self.id}: one made in {self._made_in} runs, and one made in {other._made_in} does not, "
                    f"with {other.defined} agents, tasks, timers, services and pages: import the module of the app under one name only"
                )
        if not self.defined:
            yield (
                f"the app {self.id} has no agents, tasks, timers, services and pages, so that this worker does nothing: import the modules "
                'that define them, or name them, as in App(..., autodiscover=["proj.agents"])'
            )

    @property
    def defined(self) -> int:
        """How many agents, tasks, timers, services and pages there are.

        :meta private:
        """
        pages = 0 if self._web is None else len(self._web.pages)
        return len(self._agents) + len(self._chores) + len(self._services) + pages


def _caller(app: Configuration) -> str:
    """Tell where an app is made: module and line, outside of the constructors of its class and of subclasses."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_locals.get("self") is app:
        frame = frame.f_back
    return f"{frame.f_globals.get('__name__')}, line {frame.f_lineno}"
