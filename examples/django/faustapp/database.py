"""The database in agents: its calls block, and its connections belong to threads, so that all of it happens in one thread of its own."""

from functools import wraps

from asgiref.sync import sync_to_async
from django.db import close_old_connections, connections

import stream_app as faust


def in_database(function):
    """Make a coroutine function of one that uses the database; the event loop goes on meanwhile.

    Requests are what tells Django to drop connections that are too old, or that the database has closed. A worker has none, so that it
    is done around each call.
    """

    @wraps(function)
    def with_live_connection(*args, **kwargs):
        close_old_connections()
        try:
            return function(*args, **kwargs)
        finally:
            close_old_connections()

    return sync_to_async(with_live_connection)


class Connections(faust.Service):
    """Closes the connections of that thread when the app has stopped, after the last commit."""

    async def on_stop(self):
        """Close them."""
        await sync_to_async(connections.close_all)()
