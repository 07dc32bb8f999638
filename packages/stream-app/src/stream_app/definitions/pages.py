"""Pages of an app: how a program defines them. What they are made of is in :mod:`stream_web`, which is loaded with the first one."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

from stream_app.definitions.registry import Registry
from stream_app.running.routing import Router, key_of
from stream_app.running.web_server import load_web
from stream_app.settings.caches import cache_bounds
from stream_core.errors import ConfigurationError
from stream_core.primitives import TP
from stream_core.sending.topic import AnyTopic, Topic
from stream_tables.table import Table

if TYPE_CHECKING:
    from stream_web import CacheBackend, View, Web

__all__ = ["PageDefinitions"]

P = TypeVar("P", bound=Callable[..., Any])


class PageDefinitions(Registry):
    """Defines pages."""

    @property
    def web(self) -> Web:
        """The pages: names and paths of them, blueprints, static files.

        Raises:
            MissingPackageError: the web server is not installed.
        """
        with self._defining:
            if self._web is None:
                self._web = load_web().Web(self)
            return self._web

    @property
    def cache(self) -> CacheBackend:
        """What keeps the answers of pages for the caches that they are decorated with: in memory, as the setting ``cache`` says.

        Assign a backend of your own before the app starts to keep them elsewhere.

        Raises:
            MissingPackageError: the web server is not installed.
        """
        with self._defining:
            if self._cache is None:
                bounds = cache_bounds(self.conf.settle("cache", "the cache of pages"))
                self._cache = load_web().CacheBackend(**bounds)
            assert self._cache is not None
            return self._cache

    @cache.setter
    def cache(self, backend: CacheBackend) -> None:
        self._cache = backend

    def page(
        self,
        path: str,
        *,
        base: type[View] | None = None,
        cors_options: Mapping[str, Any] | None = None,
        name: str | None = None,
    ) -> Callable[[P], P]:
        """Define a page of the web server: an async function, or a class of views.

        ``async def page(web, request)`` answers GET. Parts of the path come as further arguments, of the types of their annotations. What
        it returns is the answer: text, bytes, what can be JSON, or an answer as ``web.json(...)`` makes it. It can send, ask and read
        tables.

        Args:
            path: its path, such as ``/path/to/view/`` or ``/users/{name}/``.
            base: the class of the view, where the page is a function.
            cors_options: which other sites may read it in a browser: by origin what they may do, a mapping or ``web.ResourceOptions``.
            name: of the page, for ``url_for``; that of the function or class when left out.

        Raises:
            ConfigurationError: the path does not begin with a slash, another page has it, the function is not async or does not take the
                parts of the path, or the app runs.
            MissingPackageError: the web server is not installed.
        """

        def define(page: P) -> P:
            with self._defining:
                self._require_stopped(f"page {path}")
                return self.web.page(path, base=base, cors_options=cors_options, name=name)(page)

        return define

    def table_route(
        self,
        table: Table[Any, Any],
        shard_param: str | None = None,
        *,
        query_param: str | None = None,
        match_info: str | None = None,
        exact_key: Any = None,
        topic: Topic[Any, Any] | None = None,
    ) -> Callable[[P], P]:
        """Let a page be answered by the worker that has a key of a table: below ``@app.page``, or on a method of a view.

        Any worker takes the request, and passes it on where another one owns the key. While partitions move, or the owner does not
        answer, the answer is 503 with ``Retry-After``.

        Args:
            table: the table.
            shard_param: the same as ``query_param``.
            query_param: the parameter of the request that is the key.
            match_info: the part of the path that is the key.
            exact_key: the key, where it is always the same one.
            topic: the topic whose events change the table; needed where the app reads several that have other keys.

        Raises:
            ConfigurationError: not one of these names the key.
        """

        def where(router: Router, key: Any) -> TP:
            return router.partition_of_table(table, key, topic)

        return self._routed(table, f"table {table.name}", where, query_param or shard_param, match_info, exact_key)

    def topic_route(
        self,
        topic: Topic[Any, Any],
        shard_param: str | None = None,
        *,
        query_param: str | None = None,
        match_info: str | None = None,
        exact_key: Any = None,
    ) -> Callable[[P], P]:
        """Let a page be answered by the worker that reads the events of a key; see :meth:`table_route`.

        Args:
            topic: the topic; agents of this app read it.
            shard_param: the same as ``query_param``.
            query_param: the parameter of the request that is the key.
            match_info: the part of the path that is the key.
            exact_key: the key, where it is always the same one.
        """

        def where(router: Router, key: Any) -> TP:
            return router.partition_of_topic(topic, key)

        return self._routed(topic, f"topic {topic.name}", where, query_param or shard_param, match_info, exact_key)

    def _routed(
        self,
        target: Table[Any, Any] | AnyTopic,
        what: str,
        where: Callable[[Router, Any], TP],
        param: str | None,
        part: str | None,
        exact: Any,
    ) -> Callable[[P], P]:
        if sum(one is not None for one in (param, part, exact)) != 1:
            raise ConfigurationError(
                f"which key of {what} a page is about is said by one of query_param=, match_info= and exact_key="
            )
        table = target if isinstance(target, Table) else None

        def define(page: P) -> P:
            if isinstance(page, type) or not inspect.iscoroutinefunction(page):
                raise ConfigurationError(
                    f"{page!r}: the route of {what} is put on an async function, or on the methods of a view"
                )

            @wraps(page)
            async def routed(view: Any, request: Any, *given: Any, **parts: Any) -> Any:
                key = _key(view, request, param, part, target.schema.key_type) if exact is None else exact
                engine = self.engines.find("cannot find the worker that owns a key")
                router = Router(engine, self.conf.producer_partitioner)
                destination = await router.find(where(router, key), table)
                answer = await view.web.elsewhere(request, destination)
                return await page(view, request, *given, **parts) if answer is None else answer

            checked: Any = routed
            return checked  # type: ignore[no-any-return]

        return define


def _key(view: Any, request: Any, param: str | None, part: str | None, type_: Any) -> Any:
    """Give the key that a request asks for. Raises the view's errors when it names none, or what is none."""
    text = request.match_info.get(part) if part is not None else request.query.get(param)
    if text is None:
        raise view.ValidationError(
            f"The parameter {param} is missing" if part is None else f"The path has no part {part}"
        )
    try:
        return key_of(text, type_)
    except (ValueError, TypeError) as error:
        raise view.ValidationError(f"{text!r} is not a key: {error}") from error
