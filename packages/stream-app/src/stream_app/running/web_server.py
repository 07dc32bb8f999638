"""The web server of a worker: loaded when the app starts, or when somebody asks it, so that importing the app loads no web library."""

from __future__ import annotations

import importlib
import logging
import socket
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from stream_app.running.defined import Defined
from stream_app.settings import Settings
from stream_core.engine.engine import Engine
from stream_core.engine.graph import Edge, edges_of, shortest_end
from stream_core.errors import MissingPackageError

if TYPE_CHECKING:
    from stream_web import Dashboard, Web, WebServer
    from stream_web.dashboard.samples import Samples
    from stream_web.pages import Routes
    from stream_web.waiting import WaitingServer

__all__ = ["is_web_wanted", "load_web", "make_web_server", "published_url"]

logger = logging.getLogger(__name__)


def load_web() -> Any:
    """Load the package of the web server, and the library that it is made of. Raises MissingPackageError."""
    try:
        return _load()
    except ImportError as error:
        raise MissingPackageError(
            f"the app has pages, and the web server cannot be loaded ({error}); pip install stream-web"
        ) from error


ASKING = ("web_enabled", "web_port", "web_bind", "web_host", "web_transport", "canonical_url")
"""Settings by which a program that an app runs in asks for the web server."""


def is_web_wanted(conf: Settings, pages: Web | None) -> bool:
    """Tell whether a program that is not a worker asks for the web server: by pages, or by a setting that says where it is."""
    return pages is not None or any(name in conf.values for name in ASKING)


def make_web_server(
    conf: Settings, engine: Engine, app: Defined, instance: str, neighbour: Callable[[str], str]
) -> WebServer | WaitingServer | None:
    """Make the web server for ``engine``, not started yet; ``None`` when it is off, or not installed and nobody asked for it.

    Args:
        conf: the settings.
        engine: what its pages tell about.
        app: what is defined.
        instance: id of this worker.
        neighbour: gives the URL of another worker of this machine by its id; empty when there is none.

    Raises:
        MissingPackageError: the settings ask for it, or for a page of it, and it cannot be loaded.
    """
    if not conf.web_enabled:
        if app.pages is not None:
            logger.info("the pages of %s are not served: web_enabled is false", conf.id)
        return None
    make = _Making(conf, engine, app, instance, neighbour)
    if _may_wait(conf, app):
        return make.waiting()
    try:
        _load()
    except ImportError as error:
        if "web_enabled" in conf.values:
            raise MissingPackageError(
                f"web_enabled is set, but the web server cannot be loaded ({error}); pip install stream-web"
            ) from error
        logger.info("there is no web server (%s); pip install stream-web to have one", error)
        return None
    return make.server()


def _load() -> Any:
    """Load what every web server is made of, and the package that has it. Raises ImportError."""
    importlib.import_module("stream_web.server")
    return importlib.import_module("stream_web")


def _may_wait(conf: Settings, app: Defined) -> bool:
    """Tell whether the server can be loaded by its first client: where only this machine has clients, and nothing is left to go wrong.

    Args:
        conf: the settings.
        app: what is defined.
    """
    try:
        here = ip_address(conf.web_bind).is_loopback
    except ValueError:
        return False
    said = (app.pages, conf.web_cors_options, conf.web_application_options, conf.web_ssl_context)
    return (
        here
        and conf.web_transport.startswith("tcp")
        and all(one is None for one in said)
        and not conf.web_metrics_enabled
        and all(find_spec(name) is not None for name in ("aiohttp", "stream_web"))
    )


class _Making:
    """Makes the web server at once, or one that waits for its first client."""

    def __init__(
        self, conf: Settings, engine: Engine, app: Defined, instance: str, neighbour: Callable[[str], str]
    ) -> None:
        self._conf = conf
        self._engine = engine
        self._app = app
        self._instance = instance
        self._neighbour = neighbour
        self._samples: Samples | None = None

    def waiting(self) -> WaitingServer:
        """Make one that waits. The last minutes, which its dashboard will show, are kept meanwhile."""
        conf = self._conf
        self._samples = samples = importlib.import_module("stream_web.dashboard.samples").Samples()
        address = importlib.import_module("stream_web.listening").Address(
            bind=conf.web_bind, port=conf.web_port, explicit_port="web_port" in conf.values, app_id=conf.id
        )
        made: WaitingServer = importlib.import_module("stream_web.waiting").WaitingServer(
            address,
            load=self._load_all,
            make=self.server,
            meanwhile=partial(samples.keep, self._engine.snapshot),
        )
        return made

    def _load_all(self) -> None:
        _load()
        importlib.import_module("stream_app.running.table_pages")
        _metrics(self._conf)

    def server(self) -> WebServer:
        """Make one that answers."""
        conf, engine, app, web = self._conf, self._engine, self._app, importlib.import_module("stream_web")

        def here() -> str:
            return server.url

        shown = _Shown(conf, engine, app, web)
        dashboard = shown.dashboard(self._neighbour, here, self._samples)
        pages = shown.pages()
        options = conf.web_application_options or {}
        limits = web.Limits()
        names = [conf.web_host, urlsplit(conf.canonical_url or "").hostname]
        server: WebServer = web.WebServer(
            bind=conf.web_bind,
            port=conf.web_port,
            explicit_port="web_port" in conf.values,
            app_id=conf.id,
            routes=shown.routes(dashboard),
            joining=[] if dashboard is None else [dashboard.join],
            pages=pages,
            forwarder=None if pages is None else web.Forwarder(self._instance),
            cors=conf.web_cors_options,
            middlewares=options.get("middlewares", ()),
            tls=conf.web_ssl_context,
            socket=None if conf.web_transport.startswith("tcp") else Path(conf.web_transport.removeprefix("unix://")),
            hosts=[name for name in names if name],
            watch=web.watching(engine.counters, engine.sensors, app),
            limits=replace(limits, body=options.get("client_max_size", limits.body)),
        )
        return server


class _Shown:
    """What a worker shows of itself: as the settings say, else where only this machine sees it, since nobody has to log in."""

    def __init__(self, conf: Settings, engine: Engine, app: Defined, web: Any) -> None:
        self._conf = conf
        self._engine = engine
        self._app = app
        self._web = web
        self._private = not conf.web_transport.startswith("tcp") or web.is_loopback(conf.web_bind) or conf.debug

    def _has(self, setting: bool | None) -> bool:
        return self._private if setting is None else setting

    def dashboard(
        self, neighbour: Callable[[str], str], url: Callable[[], str], samples: Samples | None
    ) -> Dashboard | None:
        """Make the dashboard; ``None`` when it is off."""
        conf, engine, web = self._conf, self._engine, self._web
        if not self._has(conf.web_dashboard_enabled):
            return None
        peers = web.Peers(conf.id, neighbour)
        made: Dashboard = web.Dashboard(
            conf.id,
            engine.snapshot,
            peers,
            edges=self._edges,
            settings=conf.describe,
            url=url,
            letter=engine.letters.find,
            samples=samples,
        )
        return made

    def routes(self, dashboard: Dashboard | None) -> list[Any]:
        """Give the routes of what is told of a worker."""
        conf, engine, web = self._conf, self._engine, self._web
        routes: list[Any] = web.Health(conf.id, engine.status, None if dashboard is None else dashboard.page).routes()
        if dashboard is not None:
            routes += dashboard.routes()
        if self._has(conf.web_stats_enabled):
            routes += web.Stats(engine.snapshot).routes()
        if self._has(conf.web_metrics_enabled) and (metrics := _metrics(conf)) is not None:
            routes += metrics.Metrics(engine.snapshot).routes()
        if self._has(conf.web_graph_enabled):
            routes += web.GraphPage(conf.id, self._edges).routes()
        if self._has(conf.web_schemas_enabled):
            routes += web.SchemaPages(self._openapi, self._asyncapi).routes()
        return routes

    def pages(self) -> Routes | None:
        """Give the pages of the program, and after them those that read tables; ``None`` when there are none."""
        conf, engine, app = self._conf, self._engine, self._app
        own = self._web.Web(app)
        if self._has(conf.web_tables_enabled) or self._has(conf.web_router_enabled):
            made = importlib.import_module("stream_app.running.table_pages")
            shown = made.Shown(own, app.tables, engine, conf.producer_partitioner)
            if self._has(conf.web_tables_enabled):
                made.table_pages(shown)
            if self._has(conf.web_router_enabled):
                made.router_pages(shown)
        routes: Routes = own.routes(engine.run.entered, but=app.pages)
        if app.pages is None:
            return routes if own else None
        users = app.pages.routes(engine.run.entered)
        users.join(routes)
        return users

    def _edges(self) -> list[Edge]:
        """Give what flows where, with agents by the shortest ends of their names."""
        app, names = self._app, list(self._app.agents)
        shown = partial(shortest_end, names=names)
        return edges_of(self._conf.id, app.agents, app.tables, shown, self._engine.topology.pipes)

    def _openapi(self) -> dict[str, Any]:
        made: dict[str, Any] = self._web.openapi(self._conf.id, str(self._conf.version), self._app.pages)
        return made

    def _asyncapi(self) -> dict[str, Any]:
        conf, engine, app = self._conf, self._engine, self._app
        made: dict[str, Any] = self._web.asyncapi(
            conf.id,
            str(conf.version),
            brokers=map(str, conf.broker),
            topics=app.topics,
            agents=app.agents,
            counts=engine.ownership.sources.counts,
        )
        return made


def _metrics(conf: Settings) -> Any:
    """Load the module of the metrics; ``None`` when what it needs is not installed and nobody asked for it."""
    try:
        return importlib.import_module("stream_web.metrics")
    except ImportError as error:
        if conf.web_metrics_enabled:
            raise MissingPackageError(
                f"web_metrics_enabled is set, and {error}; pip install 'stream-app[prometheus]'"
            ) from error
        logger.debug("there is no page /metrics (%s); pip install 'stream-app[prometheus]' to have one", error)
        return None


def published_url(conf: Settings, server: WebServer | WaitingServer | None) -> str:
    """Give the URL that the other workers are told, now that the server listens; empty when they could not reach it.

    Args:
        conf: the settings: ``canonical_url`` is it, else ``web_host`` with the port that the server got.
        server: of this worker.
    """
    if conf.canonical_url:
        return conf.canonical_url
    if server is None:
        return ""
    parts = urlsplit(server.url)
    scheme, port = parts.scheme, parts.port
    if scheme == "unix":
        return ""
    if conf.web_host:
        return f"{scheme}://{_bracketed(conf.web_host)}:{port}"
    try:
        address = ip_address(conf.web_bind)
    except ValueError:
        return "" if conf.web_bind == "localhost" else f"{scheme}://{conf.web_bind or socket.gethostname()}:{port}"
    if address.is_loopback:  # another machine would look for this worker on itself
        return ""
    return f"{scheme}://{socket.gethostname()}:{port}" if address.is_unspecified else server.url


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("[") else host
