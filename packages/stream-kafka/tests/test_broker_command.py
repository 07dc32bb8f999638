"""``stream broker`` before it starts anything: arguments and refusals."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from stream_core.errors import ConfigurationError
from stream_core.testing.clock import ManualClock
from stream_kafka.broker import Broker
from stream_kafka.broker.command import _signals_raise, _stop, _StopError, broker
from stream_kafka.broker.maven import REPOSITORY
from stream_kafka.broker.ports import HOST, free_port

from .repository import SlowRepository

PROGRAM = "from stream_kafka.broker.command import broker; broker()"

WITHOUT_TEMPORARY = """
import resource
from stream_core.errors import ConfigurationError
from stream_kafka.broker import Broker
resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))  # Python takes no directory where it cannot write a file
try:
    Broker(port=0)._require_dir()
except ConfigurationError as error:
    raise SystemExit(str(error))
"""


def test_busy_port_names_the_port_and_the_option(tmp_path: Path) -> None:
    """Nothing is started on a port that somebody has, and the data directory is left alone."""
    port = free_port()
    with socket.create_server((HOST, port)):
        result = CliRunner().invoke(broker, ["--port", str(port), "--data-dir", str(tmp_path / "data")])
    assert result.exit_code == 1
    assert f"port {port} of 127.0.0.1 is in use" in result.stderr
    assert "--port" in result.stderr
    assert not (tmp_path / "data").exists()


def test_signal_handlers_are_given_back(tmp_path: Path) -> None:
    """The command leaves the handlers of its process as they were."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    with socket.create_server((HOST, 0)) as server:
        CliRunner().invoke(broker, ["--port", str(server.getsockname()[1])])
    assert {number: signal.getsignal(number) for number in before} == before


def test_a_hang_up_that_is_ignored_stays_ignored() -> None:
    """``nohup stream broker`` outlives its terminal."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with _signals_raise():
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            signal.raise_signal(signal.SIGHUP)
            with pytest.raises(_StopError):
                signal.raise_signal(signal.SIGTERM)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        with _signals_raise(), pytest.raises(_StopError):
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_signal_ends_a_download(tmp_path: Path) -> None:
    """The command ends although the repository goes on sending, and leaves nothing behind."""
    slow = SlowRepository()
    command = [sys.executable, "-c", PROGRAM, "--port", "0"]
    environ = {**os.environ, REPOSITORY: slow.url, "XDG_CACHE_HOME": str(tmp_path), "NO_PROXY": "*"}
    try:
        with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert slow.asked.wait(60)
                process.send_signal(signal.SIGINT)
                printed, _ = process.communicate(timeout=30)
            finally:
                process.kill()
    finally:
        slow.close()
    assert (process.returncode, printed.splitlines()[-1]) == (0, "Stopping")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_second_signal_is_heard() -> None:
    """It raises once more, unless it comes with the first one; a third one changes nothing."""
    clock = ManualClock()
    with _signals_raise(clock):
        with pytest.raises(_StopError):
            signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
        clock.advance(1.1)
        with pytest.raises(_StopError):
            signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)


def test_a_second_signal_cuts_the_stop_short(tmp_path: Path) -> None:
    """A Kafka that takes its time is killed, and what the stop removes is removed."""

    class Slow(Broker):
        done: tuple[str, ...] = ()

        def stop(self, timeout: float = 20.0) -> None:
            self.done += ("stop",)
            if self.done == ("stop",):
                raise _StopError

        def kill(self) -> None:
            self.done += ("kill",)

    server = Slow(port=0, data_dir=tmp_path)
    _stop(server)
    assert server.done == ("stop", "kill", "stop")


@pytest.mark.parametrize("text", ["auto.create.topics.enable", "=true"])
def test_property_without_name_or_value(text: str) -> None:
    """A property that is not NAME=VALUE is refused."""
    result = CliRunner().invoke(broker, ["--property", text])
    assert result.exit_code == 2
    assert "is not NAME=VALUE" in result.stderr


def test_broker_that_does_not_run() -> None:
    """What needs the process says that there is none; stopping and killing do nothing."""
    server = Broker(port=0)
    assert not server.is_running
    for act in (server.pause, server.resume, server.wait):
        with pytest.raises(ConfigurationError, match="does not run"):
            act()
    server.kill()
    server.stop()
    with pytest.raises(ConfigurationError, match=r"from start\(\) to stop\(\)"):
        _ = server.data_dir


def test_a_version_without_users(tmp_path: Path) -> None:
    """Users are refused where they cannot be created, before anything is written."""
    with pytest.raises(ConfigurationError, match=r"Kafka 3\.3\.2 cannot create users .*: choose a newer version"):
        Broker(port=0, data_dir=tmp_path / "data", version="3.3.2", users={"ann": "secret"})
    assert not (tmp_path / "data").exists()


def test_last_lines_are_text(tmp_path: Path) -> None:
    """A log whose end was lost is filled with zero bytes, and may be large: neither is shown."""
    (tmp_path / "server.log").write_bytes(b"INFO at first\n" * 200_000 + b"\0" * 300_000 + b"ERROR what went wrong\n")
    said = Broker(port=0, data_dir=tmp_path).last_lines(2)
    assert said == f"its log {tmp_path / 'server.log'} says:\nERROR what went wrong"


def test_last_lines_of_a_log_that_is_gone(tmp_path: Path) -> None:
    """Whoever removes the directory of a running Kafka ends it, and hears so."""
    server = Broker(port=0, data_dir=tmp_path / "gone")
    assert (
        server.last_lines() == f"its log {tmp_path / 'gone' / 'server.log'} cannot be read: No such file or directory"
    )
    with pytest.raises(ConfigurationError, match=f"{tmp_path / 'gone'} cannot be used: No such file"):
        server._is_ready()


def test_no_temporary_directory(tmp_path: Path) -> None:
    """The error names the variable and the option."""
    command = [sys.executable, "-c", WITHOUT_TEMPORARY]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert re.search(r"^there is no temporary directory .* TMPDIR, .* --data-dir", done.stderr)


def test_property_that_is_no_text() -> None:
    """Bytes that are no text are refused before anything is made."""
    result = CliRunner().invoke(broker, ["--property", "a=\udcff"])
    assert result.exit_code == 2
    assert "no text" in result.stderr
