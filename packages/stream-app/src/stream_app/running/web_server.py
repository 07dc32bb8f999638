"""The web server of a worker: loaded when the app starts, so that importing the app loads no web library."""

from __future__ import annotations

import importlib
import logging
import socket
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from stream_app.settings import Settings
from stream_core.agents.agent import Agent
from stream_core.engine.engine import Engine
from stream_core.engine.graph import Edge, edges_of, shortest_end
from stream_core.errors import MissingPackageError

if TYPE_CHECKING:
    from stream_web import Web, WebServer

__all__ = ["load_web", "make_web_server", "published_url"]

logger = logging.getLogger(__name__)


def load_web() -> Any:
    """Load the package of the web server. Raises MissingPackageError."""
    try:
        return importlib.import_module("stream_web")
    except ImportError as error:
        raise MissingPackageError(
            f"the app has pages, and the web server cannot be loaded ({error}); pip install stream-web"
        ) from error


def make_web_server(
    conf: Settings,
    engine: Engine,
    pages: Web | None = None,
    instance: str = "",
    *,
    app: Defined,
    neighbour: Callable[[str], str] = lambda instance: "",
) -> WebServer | None:
    """Make the web server for ``engine``, not started yet; ``None`` when it is off, or not installed and nobody asked for it.

    Args:
        conf: the settings.
        engine: what its pages tell about.
        pages: those of the app.
        instance: id of this worker.
        app: what is defined.
        neighbour: gives the URL of another worker of this machine by its id; empty when there is none.

    Raises:
        MissingPackageError: the settings ask for it, or for a page of it, and it cannot be loaded.
    """
    if not conf.web_enabled:
        if pages is not None:
            logger.info("the pages of %s are not served: web_enabled is false", conf.id)
        return None
    try:
        web = importlib.import_module("stream_web")
    except ImportError as error:
        if "web_enabled" in conf.values:
            raise MissingPackageError(
                f"web_enabled is set, but the web server cannot be loaded ({error}); pip install stream-web"
            ) from error
        logger.info("there is no web server (%s); pip install stream-web to have one", error)
        return None
    private = not conf.web_transport.startswith("tcp") or web.is_loopback(conf.web_bind) or conf.debug
    dashboard, joining = None, []
    if _shown(conf.web_dashboard_enabled, private=private):
        peers = web.Peers(conf.id, neighbour)
        dashboard = web.Dashboard(
            conf.id,
            engine.snapshot,
            peers,
            edges=partial(flow_of, conf.id, app, engine),
            settings=conf.describe,
        )
        joining.append(dashboard.join)
    routes = web.Health(conf.id, engine.status, None if dashboard is None else dashboard.page).routes()
    if dashboard is not None:
        routes += dashboard.routes()
    if _shown(conf.web_stats_enabled, private=private):
        routes += web.Stats(engine.snapshot).routes()
    if _shown(conf.web_metrics_enabled, private=private) and (metrics := _metrics(conf)) is not None:
        routes += metrics.Metrics(engine.snapshot).routes()
    options = conf.web_application_options or {}
    limits = web.Limits()
    names = [conf.web_host, urlsplit(conf.canonical_url or "").hostname]
    server: WebServer = web.WebServer(
        bind=conf.web_bind,
        port=conf.web_port,
        explicit_port="web_port" in conf.values,
        app_id=conf.id,
        routes=routes,
        joining=joining,
        pages=None if pages is None else pages.routes(engine.run.entered),
        forwarder=None if pages is None else web.Forwarder(instance),
        cors=conf.web_cors_options,
        middlewares=options.get("middlewares", ()),
        tls=conf.web_ssl_context,
        socket=None if conf.web_transport.startswith("tcp") else Path(conf.web_transport.removeprefix("unix://")),
        hosts=[name for name in names if name],
        limits=replace(limits, body=options.get("client_max_size", limits.body)),
    )
    return server


class Defined(Protocol):
    """What is defined, as far as pages tell of it."""

    @property
    def agents(self) -> Mapping[str, Agent]:
        """The agents by name."""

    @property
    def tables(self) -> Mapping[str, Any]:
        """The tables by name."""


def flow_of(app_id: str, app: Defined, engine: Engine) -> list[Edge]:
    """Give what flows where in an app that runs, with agents by the shortest ends of their names."""
    names = list(app.agents)
    return edges_of(app_id, app.agents, app.tables, lambda name: shortest_end(name, names), engine.topology.pipes)


def _shown(setting: bool | None, *, private: bool) -> bool:
    """Whether there is a page that nobody has to log in for: as the setting says, else where only this machine sees it."""
    return private if setting is None else setting


def _metrics(conf: Settings) -> Any:
    """The module of the metrics; ``None`` when what it needs is not installed and nobody asked for it."""
    try:
        return importlib.import_module("stream_web.metrics")
    except ImportError as error:
        if conf.web_metrics_enabled:
            raise MissingPackageError(
                f"web_metrics_enabled is set, and {error}; pip install 'stream-app[prometheus]'"
            ) from error
        logger.debug("there is no page /metrics (%s); pip install 'stream-app[prometheus]' to have one", error)
        return None


def published_url(conf: Settings, server: WebServer | None) -> str:
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
