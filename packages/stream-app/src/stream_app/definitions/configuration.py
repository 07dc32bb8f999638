"""How an app gets its settings, and what belongs to it from other modules, before it runs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from stream_app.definitions.discovery import SCAN_IGNORE, Ignore, discover, share_main
from stream_app.definitions.registry import Registry
from stream_app.definitions.signals import SyncSignal

__all__ = ["Configuration"]


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
