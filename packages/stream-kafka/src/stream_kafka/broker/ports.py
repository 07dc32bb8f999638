"""TCP ports of the loopback interface: which are free."""

from __future__ import annotations

import errno
import secrets
import socket
from collections.abc import Collection

from stream_core.errors import ConfigurationError

__all__ = ["HOST", "free_port", "is_free"]

HOST = "127.0.0.1"

# Below the ports that systems give to outgoing connections: while a broker that was killed is down, a client that knocks at
# a port of that range can be given that very port for its own end, and the broker cannot come back.
_RANGE = range(15_000, 30_000)


def is_free(port: int) -> bool:
    """Say whether nobody listens on ``port`` of the loopback interface, so that a server could.

    Raises:
        ConfigurationError: no server could, for another reason.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as server:
        # As Java does: connections of the last server may linger.
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            server.bind((HOST, port))
            server.listen(1)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise ConfigurationError(_refusal(port, error)) from error
            return False
    return True


def _refusal(port: int, error: OSError) -> str:
    if error.errno == errno.EACCES:
        return (
            f"port {port} of {HOST} is for privileged users, as those below 1024 are by default: "
            "choose another with --port, or run as one of them"
        )
    return f"nobody can listen on port {port} of {HOST}: {error.strerror}. Mend that, or choose another with --port"


def free_port(besides: Collection[int] = ()) -> int:
    """Choose a port of the loopback interface where nobody listens; another program may still take it before the caller does.

    The choice does not follow ``random.seed()``: two processes with the same seed would choose the same ports.

    Args:
        besides: ports that are not chosen, because somebody is about to listen there.

    Raises:
        ConfigurationError: no server could listen on the loopback interface.
    """
    return next(port for port in iter(lambda: secrets.choice(_RANGE), None) if port not in besides and is_free(port))
