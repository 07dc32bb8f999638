"""The documentation as HTML: it builds, nothing in it leads nowhere, and the API reference has what programs use and nothing else."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sphinx.util.inventory import InventoryFile

import stream_app
from stream_app.testing import AgentTest
from stream_core import Engine
from stream_core.absent import NotHere
from stream_core.agents.replies import ReplyPromise
from stream_kafka import KafkaTransport

DOCS = Path(__file__).parents[2] / "docs"

pytestmark = pytest.mark.timeout(1800)

LIMIT = 1700
"""Seconds for a build. It takes 45 of CPU time, and may have a small share of a machine that does other work."""

ALIASES = {"ChannelT", "EventT", "Model", "ServiceT", "StreamT", "TopicT", "Request", "Response", "StreamResponse"}
"""Other names, for annotations, of what is described under its own; and names of aiohttp."""


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built documentation; a warning of the build is an error."""
    directory = tmp_path_factory.mktemp("docs")
    command = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "--quiet"]
    done = subprocess.run(
        [*command, "-d", str(directory / "doctrees"), str(DOCS), str(directory / "html")],
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return directory / "html"


@pytest.fixture(scope="module")
def described(html: Path) -> set[str]:
    """The full names of all that the API reference describes."""
    inventory = InventoryFile.loads((html / "objects.inv").read_bytes(), uri="")
    return {item for kind, items in inventory.data.items() if kind.startswith("py:") for item in items}


def test_the_documentation_builds_without_a_warning(html: Path) -> None:
    """References, links between pages and the docstrings of the API reference are sound."""
    assert (html / "index.html").is_file()


@pytest.mark.parametrize(
    "package", ["stream_app", "stream_core", "stream_kafka", "stream_tables", "stream_web", "stream_cli"]
)
def test_each_public_name_is_described(described: set[str], package: str) -> None:
    """What a package exports is in the reference, under the package or where it is defined."""
    names = {name.rpartition(".")[2] for name in described if name.startswith("stream_")}
    assert set(importlib.import_module(package).__all__) - names - ALIASES == set()


CLASSES = [
    stream_app.App,
    stream_app.Agent,
    stream_app.Channel,
    stream_app.Codec,
    stream_app.Event,
    stream_app.FailurePolicy,
    stream_app.Message,
    stream_app.Record,
    stream_app.SASLCredentials,
    stream_app.SSLCredentials,
    stream_app.Schema,
    stream_app.Service,
    stream_app.Stream,
    stream_app.Table,
    stream_app.Topic,
    stream_app.Worker,
    AgentTest,
    Engine,
    KafkaTransport,
    ReplyPromise,
]


@pytest.mark.parametrize("of", CLASSES, ids=lambda of: of.__name__)
def test_each_member_is_described_or_internal(described: set[str], of: type) -> None:
    """The reference has all public members of a class, inherited ones too, but for those that say that they are internal.

    Members that come from mode or Python are described there.
    """
    public, internal = members(of)
    shown = {name.rpartition(".")[2] for name in described if name.rpartition(".")[0] in homes(of)}
    assert public - shown == set()
    assert internal & shown == set()


def homes(of: type) -> set[str]:
    """The full names under which the members of a class may be described."""
    return {
        f"{module}.{base.__qualname__}"
        for base in of.__mro__
        for module in {base.__module__, base.__module__.partition(".")[0], "stream_app"}
    }


def members(of: type) -> tuple[set[str], set[str]]:
    """The public members of a class that are ours, and those that are internal by their docstring."""
    public: set[str] = set()
    internal: set[str] = set()
    # A name of Faust that is not here has a sentence, and is no attribute.
    for name in filter(partial(hasattr, of), dir(of)):
        owner = next((base for base in of.__mro__ if name in vars(base)), of)
        if name.startswith("_") or not owner.__module__.startswith("stream_") or not is_member(vars(owner).get(name)):
            continue
        (internal if ":meta private:" in (inspect.getdoc(getattr(owner, name)) or "") else public).add(name)
    return public, internal


def is_member(value: Any) -> bool:
    """Tell whether a class does or tells this: it is no constant, no absent name, and no slot, which the text of its class describes."""
    return hasattr(value, "__get__") and not inspect.ismemberdescriptor(value) and not isinstance(value, NotHere)


def test_internal_members_are_found() -> None:
    """The tests above know an internal member from a public one, and an inherited one from one of its own."""
    public, internal = members(stream_app.App)
    assert {"agent", "topic", "Table", "task", "start", "on_configured"} <= public
    assert {"defined", "doubts"} <= internal
    assert "attach" in members(stream_app.Table)[1]
