"""Blueprints: pages that are written apart from an app, and put below a path of it."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection, Container, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from stream_core.errors import ConfigurationError
from stream_web.caches import Cache, CacheBackend
from stream_web.site import Site

__all__ = ["Blueprint", "Blueprints"]

P = TypeVar("P", bound=Callable[..., Any])


class Blueprint:
    """Pages for any app. They answer once the blueprint is registered.

    Args:
        name: begins the names of its pages: ``name:page``.
        url_prefix: where its pages are, unless the registration says it.

    Example::

        users = Blueprint("users")

        @users.route("/{name}/", name="detail")
        class Detail(View):
            async def get(self, request, name): ...

        app.web.blueprints.add("/users", users)
    """

    def __init__(self, name: str, *, url_prefix: str | None = None) -> None:
        self.name = name
        self.url_prefix = url_prefix
        self._pages: list[Callable[[Site, str], None]] = []

    def route(
        self,
        uri: str,
        *,
        name: str | None = None,
        cors_options: Mapping[str, Any] | None = None,
        base: type[Any] | None = None,
    ) -> Callable[[P], P]:
        """Define a page, as ``app.page`` does.

        Args:
            uri: its path below that of the blueprint, such as ``/list/``; ``""`` is the path of the blueprint itself.
            name: of the page; that of the function or class when left out.
            cors_options: which other sites may read it in a browser.
            base: the class of the view, where the page is a function.
        """

        def define(page: P) -> P:
            own = name or page.__name__

            def put(web: Site, prefix: str) -> None:
                web.page(prefix + uri, base=base, cors_options=cors_options, name=f"{self.name}:{own}")(page)

            self._pages.append(put)
            return page

        return define

    def static(self, uri: str, file_or_directory: str | Path, *, name: str | None = None) -> None:
        """Serve the files of a directory, or one file.

        Args:
            uri: their path below that of the blueprint, such as ``/static/``.
            file_or_directory: where they are.
            name: of the path, ``static`` when left out; ``url_for("blueprint:static", filename="app.css")`` gives a path.
        """

        def put(web: Site, prefix: str) -> None:
            web.static(prefix + uri, file_or_directory, name=f"{self.name}:{name or 'static'}")

        self._pages.append(put)

    def cache(
        self,
        timeout: float | timedelta | None = None,
        include_headers: bool | str | Collection[str] = False,
        key_prefix: str | None = None,
        backend: CacheBackend | None = None,
    ) -> Cache:
        """Make a cache for the pages of the blueprint.

        Args:
            timeout: seconds, or a timedelta, for which an answer is kept; as long as there is room for it when left out.
            include_headers: headers of a request whose values make a difference to the answer, or ``True`` for all of them.
            key_prefix: begins the keys; the name of the blueprint when left out.
            backend: what keeps the answers; ``app.cache`` when left out.

        Raises:
            ConfigurationError: the timeout is not positive.
        """
        return Cache(timeout, include_headers, self.name if key_prefix is None else key_prefix, backend)

    def register(self, app: Any, *, url_prefix: str | None = None) -> None:
        """Put the pages into an app.

        Args:
            app: the app.
            url_prefix: where they are, such as ``/users``; that of the blueprint when left out.

        Raises:
            ConfigurationError: the app has a page at one of their paths, or a blueprint of this name.
        """
        app.web.blueprints.add(url_prefix or self.url_prefix or "", self)

    def _put_into(self, web: Site, prefix: str) -> None:
        for put in self._pages:
            put(web, prefix)

    def __repr__(self) -> str:
        return f"<Blueprint {self.name}: {len(self._pages)} pages>"


class Blueprints(Mapping[str, Blueprint]):
    """The blueprints of an app, by name."""

    def __init__(self, web: Site) -> None:
        self._web = web
        self._known: dict[str, Blueprint] = {}

    def add(self, prefix: str, blueprint: Blueprint | str) -> None:
        """Put the pages of a blueprint below a path.

        Args:
            prefix: the path, such as ``/users``.
            blueprint: the blueprint, or where it is: ``package.module:name``.

        Raises:
            ConfigurationError: it cannot be imported, or there is one of this name.
        """
        if isinstance(blueprint, str):
            blueprint = _load(blueprint)
        if blueprint.name in self._known:
            raise ConfigurationError(f"there are two blueprints named {blueprint.name!r}: give one another name")
        blueprint._put_into(self._web, prefix.rstrip("/"))
        self._known[blueprint.name] = blueprint

    def keep(self, names: Container[str]) -> None:
        """Forget those that have none of these names; their pages are left as they are.

        :meta private:
        """
        self._known = {name: blueprint for name, blueprint in self._known.items() if name in names}

    def __getitem__(self, name: str) -> Blueprint:
        return self._known[name]

    def __iter__(self) -> Any:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)


def _load(path: str) -> Blueprint:
    module, _, name = path.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigurationError(
            f"the blueprint {path!r} cannot be imported ({error}): write package.module:name"
        ) from error
    if not isinstance(found, Blueprint):
        raise ConfigurationError(f"{path!r} is not a blueprint, but {found!r}")
    return found
