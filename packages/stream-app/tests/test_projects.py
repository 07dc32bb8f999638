"""Commands about a project: the beginning of one, its graph, and what it keeps on this machine."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import stream_app as faust
from stream_app.running.instances import Instance
from stream_cli.main import cli


def run(app: faust.App | None, *arguments: str, input: str | None = None) -> Result:  # noqa: A002 - as click has it
    """Run the program of an app."""
    return CliRunner().invoke(cli, arguments, obj=app, input=input)


# -- new


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def python(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a directory, on a broker in its process."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=directory,
        env=environment | {"BROKER_URL": "memory://", "COLUMNS": "100"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_new_project_works(here: Path) -> None:
    """Its program has the command, and its tests pass; what a type checker says of it is asked in an environment from wheels."""
    written = run(None, "new", "my-shop")
    assert written.exit_code == 0
    assert "my-shop/README.md says what to type next." in written.output
    project = here / "my-shop"
    listed = python(project, "-m", "my_shop", "agents", "--json")
    assert json.loads(listed.stdout)[0]["topic"] == "visits"
    sent = python(project, "-m", "my_shop", "visit", "/home", "joe")
    assert (sent.returncode, sent.stdout) == (0, "joe has visited /home\n"), sent.stderr
    tested = python(
        project, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:asyncio", "-p", "no:looptime_plugin"
    )
    assert tested.returncode == 0, tested.stdout


@pytest.mark.parametrize(
    "name", ["Shop", "1shop", "my shop", "class", "json", "stream_app", "faust", "../shop", "shop-"]
)
def test_a_name_that_can_be_no_package(here: Path, name: str) -> None:
    """It is refused before anything is written."""
    result = run(None, "new", name)
    assert result.exit_code == 2
    assert list(here.iterdir()) == []


def test_a_new_project_overwrites_nothing(here: Path) -> None:
    """A file that exists is named, and nothing is written; what is not in the way stays."""
    (here / "shop").mkdir()
    (here / "shop" / "notes.txt").write_text("mine")
    (here / "shop" / "README.md").write_text("mine")
    result = run(None, "new", "shop")
    assert result.exit_code == 1
    assert "shop/README.md exists, and nothing is overwritten" in result.stderr
    assert sorted(path.name for path in (here / "shop").iterdir()) == ["README.md", "notes.txt"]
    files = json.loads(run(None, "new", "shop", "--directory", "other", "--json").stdout)
    assert {"file": "other/shop/app.py"} in files


# -- graph


def graphed() -> faust.App:
    """An app with topics, a channel, a table, sinks and dead letters."""
    app = faust.App("bank", broker="memory://graph")
    deposits, large = app.topic("deposits"), app.topic("large")
    app.Table("totals", default=int)

    @app.agent(large, name="bank.report")
    async def report(stream: Any) -> None: ...

    @app.agent(deposits, name="bank.count", sink=[large, print, report], on_failure="dead_letter")
    async def count(stream: Any) -> Any:
        async for value in stream:
            yield value

    @app.agent(app.channel(), name="bank.inner")
    async def inner(stream: Any) -> None: ...

    return app


def test_what_flows_where() -> None:
    """One line for each way that something goes, which JSON has too."""
    app = graphed()
    lines = run(app, "graph").stdout.splitlines()
    assert {
        "topic deposits -> agent @count",
        "agent @count -> topic large  (sink)",
        "agent @count -> function print  (sink)",
        "agent @count -> agent @report  (sink)",
        "agent @count -> topic bank-dead-letter  (what fails)",
        "topic large -> agent @report",
        "table totals -> topic bank-totals-changelog  (changes)",
    } < set(lines)
    edges = json.loads(run(app, "graph", "--json").stdout)
    assert len(edges) == len(lines)
    assert {
        "from": {"kind": "topic", "name": "deposits"},
        "to": {"kind": "agent", "name": "@count"},
        "label": "",
    } in edges


def test_a_graph_for_documents() -> None:
    """Mermaid has each thing once, in a shape of its kind."""
    lines = run(graphed(), "graph", "--format", "mermaid").stdout.splitlines()
    assert lines[0] == "flowchart LR"
    assert sum('[("deposits")]' in line for line in lines) == 1
    assert sum('["@count"]' in line for line in lines) == 1
    assert any("-- sink -->" in line for line in lines)


# -- reset and clean-versions


@pytest.fixture
def app(tmp_path: Path) -> faust.App:
    """An app of version 3, with stores of this version and directories of others."""
    for name in (
        "v1/tables/old-0.db",
        "v2",
        "v4",
        "version",
        "v3/tables/totals-0.db",
        "v3/clusters/abc/tables/totals-0.db",
    ):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "v3" / "instances" / "0" / "tables").mkdir(parents=True)
    (tmp_path / "v3" / "instances" / "0" / "id").write_text("id")
    return faust.App("bank", version=3, datadir=tmp_path, store="rocksdb://")


def test_stores_are_deleted(app: faust.App, tmp_path: Path) -> None:
    """Those of all clusters and instances, after a question; identities of workers and other versions stay."""
    stores = [tmp_path / "v3" / part for part in ("clusters/abc/tables", "instances/0/tables", "tables")]
    planned = run(app, "reset", "--dry-run", "--json")
    assert json.loads(planned.stdout) == [{"directory": str(path)} for path in stores]
    refused = run(app, "reset", input="n\n")
    assert refused.exit_code == 1
    assert "Delete these 3 stores of tables?" in refused.stderr
    assert all(path.exists() for path in stores)

    assert run(app, "reset", input="y\n").exit_code == 0
    assert not any(path.exists() for path in stores)
    assert (tmp_path / "v3" / "instances" / "0" / "id").exists()
    assert (tmp_path / "v1" / "tables").exists()
    again = run(app, "reset", "--yes")
    assert (again.exit_code, again.stdout, again.stderr) == (0, "", "There is nothing to do.\n")


def test_old_versions_are_deleted(app: faust.App, tmp_path: Path) -> None:
    """The directories of versions before this one, and no others; their locks stay, for whoever starts such a version again."""
    assert run(app, "clean-versions", "--yes").exit_code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["v3", "v4", "version"]


@pytest.mark.parametrize(("command", "version"), [("reset", "v3"), ("clean-versions", "v2")])
def test_nothing_is_deleted_under_a_worker(app: faust.App, tmp_path: Path, command: str, version: str) -> None:
    """While a worker runs with the directory, the command says so and ends with 1."""
    worker = Instance.acquire(tmp_path / version)
    try:
        result = run(app, command, "--yes")
    finally:
        worker.release()
    assert (result.exit_code, result.stdout) == (1, "")
    said = f"a worker of bank-v3 runs with the directory {tmp_path / version}: stop it first; nothing was deleted"
    assert said in result.stderr
    assert (tmp_path / "v3" / "tables").exists()
    assert (tmp_path / "v2").exists()


@pytest.mark.parametrize(("command", "version"), [("reset", "v3"), ("clean-versions", "v2")])
def test_a_worker_that_starts_while_the_question_waits(
    app: faust.App, tmp_path: Path, command: str, version: str
) -> None:
    """It starts, and after the answer nothing is deleted under it."""
    started: list[Instance] = []

    class Answer(io.BytesIO):
        """A yes, before which a worker starts."""

        def read1(self, size: int | None = -1) -> bytes:
            started.append(Instance.acquire(tmp_path / version))
            return super().read1(size)

    result = CliRunner().invoke(cli, [command], obj=app, input=Answer(b"y\n"))
    (worker,) = started
    worker.release()
    assert result.exit_code == 1
    assert "Delete these" in result.stderr
    assert f"runs with the directory {tmp_path / version}: stop it first; nothing was deleted" in result.stderr
    assert (tmp_path / "v3" / "tables").exists()
    assert (tmp_path / "v2").exists()


def test_stores_in_a_directory_of_their_own(tmp_path: Path) -> None:
    """An absolute ``tabledir`` loses its stores, and nothing else that is in it."""
    place = tmp_path / "stores"
    for name in ("totals-0.db", "clusters", "photos"):
        (place / name).mkdir(parents=True)
    app = faust.App("bank", datadir=tmp_path / "data", tabledir=place, store="rocksdb://")
    assert run(app, "reset", "--yes").exit_code == 0
    assert sorted(path.name for path in place.iterdir()) == ["clusters", "photos"]


def test_what_cannot_be_deleted_is_said(app: faust.App, tmp_path: Path) -> None:
    """A link is not a directory of ours."""
    (tmp_path / "v2").rmdir()
    (tmp_path / "v2").symlink_to(tmp_path / "v4")
    result = run(app, "clean-versions", "--yes")
    assert result.exit_code == 1
    assert f"{tmp_path / 'v2'} cannot be deleted" in result.stderr
    assert (tmp_path / "v4").exists()
