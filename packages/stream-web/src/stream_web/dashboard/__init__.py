"""The dashboard: what all workers of an app do, as a page that any of them shows."""

from stream_web.dashboard.dashboard import Dashboard
from stream_web.dashboard.peers import Peers

__all__ = ["Dashboard", "Peers"]
