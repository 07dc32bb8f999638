"""What there is to copy for a deployment fits the program: commands, variables, probes, ports, volumes, and the time for a stop.

Nothing is built or applied here: that needs Docker and a cluster.
"""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import yaml

import stream_app as faust
from stream_core import EngineSettings
from stream_kafka.broker import VERSIONS

from .test_pages import wrong

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "deployment.md"
IMAGE = (ROOT / "deploy" / "Dockerfile").read_text()
UNIT = (ROOT / "deploy" / "systemd" / "bank@.service").read_text()
OBJECTS = {one["kind"]: one for one in yaml.safe_load_all((ROOT / "deploy" / "kubernetes" / "bank.yaml").read_text())}
CONF = faust.App("shop", broker="memory://").conf
SETTINGS = {row.name: row.env for row in CONF.describe()}


def manifest() -> Any:
    """The pods of the manifest for Kubernetes, and their container."""
    spec = OBJECTS["StatefulSet"]["spec"]["template"]["spec"]
    return spec, spec["containers"][0]


def test_the_pages_show_the_files() -> None:
    """Each file of the directory is on the page; those that watch are named on the page on monitoring."""
    shown = re.findall(r"^```\{literalinclude\} \.\./(deploy/\S+)$", PAGE.read_text(), re.MULTILINE)
    watching = re.findall(
        r"`((?:grafana|prometheus)-\S+?\.(?:json|yml))`", (ROOT / "docs" / "monitoring.md").read_text()
    )
    files = {path.relative_to(ROOT).as_posix() for path in (ROOT / "deploy").rglob("*") if path.is_file()}
    assert files == {*shown, *(f"deploy/{name}" for name in watching)}


def test_commands_run() -> None:
    """The commands of the container and of the service are commands of ``stream``."""
    (command,) = re.findall(r"^CMD (.*)$", IMAGE, re.MULTILINE)
    (start,) = re.findall(r"^ExecStart=\S+/(stream .*)$", UNIT, re.MULTILINE)
    for line in shlex.join(json.loads(command)), start:
        assert line.startswith("stream -A bank worker")
        assert wrong(line) is None


def test_variables_exist() -> None:
    """Each variable is that of a setting, or of Python, uv and the shell."""
    used = set(re.findall(r"\b([A-Z]+(?:_[A-Z]+)+)=", IMAGE + UNIT))
    used |= {one["name"] for one in manifest()[1]["env"]}
    used |= {
        name
        for row in re.findall(r"^\| `[a-z].*?\| (`[A-Z].*?) \|", PAGE.read_text(), re.MULTILINE)
        for name in re.findall("[A-Z_]+", row)
    }
    assert {"APP_DATADIR", "BROKER_URL", "WEB_BIND", "TOPIC_REPLICATION_FACTOR"} <= used
    assert used - set(SETTINGS.values()) <= {"PYTHONUNBUFFERED", "UV_PYTHON_DOWNLOADS"}


def test_probes_ask_the_web_server() -> None:
    """Probes ask the port of the web server, for pages that it has."""
    _, container = manifest()
    (port,) = container["ports"]
    assert port["containerPort"] == CONF.web_port
    assert f"EXPOSE {CONF.web_port}" in IMAGE
    assert f":{CONF.web_port}/health/live" in IMAGE
    (named,) = OBJECTS["Service"]["spec"]["ports"]
    assert (named["port"], named["targetPort"]) == (CONF.web_port, port["name"])
    for probe, page in ("livenessProbe", "live"), ("readinessProbe", "ready"):
        assert container[probe]["httpGet"] == {"path": f"/health/{page}", "port": port["name"]}


def test_a_stop_has_time() -> None:
    """Whoever kills waits for longer than a stop takes."""
    spec, _ = manifest()
    (systemd,) = re.findall(r"^TimeoutStopSec=(\d+)$", UNIT, re.MULTILINE)
    assert min(spec["terminationGracePeriodSeconds"], int(systemd)) > EngineSettings("shop").stop_timeout


def test_tables_are_on_the_volume() -> None:
    """The data directory of the image is what the manifest mounts, and belongs to the user that the worker runs as."""
    spec, container = manifest()
    (mounted,) = container["volumeMounts"]
    (claim,) = OBJECTS["StatefulSet"]["spec"]["volumeClaimTemplates"]
    assert mounted["name"] == claim["metadata"]["name"]
    assert f"APP_DATADIR={mounted['mountPath']} " in IMAGE
    assert f"VOLUME {mounted['mountPath']}" in IMAGE
    user = spec["securityContext"]["runAsUser"]
    assert f"--uid {user} " in IMAGE
    assert f"USER {user}" in IMAGE
    (state,) = re.findall(r"^StateDirectory=(.*)$", UNIT, re.MULTILINE)
    assert f"APP_DATADIR=/var/lib/{state}" in UNIT


def test_objects_mean_the_same_pods() -> None:
    """The budget and the service select the pods of the workers, and the service is the one that they ask for."""
    workers = OBJECTS["StatefulSet"]["spec"]
    labels = workers["template"]["metadata"]["labels"]
    assert workers["selector"]["matchLabels"] == labels
    assert OBJECTS["Service"]["spec"]["selector"] == labels
    assert OBJECTS["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    assert OBJECTS["Service"]["metadata"]["name"] == workers["serviceName"]


def test_what_costs_something_is_a_setting() -> None:
    """The first column of the table of costs names settings."""
    _, _, costs = PAGE.read_text().partition("## What settings cost\n")
    named = re.findall(r"^\| (`.*?) \|", costs.partition("\n## ")[0], re.MULTILINE)
    names = {name for cell in named for name in re.findall(r"`(\w+)", cell)}
    assert {"store", "broker_commit_interval", "topic_replication_factor"} <= names
    assert names <= SETTINGS.keys()


def test_brokers_of_the_table_can_be_run() -> None:
    """The page has a row for each Kafka that ``stream broker`` runs."""
    _, _, brokers = PAGE.read_text().partition("## Which brokers\n")
    assert tuple(re.findall(r"^\| Kafka ([\d.]+) \|", brokers, re.MULTILINE)) == VERSIONS
