"""Apps inside of ASGI servers: started before the first request, stopped after the last one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from stream_app.app import App

__all__ = ["lifespan"]


def lifespan(
    app: App, *, client_only: bool = False, timeout: float | None = 30.0
) -> Callable[[Any], AbstractAsyncContextManager[None]]:
    """Make the lifespan of an ASGI application, such as FastAPI, Starlette or Litestar, in which ``app`` runs.

    Args:
        app: starts when the server does, and stops with it.
        client_only: only send and ask, as :meth:`App.start_client` does.
        timeout: seconds to wait for a broker, after which the server says that it cannot start; ``None`` waits for ever.

    Example::

        api = FastAPI(lifespan=faust.lifespan(app))
    """

    @asynccontextmanager
    async def run(_: Any = None) -> AsyncIterator[None]:
        await (app.start_client(timeout=timeout) if client_only else app.start(timeout=timeout))
        try:
            yield
        finally:
            await app.stop()

    return run
