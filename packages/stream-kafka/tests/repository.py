"""Maven repositories that a test serves on the loopback interface."""

from __future__ import annotations

import hashlib
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from stream_kafka.broker.ports import HOST

__all__ = ["Repository", "SlowRepository"]


class Served:
    """A server over HTTP, in threads of its own."""

    def __init__(self, handler: partial[SimpleHTTPRequestHandler] | type[BaseHTTPRequestHandler]) -> None:
        self._server = ThreadingHTTPServer((HOST, 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://{HOST}:{self._server.server_address[1]}"

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class Repository(Served):
    """A Maven repository in a directory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.asked: list[str] = []
        super().__init__(partial(_of_directory(self.asked), directory=str(root)))

    def publish(self, path: str, content: bytes) -> dict[str, str]:
        """Add a file; returns its path with its sum."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        return {path: hashlib.sha256(content).hexdigest()}


class SlowRepository(Served):
    """A repository that sends large files, a byte now and then, until it is closed.

    Attributes:
        asked: set when the first byte of a file was sent.
    """

    def __init__(self) -> None:
        self.asked = threading.Event()
        self._closed = threading.Event()
        super().__init__(_a_byte_now_and_then(self.asked, self._closed))

    def close(self) -> None:
        """Stop sending, and serving."""
        self._closed.set()
        super().close()


def _of_directory(asked: list[str]) -> type[SimpleHTTPRequestHandler]:
    class Handler(SimpleHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name upstream
            asked.append(self.path)

    return Handler


def _a_byte_now_and_then(asked: threading.Event, closed: threading.Event) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "1000000")
            self.end_headers()
            try:
                while not closed.wait(0.05):
                    self.wfile.write(b"x")
                    asked.set()
            except OSError:
                self.close_connection = True  # the other side has left

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name upstream
            pass

    return Handler
