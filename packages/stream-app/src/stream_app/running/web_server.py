"""The web server of a worker: loaded when the app starts, so that importing the app loads no web library."""

from __future__ import annotations

import importlib
import logging
from typing import TYPE_CHECKING

from stream_app.settings import Settings
from stream_core.engine.engine import Engine
from stream_core.errors import MissingPackageError
from stream_core.states import EngineState

if TYPE_CHECKING:
    from stream_web import Status, WebServer

__all__ = ["make_web_server"]

logger = logging.getLogger(__name__)


def make_web_server(conf: Settings, engine: Engine) -> WebServer | None:
    """The web server for ``engine``, not started yet; ``None`` when it is off, or not installed and nobody asked for it.

    Raises:
        MissingPackageError: the setting ``web_enabled`` asks for it and it cannot be loaded.
    """
    if not conf.web_enabled:
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

    def status() -> Status:
        reason = _unready(engine)
        answer: Status = web.Status(ready=not reason, reason=reason)
        return answer

    server: WebServer = web.WebServer(
        bind=conf.web_bind,
        port=conf.web_port,
        explicit_port="web_port" in conf.values,
        app_id=conf.id,
        status=status,
        failed=engine.failure.done,
    )
    return server


def _unready(engine: Engine) -> str:
    """Why the worker does not work on its partitions, in words for anybody; empty when it does."""
    if engine.failure.done():
        return "failed"
    if engine.state in (EngineState.STOPPING, EngineState.STOPPED):
        return "stopping"
    if not engine.clients.connected:
        return "waiting for the broker"
    if engine.ready:
        return "waiting for the broker" if engine.clients.lease_over() else ""
    if engine.missing:
        return f"topic {', '.join(sorted(engine.missing))} does not exist"
    if unreadable := engine.clients.consumer.unreadable:
        return f"cannot read {', '.join(map(str, sorted(unreadable)))}"
    return "waiting for partitions" if engine.ownership.group is None else "recovering"
