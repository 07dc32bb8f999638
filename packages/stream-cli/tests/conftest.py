"""Modules that tests write to disk and import, as the program does with those of its users."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent

import pytest

APP = """
    import json
    from types import SimpleNamespace

    class Worker:
        def __init__(self, app, options):
            self.app, self.options = app, options

        def execute_from_commandline(self):
            seen = {name: str(value) for name, value in vars(self.app.conf).items()}
            print(json.dumps({"options": self.options, "conf": seen}))
            return self.app.exit_code

    class App:
        def __init__(self, id, exit_code=0):
            self.id, self.exit_code = id, exit_code
            self.conf = SimpleNamespace(
                broker=["kafka://joe:secret@a:9092", "kafka://b:9092"], store="memory://", processing_guarantee="at_least_once",
                datadir="bank-data", web_enabled=True, web_port=6066, web_bind="127.0.0.1",
                web_transport="tcp://", web_ssl_context=None, values={},
            )
            self.agents, self.tables, self.topics, self.commands = {}, {}, {}, {}

        def finalize(self):
            self.conf.final = True

        def worker(self, **options):
            return Worker(self, options)
"""


@pytest.fixture
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty current directory; what is imported from it is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    path, modules = list(sys.path), set(sys.modules)
    yield tmp_path
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


@pytest.fixture
def write(workdir: Path) -> Callable[..., Path]:
    """Write a module to the current directory: ``write("bank", 'app = App("bank")')``; a class ``App`` is defined in it."""

    def write(name: str, body: str, prelude: str = APP) -> Path:
        file = workdir.joinpath(*name.split(".")).with_suffix(".py")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(dedent(prelude) + dedent(body))
        return file

    return write
