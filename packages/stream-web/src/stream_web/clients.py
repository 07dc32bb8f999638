"""The client for HTTP that an app offers to what is written for it."""

from aiohttp import ClientSession

__all__ = ["ClientSession", "make_client"]


def make_client() -> ClientSession:
    """Make a client with the defaults of aiohttp, in the event loop that runs."""
    return ClientSession()
