"""Run the broker as a child process: start, clean stop, and the faults that tests need."""

from __future__ import annotations

import base64
import os
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from stream_core.errors import BrokerUnavailableError, ConfigurationError
from stream_kafka.broker.artifacts import KAFKA_VERSION, WITHOUT_USERS, cache_dir, jars, pinned
from stream_kafka.broker.directory import DataDirectory, absolute, usable
from stream_kafka.broker.fencing import fence, session_of_killed, waits_for_session
from stream_kafka.broker.java import class_cache, find_java
from stream_kafka.broker.ports import HOST, free_port, is_free
from stream_kafka.broker.progress import Say, silent
from stream_kafka.broker.properties import render, server_properties

__all__ = ["FAST_START", "Broker"]

FAST_START = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
"""JVM options that start soonest and take least memory; for sustained load give others."""

_READY = b"Kafka Server started"
_POLL = 0.05
_TAIL = 1 << 20
"""Bytes of the log in which the lines are looked for that tell what went wrong."""

_TEMPORARY = "stream-dev-broker-tmpA"
"""The cluster id of all brokers whose data is temporary: sixteen bytes in base64, as Kafka has them.

Workers keep their state by the id of the cluster. With another id for each such broker they would leave a directory behind with every
one; so they find that of the last broker, and see by the ids of its topics that it is of no use.
"""

_ARGUMENTS = "format.arguments"
_SCRAM = ("SCRAM-SHA-256", "SCRAM-SHA-512")
_LOG_OPTIONS = (
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSZ",
)


class Broker:
    """Apache Kafka, one node, as a child process that listens on the loopback interface.

    It is also a context manager: started on entry, stopped on exit.

    Args:
        port: the port for clients; 0 takes a free one, and keeps it over restarts.
        data_dir: the directory for topics, configuration and log; created when missing, and continued when it has data. Without
            it a temporary one is used, that :meth:`stop` removes.
        heap: the most memory for the Java heap, as the JVM writes sizes (``512m``, ``2g``).
        version: of Kafka, one of :data:`stream_kafka.broker.VERSIONS`. A directory goes on with its version or a newer one.
        properties: broker properties that replace or add to ours, in Kafka's names.
        listeners: ports of further listeners by their names, such as ``{"SASL_SSL": 9093}``; the properties say the rest about them.
        users: passwords of users that may log in by SCRAM; they are created with the data directory. For tests: whoever can read
            the directory can read what log-ins need.
        jvm_options: further options of the JVM.
        say: is told one line about each step that takes time.

    Attributes:
        port: the port for clients.
        version: of Kafka.
        properties: what was given; changes take effect at the next start.

    Raises:
        ConfigurationError: the version is not one that can be run, or it cannot create users; or the path of the data directory is one
            that Kafka cannot have.
    """

    def __init__(
        self,
        port: int = 9092,
        data_dir: Path | None = None,
        *,
        heap: str = "512m",
        version: str = KAFKA_VERSION,
        properties: Mapping[str, str] | None = None,
        listeners: Mapping[str, int] | None = None,
        users: Mapping[str, str] | None = None,
        jvm_options: Sequence[str] = FAST_START,
        say: Say = silent,
    ) -> None:
        self.port = port or free_port((listeners or {}).values())
        self.version = version
        self._pins = pinned(version)
        self.properties = dict(properties or {})
        self._listeners = dict(listeners or {})
        self._users = dict(users or {})
        if users and version == WITHOUT_USERS:
            message = f"Kafka {version} cannot create users with a data directory (KIP-900): choose a newer version"
            raise ConfigurationError(message)
        self._given_dir = absolute(data_dir) if data_dir else None
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._jvm_options = (f"-Xmx{heap}", *jvm_options)
        self._say = say
        self._process: subprocess.Popen[bytes] | None = None
        self._directory: DataDirectory | None = None
        self._starter = os.getpid()

    @property
    def address(self) -> str:
        """What clients connect to, ``host:port``."""
        return f"{HOST}:{self.port}"

    @property
    def data_dir(self) -> Path:
        """The directory for topics, configuration and log.

        A temporary one exists from the start to the stop only; before and after ConfigurationError is raised.
        """
        if self._given_dir:
            return self._given_dir
        if self._temporary is None:
            raise ConfigurationError("a broker without data_dir has a directory only from start() to stop()")
        return Path(self._temporary.name)

    @property
    def log(self) -> Path:
        """The file that has the broker's log since its last start."""
        return self.data_dir / "server.log"

    @property
    def pid(self) -> int:
        """The process id; raises ConfigurationError when the broker does not run."""
        return self._running().pid

    @property
    def is_running(self) -> bool:
        """Whether the process runs (a paused one does)."""
        return self._process is not None and self._process.poll() is None

    def start(self, timeout: float = 120.0) -> None:
        """Start, and return when clients can connect; does nothing when it runs already. A download is not part of the timeout.

        The broker ends when this process does, however that ends.

        Args:
            timeout: seconds until the broker must be ready.

        Raises:
            BrokerUnavailableError: it ended or was not ready in time (with the last lines of its log), or its files could
                not be fetched.
            ConfigurationError: the port or the data directory is in use, or one of them or the cache cannot be used.
            MissingPackageError: there is no Java, or nothing to fetch the files with.
        """
        if self.is_running:
            return
        self._starter = os.getpid()
        self._leave()
        if self._given_dir:
            DataDirectory.refuse_used(self._given_dir)  # before the port: this names the process
        self._require_port()
        command = self._java_command()
        directory = self._directory = DataDirectory(self._require_dir())
        deadline = time.monotonic() + timeout
        try:
            topics = self.data_dir / "topics"
            new = not (topics / "meta.properties").exists()
            killed = not (new or (topics / ".kafka_cleanshutdown").exists())
            properties = self._properties(killed=killed)
            config = directory.write("server.properties", render(properties))
            if new:
                self._format(command, config, timeout)
            elif killed and not waits_for_session(self.version):
                fence(command, directory, properties, deadline)
            self._process = directory.start([*command, "kafka.Kafka", str(config)], self.log)
            self._await_ready(deadline)
        except BaseException:
            self.kill()
            raise

    def stop(self, timeout: float = 20.0) -> None:
        """Stop cleanly (the log is flushed and the next start recovers nothing), and remove a temporary data directory.

        A broker that has not ended after ``timeout`` seconds is killed. Does nothing when it does not run, nor in a process that was
        forked: there the broker is its parent's.
        """
        if os.getpid() != self._starter:
            return
        if self._process is not None and self.is_running:
            self._process.send_signal(signal.SIGCONT)  # a paused process does not see any other signal
            self._process.terminate()
            try:
                self._process.wait(timeout)
            except subprocess.TimeoutExpired:
                self.kill()
        self._process = None
        self._leave()
        if self._temporary is not None:
            self._temporary.cleanup()
            self._temporary = None

    def kill(self) -> None:
        """End the process as ``kill -9`` does; data and port stay, and :meth:`start` goes on with them.

        Does nothing in a process that was forked.
        """
        if os.getpid() != self._starter:
            return
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        self._leave()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait up to ``timeout`` seconds, or without end, until the process ends by itself; return whether it has."""
        try:
            self._running().wait(timeout)
        except subprocess.TimeoutExpired:
            return False
        return True

    def pause(self) -> None:
        """Stop the process in its tracks (SIGSTOP): when this returns connections stay open and nothing answers."""
        process = self._running()
        process.send_signal(signal.SIGSTOP)
        if hasattr(os, "waitid"):  # not on macOS before Python 3.13
            # A signal that was sent is not taken yet: a busy process may answer for a while.
            os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def resume(self) -> None:
        """Let a paused process go on."""
        self._running().send_signal(signal.SIGCONT)

    def last_lines(self, count: int = 15) -> str:
        """Return a sentence with the ``count`` last lines of the log that tell what went wrong, or one that says why there are none."""
        try:
            with self.log.open("rb") as log:
                log.seek(max(0, self.log.stat().st_size - _TAIL))
                # A file that lost its end in a crash is filled up with zero bytes.
                text = log.read().replace(b"\0", b"").decode(errors="replace")
        except OSError as error:  # somebody removed the directory, which ends Kafka
            return f"its log {self.log} cannot be read: {error.strerror}"
        lines = text.splitlines()
        telling = [line for line in lines if "ERROR" in line or "FATAL" in line or "Exception" in line] or lines
        return f"its log {self.log} says:\n" + "\n".join(telling[-count:])

    def __enter__(self) -> Broker:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise ConfigurationError(f"the broker at {self.address} does not run: call start()")
        return self._process

    def _require_port(self) -> None:
        if not is_free(self.port):
            message = f"port {self.port} of {HOST} is in use: stop the server that listens there, or choose another with --port"
            raise ConfigurationError(message)

    def _java_command(self) -> list[str]:
        java, class_path = find_java(), jars(say=self._say, pins=self._pins, version=self.version)
        prepared = class_cache(java, cache_dir(self.version))
        options = [f"-XX:AOTCache={prepared}"] if prepared and prepared.exists() else []
        return [str(java), *options, *self._jvm_options, *_LOG_OPTIONS, "-cp", os.pathsep.join(map(str, class_path))]

    def _require_dir(self) -> Path:
        if self._given_dir is None and self._temporary is None:
            try:
                self._temporary = tempfile.TemporaryDirectory(prefix="stream-broker-")
            except OSError as error:
                message = (
                    f"there is no temporary directory for the data: {error.strerror}. "
                    "Name a place for it in TMPDIR, or a directory with --data-dir"
                )
                raise ConfigurationError(message) from error
        return self.data_dir

    def _leave(self) -> None:
        if self._directory is not None:
            self._directory.leave()
            self._directory = None

    def _properties(self, *, killed: bool) -> dict[str, str]:
        own = session_of_killed(self.version) if killed else {}
        controller = free_port((self.port, *self._listeners.values()))  # nobody listens there yet
        return server_properties(
            self.port, controller, self.data_dir / "topics", {**own, **self.properties}, self._listeners
        )

    def _format(self, command: Sequence[str], config: Path, timeout: float) -> None:
        assert self._directory is not None
        self._say(f"Preparing {self.data_dir}")
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=") if self._given_dir else _TEMPORARY
        arguments = ["format", f"--cluster-id={cluster}", "--config", str(config)]
        if self._users:
            arguments = [f"@{self._with_users(arguments)}"]
        log = self.data_dir / "format.log"
        try:
            process = self._directory.start([*command, "kafka.tools.StorageTool", *arguments], log)
            try:
                code = process.wait(timeout)
            except BaseException:
                process.kill()
                process.wait()
                raise
            with usable(self.data_dir):
                said = log.read_text(errors="replace")
        except subprocess.TimeoutExpired:
            message = f"the data directory {self.data_dir} could not be prepared within {timeout:.0f} s"
            raise BrokerUnavailableError(message) from None
        finally:
            (self.data_dir / _ARGUMENTS).unlink(missing_ok=True)
            log.unlink(missing_ok=True)
        if code:
            for password in self._users.values():
                said = said.replace(password, "***")
            raise BrokerUnavailableError(f"the data directory {self.data_dir} could not be prepared:\n{said}")

    def _with_users(self, arguments: Sequence[str]) -> Path:
        """Write the arguments and the users into a file, one a line: everybody on the machine can read the arguments of a process."""
        assert self._directory is not None
        users = [
            f"--add-scram\n{mechanism}=[name={name},password={password}]"
            for mechanism in _SCRAM
            for name, password in self._users.items()
        ]
        return self._directory.write(_ARGUMENTS, "".join(f"{argument}\n" for argument in (*arguments, *users)))

    def _await_ready(self, deadline: float) -> None:
        while not self._is_ready():
            if self.wait(_POLL):
                raise BrokerUnavailableError(f"Kafka {self.version} ended while it started; {self.last_lines()}")
            if time.monotonic() > deadline:
                raise BrokerUnavailableError(f"Kafka {self.version} was not ready in time; {self.last_lines()}")

    def _is_ready(self) -> bool:
        with usable(self.data_dir):
            return _READY in self.log.read_bytes()
