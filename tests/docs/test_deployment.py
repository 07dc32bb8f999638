"""What the page on deployment gives to copy fits the program: commands, variables, probes, ports, and the time for a stop."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import yaml

import stream_app as faust
from stream_core import EngineSettings

from .pages import read_blocks
from .test_pages import wrong

PAGE = Path(__file__).parents[2] / "docs" / "deployment.md"
BLOCKS = {block.language: block.text for block in read_blocks(PAGE)}
ENVIRONMENT = {row.env for row in faust.App("shop", broker="memory://").conf.describe()}


def manifest() -> Any:
    """The manifest for Kubernetes, and its container."""
    spec = yaml.safe_load(BLOCKS["yaml"])["spec"]["template"]["spec"]
    return spec, spec["containers"][0]


def test_commands_run() -> None:
    """The commands of the container and of the service are commands of ``stream``."""
    (command,) = re.findall(r"^CMD (.*)$", BLOCKS["dockerfile"], re.MULTILINE)
    (start,) = re.findall(r"^ExecStart=\S+/(stream .*)$", BLOCKS["ini"], re.MULTILINE)
    for line in shlex.join(json.loads(command)), start:
        assert line.startswith("stream -A bank worker")
        assert wrong(line) is None


def test_variables_exist() -> None:
    """Each variable is that of a setting, or of Python and the shell."""
    used = set(re.findall(r"\b([A-Z]+(?:_[A-Z]+)+)=", BLOCKS["dockerfile"] + BLOCKS["ini"]))
    used |= {one["name"] for one in manifest()[1]["env"]}
    used |= {
        name
        for row in re.findall(r"^\| `[a-z].*?\| (`[A-Z].*?) \|", PAGE.read_text(), re.MULTILINE)
        for name in re.findall("[A-Z_]+", row)
    }
    assert {"APP_DATADIR", "BROKER_URL", "WEB_BIND", "TOPIC_REPLICATION_FACTOR"} <= used
    assert used - ENVIRONMENT <= {"PYTHONUNBUFFERED"}


def test_probes_ask_the_web_server() -> None:
    """Probes ask the port of the web server, for pages that it has."""
    _, container = manifest()
    (port,) = container["ports"]
    assert port["containerPort"] == faust.App("shop", broker="memory://").conf.web_port
    for probe, page in ("livenessProbe", "live"), ("readinessProbe", "ready"):
        assert container[probe]["httpGet"] == {"path": f"/health/{page}", "port": port["name"]}


def test_a_stop_has_time() -> None:
    """Whoever kills waits for longer than a stop takes."""
    spec, _ = manifest()
    (systemd,) = re.findall(r"^TimeoutStopSec=(\d+)$", BLOCKS["ini"], re.MULTILINE)
    assert min(spec["terminationGracePeriodSeconds"], int(systemd)) > EngineSettings("shop").stop_timeout
