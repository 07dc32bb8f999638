"""What an app keeps on this machine, for whoever deletes some of it. None of it is the only copy: changelogs have it, too."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from stream_app.running.instances import try_alone
from stream_app.running.stored import StoredTable
from stream_app.settings import Settings
from stream_core.errors import StoreError, StoreLockedError
from stream_tables.table import Table

__all__ = ["LocalState"]


class LocalState:
    """The directories of an app on this machine."""

    def __init__(self, conf: Settings) -> None:
        self._conf = conf

    def tables(self) -> list[Path]:
        """Return the directories with stores of tables of this version, of all clusters and instances."""
        conf = self._conf
        if conf.tabledir.is_relative_to(conf.appdir):
            own = conf.tabledir.relative_to(conf.appdir)
            found = [conf.appdir / own, *conf.appdir.glob(f"clusters/*/{own}")]
        else:
            found = [*conf.tabledir.glob("*.db"), *conf.tabledir.glob("clusters/*")]
        found += [*conf.appdir.glob("instances/*/tables"), *conf.appdir.glob("instances/*/clusters/*/tables")]
        return sorted(path for path in found if path.is_dir())

    def stored(self, table: Table[Any, Any]) -> StoredTable:
        """Give the stores of a table. Raises ConfigurationError when its driver cannot be had."""
        return StoredTable(table, self._conf.store, self.tables())

    def old_versions(self) -> list[Path]:
        """Return the directories of the versions before this one."""
        version = self._conf.version
        named = [(path, re.fullmatch(r"v(\d+)", path.name)) for path in self._conf.datadir.glob("v*")]
        return sorted(path for path, found in named if found and int(found[1]) < version and path.is_dir())

    @contextmanager
    def held(self, paths: Sequence[Path]) -> Iterator[None]:
        """Have the data directory of these directories alone, during a block of code: workers that start wait until it is over.

        Raises:
            StoreLockedError: a worker runs there.
            StoreError: the lock of the directory cannot be written.
        """
        with ExitStack() as stack:
            for root in sorted({self._root(path) for path in paths}):
                try:
                    lock = try_alone(root)
                except FileNotFoundError:
                    continue  # somebody else has deleted it
                except OSError as error:
                    raise StoreError(f"{root} cannot be locked: {error.strerror}; check the data directory") from error
                if lock is None:
                    raise StoreLockedError(
                        f"a worker of {self._conf.id} runs with the directory {root}: stop it first; nothing was deleted"
                    )
                stack.callback(os.close, lock)
            yield

    def delete(self, paths: Sequence[Path]) -> None:
        """Delete directories, which are :meth:`held`, with all that is in them. Raises StoreError when one cannot be deleted."""
        for path in paths:
            try:
                shutil.rmtree(path)
            except FileNotFoundError:
                continue  # somebody else was quicker
            except OSError as error:
                raise StoreError(
                    f"{path} cannot be deleted: {error.strerror or error}; those before it are gone"
                ) from error

    def _root(self, path: Path) -> Path:
        """Give the directory of the version that a directory belongs to."""
        datadir = self._conf.datadir
        inside = path.relative_to(datadir).parts if path.is_relative_to(datadir) else ()
        return datadir / inside[0] if inside and re.fullmatch(r"v\d+", inside[0]) else self._conf.appdir
