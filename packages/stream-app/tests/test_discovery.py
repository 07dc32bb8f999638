"""What ``autodiscover`` imports, in which order, and what it says of a module that cannot be imported."""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import stream_app as faust
from stream_app.definitions.discovery import discover
from stream_core.errors import ConfigurationError

from .apps import make

Write = Callable[..., None]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Write modules of a project by their paths, which can be imported until the test ends."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delenv("DJANGO_SETTINGS_MODULE", raising=False)
    before = set(sys.modules)

    def write_all(*empty: str, **sources: str) -> None:
        for name, source in {**dict.fromkeys(empty, ""), **sources}.items():
            path = tmp_path / f"{name.replace('.', '/')}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(source))

    yield write_all
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in ("proj", "corp", "projects"):
            del sys.modules[name]


def test_the_modules_of_the_project(write: Write) -> None:
    """A package comes before what is in it, and modules are sorted; tests and ``__main__`` are never imported."""
    left_out = ["proj.__main__", "proj.test_agents", "proj.conftest", "proj.orders.tests.__init__", "proj.tests.agents"]
    write("proj.__init__", "proj.zoo", "proj.agents", "proj.orders.__init__", "proj.orders.deep.__init__")
    write("proj.orders.deep.agents", **dict.fromkeys(left_out, "raise AssertionError"))
    app = make(origin="proj", autodiscover=True)
    app.finalize()
    assert [name for name in sys.modules if name.partition(".")[0] == "proj"] == [
        "proj",
        "proj.agents",
        "proj.orders",
        "proj.orders.deep",
        "proj.orders.deep.agents",
        "proj.zoo",
    ]


def test_a_list_keeps_its_order(write: Write) -> None:
    """Packages are walked in the order of the list, and a module that is named twice is imported once."""
    write("proj.__init__", "proj.b.__init__", "proj.b.agents", "proj.a")
    assert discover(None, ["proj.b", "proj.a", "proj"]) == ["proj.b", "proj.b.agents", "proj.a", "proj"]
    assert discover(None, lambda: ("proj.a",)) == ["proj.a"]
    assert discover(None, "proj.a") == discover(None, lambda: "proj.a") == ["proj.a"]
    assert discover("proj", False) == []


def test_packages_without_a_file(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A namespace package is walked with all its places, and such packages in it; in others directories without ``__init__`` are not."""
    write(
        "corp.users.agents",
        "corp.orders.__init__",
        "corp.orders.agents",
        "corp.orders.scripts.deploy",
        "corp.web.static.x",
    )
    (tmp_path / "corp" / "data").mkdir()
    (tmp_path / "corp" / "node-parts").mkdir()
    (tmp_path / "corp" / "node-parts" / "build.py").touch()
    (tmp_path / "elsewhere" / "corp").mkdir(parents=True)
    (tmp_path / "elsewhere" / "corp" / "billing.py").touch()
    monkeypatch.syspath_prepend(tmp_path / "elsewhere")
    found = discover("corp", True)
    assert found == [
        "corp",
        "corp.billing",
        "corp.orders",
        "corp.orders.agents",
        "corp.users",
        "corp.users.agents",
        "corp.web",
        "corp.web.static",
        "corp.web.static.x",
    ]


def test_what_is_no_module(write: Write) -> None:
    """A file whose name no import statement can name is a program, and is not run."""
    write("proj.__init__", **{"proj.run-me": "raise AssertionError", "proj.0001_first": "raise AssertionError"})
    assert discover("proj", True) == ["proj"]


class Picky(faust.App):
    """It leaves out what somebody has left behind, and nothing else."""

    SCAN_IGNORE = ("proj.users.old", ".legacy", re.compile("_draft$").search)


def test_patterns_leave_modules_out(write: Write) -> None:
    """A name leaves out a module with all below it, one with a dot that in each package, a function whatever it says."""
    wrong = ["proj.users.old.__init__", "proj.users.old.agents", "proj.legacy", "proj.users.bad_draft"]
    write("proj.__init__", "proj.users.__init__", "proj.users.older", "proj.users.legacy", "proj.test_it")
    write(**dict.fromkeys(wrong, "raise AssertionError"))
    Picky("picky", broker="memory://", origin="proj", autodiscover=True).finalize()
    assert {"proj.users.older", "proj.users.legacy", "proj.test_it"} <= set(sys.modules)


def test_one_pattern_needs_no_list(write: Write) -> None:
    """A name or a function on its own is meant as a whole, not letter by letter."""
    write("proj.__init__", "proj.a", "proj.b")
    assert discover("proj", True, "proj.b") == discover("proj", True, re.compile("b$").search) == ["proj", "proj.a"]


def test_a_module_that_raises(write: Write, tmp_path: Path) -> None:
    """It is named, with the lines of its author and none of ours, and the start is tried again from there."""
    write(
        "proj.__init__",
        **{"proj.agents": "from proj.models import User", "proj.models": "def load():\n    1 / 0\n\nload()"},
    )
    app = make(origin="proj", autodiscover=True)
    with pytest.raises(ConfigurationError) as caught:
        app.finalize()
    lines = [line for line in str(caught.value).splitlines() if not re.fullmatch(r"[ ~^]*", line)]
    assert lines == [
        "autodiscover: the module 'proj.agents' was found, but raised when it was imported:",
        f'  File "{tmp_path}/proj/agents.py", line 1, in <module>',
        "    from proj.models import User",
        f'  File "{tmp_path}/proj/models.py", line 4, in <module>',
        "    load()",
        f'  File "{tmp_path}/proj/models.py", line 2, in load',
        "    1 / 0",
        "ZeroDivisionError: division by zero",
    ]
    write(**{"proj.models": "User = None\nrepaired = True"})
    app.finalize()
    assert sys.modules["proj.models"].repaired


def test_a_definition_that_is_refused(write: Write) -> None:
    """Of an error of ours the sentence is shown, and the line that caused it, without the lines in between."""
    write("proj.__init__", **{"proj.agents": "import stream_app\nstream_app.App('x', brokr='y')"})
    with pytest.raises(ConfigurationError, match="did you mean 'broker'") as caught:
        discover("proj", True)
    assert re.findall(r'File ".*/([^/]+/[^/]+)"', str(caught.value)) == ["proj/agents.py"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("import absent_dependency", "No module named 'absent_dependency'"),
        ("from proj import absent", "cannot import name 'absent'"),
        ("app = (", "'(' was never closed"),
    ],
)
def test_imports_of_a_module_that_fail(write: Write, line: str, said: str) -> None:
    """A dependency or a name that is missing, and a syntax error, are faults of that module: it exists."""
    write("proj.__init__", **{"proj.agents": line})
    with pytest.raises(ConfigurationError, match=r"the module 'proj\.agents' was found, but raised") as caught:
        discover("proj", True)
    assert said in str(caught.value)
    assert "agents.py" in str(caught.value)


def test_a_module_that_is_not_there(write: Write) -> None:
    """It is told from one whose own imports fail, also where the name of what lacks begins alike."""
    write("projects.__init__", **{"projects.agents": "import project"})
    with pytest.raises(ConfigurationError, match=r"there is no module 'projects\.nothing'"):
        discover(None, ["projects.nothing"])
    with pytest.raises(ConfigurationError, match=r"(?s)'projects\.agents' was found.*No module named 'project'"):
        discover(None, ["projects.agents"])
    with pytest.raises(ConfigurationError, match="origin="):
        discover(None, True)
