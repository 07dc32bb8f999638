"""The pages of an app: how they are defined, and the routes that they become when its web server starts."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from json import JSONDecodeError
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar, get_type_hints

import aiohttp_cors
import msgspec
from aiohttp import hdrs, web

from stream_core.errors import ConfigurationError
from stream_core.runs import PerRun
from stream_web.blueprints import Blueprints
from stream_web.exceptions import NotFound, ParseError, ServiceUnavailable
from stream_web.forwarding import AGAIN, FORWARDED, Forwarder
from stream_web.middlewares import is_websocket
from stream_web.responses import answer_of
from stream_web.site import Site
from stream_web.views import METHODS, View

__all__ = ["Node", "Page", "ResourceOptions", "Web"]

P = TypeVar("P", bound=Callable[..., Any])

ResourceOptions = aiohttp_cors.ResourceOptions
"""What another site may do with a page in a browser: ``allow_credentials``, ``expose_headers``, ``allow_headers``, ``allow_methods``,
``max_age`` (seconds)."""

Around = Callable[[], AbstractContextManager[Any]]


@dataclass(frozen=True)
class Page:
    """One page.

    Attributes:
        path: its path, in which ``{name}`` and ``{name:pattern}`` are parts.
        view: the class that answers.
        name: the name of the page.
        cors: which sites may read it in a browser; ``None`` for those of the app.
        where: names it in messages.
    """

    path: str
    view: type[View]
    name: str
    cors: Mapping[str, Any] | None
    where: str

    @cached_property
    def resource(self) -> web.Resource:
        """What makes paths of it."""
        return web.UrlDispatcher().add_resource(self.path)

    @cached_property
    def shape(self) -> str:
        """The path without the names of its parts: two pages of one shape would answer the same requests."""
        return re.sub(r"\{[_a-zA-Z]\w*", "{", self.path)

    @cached_property
    def parts(self) -> list[str]:
        """The names of the parts of the path."""
        return list(self.resource.get_info().get("pattern", _NOTHING).groupindex)

    def path_of(self, parts: Mapping[str, Any]) -> str:
        """Give the path with these parts in it; a slash within one is quoted, unless its pattern decides which it takes."""
        quoted = {
            part: str(value).replace("/", _SLASH) if f"{{{part}}}" in self.path else str(value)
            for part, value in parts.items()
        }
        return str(self.resource.url_for(**quoted)).replace(_SLASH, "%2F")

    def functions(self) -> Iterator[tuple[str, Callable[..., Any]]]:
        """Give the functions that answer, by their methods."""
        for method in METHODS:
            if (function := getattr(self.view, method, None)) is not None:
                yield method, function

    def check(self) -> None:
        """Raise ConfigurationError unless the page can be asked."""
        if not self.path.startswith("/"):
            raise ConfigurationError(f"{self.where}: its path begins with a slash: write '/{self.path}'")
        try:
            parts = dict.fromkeys(self.parts)
        except ValueError as error:
            raise ConfigurationError(f"{self.where}: {error}; parts of a path are written {{name}}") from error
        if not dict(self.functions()):
            raise ConfigurationError(
                f"{self.where} answers nothing: give it `async def get(self, request)`, or post, …"
            )
        for _, function in self.functions():
            name = getattr(function, "__qualname__", repr(function))
            if not inspect.iscoroutinefunction(function):
                raise ConfigurationError(f"{self.where}: {name} is not asynchronous: write it as `async def`")
            try:
                inspect.signature(function).bind(None, None, **parts)
            except TypeError as error:
                expected = ", ".join(["view", "request", *parts])
                raise ConfigurationError(
                    f"{self.where}: {name} cannot be called with ({expected}), a view, the request and the parts of the path: {error}"
                ) from None

    def types(self, function: Callable[..., Any]) -> dict[str, Any]:
        """Give the types of the parts that ``function`` wants converted. Raises ConfigurationError when one cannot be evaluated."""
        found = {}
        parameters = inspect.signature(function).parameters
        for part in self.parts:
            annotation = parameters[part].annotation if part in parameters else inspect.Parameter.empty
            if annotation in (inspect.Parameter.empty, str, "str"):
                continue
            found[part] = _evaluated(annotation, inspect.unwrap(function), f"{self.where}: the type of {part}")
        return found


class Destination(Protocol):
    """Who is to answer a request: a worker with its URL, or ``None`` for this one."""

    @property
    def host(self) -> Any:
        """The worker."""


class Node(NamedTuple):
    """A web server that has started.

    Attributes:
        url: where it is reached.
        forwarder: passes requests on to other workers.
        neighbour: gives the URL of a worker of this machine by its id, where that worker publishes none; empty when there is none.
    """

    url: str
    forwarder: Forwarder
    neighbour: Callable[[str], str] = lambda instance: ""


@dataclass(frozen=True)
class _Static:
    """Files below a path."""

    path: str
    directory: Path
    name: str


class Web(Site):
    """The pages of an app.

    Args:
        app: the app: each view gets it.

    Attributes:
        app: the same.
        blueprints: pages that are written apart; ``blueprints.add("/prefix", blueprint)``.
        nodes: the web servers that answer with these pages: nearly always one at most.
    """

    def __init__(self, app: Any) -> None:
        self.app = app
        self.blueprints = Blueprints(self)
        self.nodes = PerRun[Node]()
        self._pages: list[Page] = []
        self._statics: list[_Static] = []

    @property
    def url(self) -> str:
        """Where the worker is reached.

        Raises:
            ConfigurationError: its web server has not started.
        """
        return self.nodes.find("the URL of the worker is not known").url

    def __bool__(self) -> bool:
        """Tell whether there are pages."""
        return bool(self._pages or self._statics)

    @property
    def pages(self) -> tuple[Page, ...]:
        """The pages, in the order of their definitions."""
        return tuple(self._pages)

    def page(
        self,
        path: str,
        *,
        base: type[Any] | None = None,
        cors_options: Mapping[str, Any] | None = None,
        name: str | None = None,
    ) -> Callable[[P], P]:
        """Define a page, as ``app.page`` does: see :meth:`App.page <stream_app.app.App.page>`."""

        def define(page: P) -> P:
            where = f"page {path} ({page.__module__}.{page.__qualname__})"
            view: Any = page
            if not isinstance(page, type):
                view = (base or View).from_handler(page)
            elif not issubclass(page, View):
                raise ConfigurationError(f"{where} is a class, and no View: write `class {page.__name__}(View)`")
            if self.nodes:
                raise ConfigurationError(
                    f"{where} is defined while the web server runs, and would have no effect: define it before"
                )
            made = Page(path, view, name or page.__name__, resource_options(cors_options, where), where)
            made.check()
            for other in self._pages:
                if other.shape == made.shape:
                    raise ConfigurationError(f"{where} has the path of {other.where}: give one of them another path")
            if name is not None and name in (known := {one.name: one for one in self._pages}):
                raise ConfigurationError(f"{where} has the name {name!r} of {known[name].where}: give it another name")
            self._pages.append(made)
            return page

        return define

    def static(self, prefix: str, file_or_directory: str | Path, *, name: str = "static") -> None:
        """Serve the files of a directory below a path, or one file at it.

        Args:
            prefix: the path, such as ``/static/``.
            file_or_directory: where they are.
            name: of the path; ``url_for(name, filename="app.css")``.

        Raises:
            ConfigurationError: there is no such directory or file.
        """
        where = Path(file_or_directory)
        if not where.exists():
            raise ConfigurationError(f"the files at {prefix} cannot be served: there is no {where.absolute()}")
        self._statics.append(_Static(prefix, where, name))

    @contextmanager
    def all_or_none(self) -> Iterator[None]:
        """Take back what a block of code has defined when it raises, so that it can be run again.

        :meta private:
        """
        pages, statics, blueprints = list(self._pages), list(self._statics), dict(self.blueprints)
        try:
            yield
        except BaseException:
            self._pages[:], self._statics[:] = pages, statics
            self.blueprints.keep(blueprints)
            raise

    def url_for(self, view_name: str, **parts: Any) -> str:
        """Give the path of a page.

        Args:
            view_name: the name of the page; one of a blueprint is ``blueprint:name``.
            parts: the parts of its path that have names.

        Raises:
            ConfigurationError: there is no such page, there are several, or its path needs other parts.
        """
        found = [one for one in self._pages if one.name == view_name]
        if len(found) > 1:
            listed = ", ".join(one.where for one in found)
            raise ConfigurationError(
                f"there are several pages named {view_name!r}: {listed}; give them names with name="
            )
        if not found:
            for static in self._statics:
                if static.name == view_name:
                    return f"{static.path.rstrip('/')}/{str(parts.get('filename', '')).lstrip('/')}"
            known = ", ".join(sorted({one.name for one in self._pages})) or "none"
            raise ConfigurationError(f"there is no page named {view_name!r}; those of the app are: {known}")
        page = found[0]
        if set(parts) != set(page.parts):
            expected = ", ".join(page.parts) or "no parts"
            raise ConfigurationError(f"{page.where} needs {expected}, and is given {', '.join(parts) or 'none'}")
        return page.path_of(parts)

    async def elsewhere(self, request: web.Request, destination: Destination | None) -> web.StreamResponse | None:
        """Answer a request that belongs to another worker, by asking that one; ``None`` where it belongs to this one.

        Args:
            request: the request.
            destination: who is to answer it; ``None`` when nobody can now.

        Raises:
            ServiceUnavailable: nobody can, the other worker does not answer, or one worker has passed the request on already.
        """
        if destination is not None and destination.host is None:
            return None
        if destination is None or FORWARDED in request.headers:
            raise ServiceUnavailable("The partition of this is on the move; try again", headers=AGAIN)
        node = self.nodes.find("cannot ask another worker")
        published, instance = destination.host.url, destination.host.instance
        url = published or node.neighbour(instance)
        if not url:
            raise ServiceUnavailable(
                "The worker that has this tells no URL: its settings web_bind, web_host or canonical_url make one"
            )
        if is_websocket(request):
            raise ServiceUnavailable(f"A WebSocket is not passed on to another worker: open it at {url}")
        return await node.forwarder.forward(request, url, instance, certain=not published)

    def routes(self, around: Around = nullcontext, *, but: Web | None = None) -> Routes:
        """Make the routes of all pages, for one web server.

        Args:
            around: entered for each request: what pages use belongs to it.
            but: pages that go first: what would answer the same requests is left out.

        Raises:
            ConfigurationError: the type of a part of a path cannot be evaluated.
        """
        taken = set() if but is None else {page.shape for page in but.pages}
        pages = [page for page in self._pages if page.shape not in taken]
        routes = Routes({page.path for page in pages}, [self.nodes])
        for page in pages:
            view = page.view(self.app, self)
            view.view_name, view.view_path = page.name, page.path
            types = {method.upper(): page.types(function) for method, function in page.functions()}
            handler = _handler(page, view, types, around)
            methods = page.view.get_methods()
            cors = {} if "OPTIONS" in methods else page.cors  # such a page answers browsers itself
            for method in sorted(methods):
                own_head = {"allow_head": False} if method == "GET" else {}  # else that of aiohttp
                routes.add(web.route(method, page.path, handler, **own_head), cors)
        for static in self._statics:
            routes.add(_files(static), None)
        return routes


@dataclass
class Routes:
    """Routes, each with the sites that may read it.

    Attributes:
        paths: those of the pages.
        nodes: where the server that answers them is told to the pages.
    """

    paths: set[str]
    nodes: list[PerRun[Node]] = field(default_factory=list)
    _routes: list[tuple[web.AbstractRouteDef, Mapping[str, Any] | None]] = field(default_factory=list)

    def add(self, route: web.AbstractRouteDef, cors: Mapping[str, Any] | None) -> None:
        """Take a route in."""
        self._routes.append((route, cors))

    def join(self, others: Routes) -> None:
        """Take the routes of others in, after those that are there."""
        self.paths |= others.paths
        self.nodes += others.nodes
        self._routes += others._routes

    def origins(self, cors_options: Mapping[str, Any] | None) -> set[str]:
        """Give the sites that may do something with any page; ``*`` for all."""
        own = {origin for _, cors in self._routes for origin in cors or ()}
        return own | set(cors_options or ())

    def put_into(self, app: web.Application, cors_options: Mapping[str, Any] | None) -> None:
        """Add them to the application of a server.

        Args:
            app: the application.
            cors_options: the sites that may read pages that name none.
        """
        setup: Any = None
        cors_options = resource_options(cors_options, "web_cors_options")
        for definition, own in self._routes:
            chosen = cors_options if own is None else own
            for route in definition.register(app.router):
                if chosen:
                    setup = setup or aiohttp_cors.setup(app)
                    setup.add(route, chosen)


def resource_options(cors: Mapping[str, Any] | None, where: str) -> Mapping[str, Any] | None:
    """Give what other sites may do, each as options of aiohttp-cors.

    Args:
        cors: by origin the options, or a mapping of them.
        where: names the page, or the setting, for the message.

    Raises:
        ConfigurationError: there is no such option.
    """
    make: Any = ResourceOptions
    try:
        return cors and {
            origin: make(**given) if isinstance(given, Mapping) else given for origin, given in cors.items()
        }
    except (TypeError, ValueError, AttributeError) as error:
        raise ConfigurationError(
            f"{where}: the options for other sites cannot be used: {error}; write by origin allow_credentials, allow_headers, "
            "allow_methods, expose_headers and max_age"
        ) from error


def _files(static: _Static) -> web.AbstractRouteDef:
    if static.directory.is_dir():
        return web.static(static.path, static.directory)

    async def file(request: web.Request) -> web.FileResponse:
        return web.FileResponse(static.directory)

    return web.get(static.path, file)


def _handler(page: Page, view: View, types: Mapping[str, Mapping[str, Any]], around: Around) -> Any:
    async def handle(request: web.Request) -> web.StreamResponse:
        wanted = types.get(request.method) or (types.get("GET", {}) if request.method == "HEAD" else {})
        with around():
            try:
                parts = _converted(request.match_info, wanted)
                return answer_of(await view.dispatch(request, **parts), view, page.where)
            except NotFound as error:
                return view.notfound(error.detail)
            except (JSONDecodeError, UnicodeDecodeError) as error:
                if not await _is_about(error, request):
                    raise
                return view.error(ParseError.code, f"The body cannot be read: {error}")
            except web.RequestPayloadError as error:
                return view.error(ParseError.code, f"The body cannot be read: {error.__cause__ or error!r}")

    return handle


def _converted(match: Mapping[str, str], types: Mapping[str, Any]) -> dict[str, Any]:
    """Convert the parts of a path to their types. Raises NotFound when one is no such value: there is no such page."""
    parts: dict[str, Any] = dict(match)
    for name, type_ in types.items():
        try:
            parts[name] = msgspec.convert(parts[name], type_, strict=False)
        except (msgspec.ValidationError, ValueError) as error:
            raise NotFound from error
    return parts


async def _is_about(error: JSONDecodeError | UnicodeDecodeError, request: web.Request) -> bool:
    """Tell whether it is the body of the request that could not be read, and not something else that the page reads."""
    body = await request.read()
    if not body and request.method in (hdrs.METH_GET, hdrs.METH_HEAD):
        return False  # nobody has tried to read it
    if isinstance(error, UnicodeDecodeError):
        return error.object == body
    try:
        return error.doc == await request.text()
    except (UnicodeDecodeError, LookupError):
        return False


def _evaluated(annotation: Any, function: Any, what: str) -> Any:
    """Give the type that an annotation means, which may be text."""

    def shape() -> None: ...

    shape.__annotations__ = {"part": annotation}
    try:
        return get_type_hints(shape, globalns=getattr(function, "__globals__", None))["part"]
    except Exception as error:
        raise ConfigurationError(f"{what} cannot be evaluated: {error}; import it in its module") from error


_NOTHING = re.compile("")

_SLASH = "--slash--"
"""Stands for a slash while the rest is quoted."""
