"""TCP ports of the loopback interface: which are free."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Collection

__all__ = ["HOST", "free_port", "is_free"]

HOST = "127.0.0.1"

# Below the ports that systems give to outgoing connections: while a broker that was killed is down, a client that knocks at
# a port of that range can be given that very port for its own end, and the broker cannot come back.
_RANGE = range(15_000, 30_000)


def is_free(port: int) -> bool:
    """Say whether a server could listen on ``port`` of the loopback interface now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as server:
        # As Java does: connections of the last server may linger.
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            server.bind((HOST, port))
            server.listen(1)
        except OSError:
            return False
    return True


def free_port(besides: Collection[int] = ()) -> int:
    """Choose a port of the loopback interface where nobody listens; another program may still take it before the caller does.

    The choice does not follow ``random.seed()``: two processes with the same seed would choose the same ports.

    Args:
        besides: ports that are not chosen, because somebody is about to listen there.
    """
    return next(port for port in iter(lambda: secrets.choice(_RANGE), None) if port not in besides and is_free(port))
