"""How the app is found, and what is said when it is not."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from stream_cli.locate import locate
from stream_core.errors import ConfigurationError

Write = Callable[..., Path]


@pytest.mark.parametrize(
    ("module", "path"),
    [
        ("bank", "bank"),
        ("bank", "bank:app"),
        ("shop.orders", "shop.orders"),
        ("shop.app", "shop"),
        ("shop.app", "shop:app"),
    ],
)
def test_finds_the_app(write: Write, module: str, path: str) -> None:
    """A module, a module with an attribute, a dotted module and a package with a module ``app`` all name an app."""
    if "." in module:
        write("shop.__init__", "", prelude="")
    write(module, 'app = App("found")')
    assert locate(path).id == "found"


def test_finds_another_attribute(write: Write) -> None:
    """The part behind the colon is the attribute."""
    write("bank", 'app = App("one"); accounts = App("two")')
    assert locate("bank:accounts").id == "two"


def test_package_that_re_exports_its_module(write: Write) -> None:
    """``from shop import app`` may give the module ``shop.app``: its app is meant."""
    write("shop.__init__", "from shop import app", prelude="")
    write("shop.app", 'app = App("inner")')
    assert locate("shop").id == "inner"


def test_module_not_found_names_the_nearest(write: Write) -> None:
    """A misspelled module is answered with the one in the current directory that is most like it."""
    write("bank", 'app = App("bank")')
    with pytest.raises(ConfigurationError, match=r"no module 'bnak' in .*did you mean -A bank\?"):
        locate("bnak")


def test_module_not_found_without_a_neighbour(workdir: Path) -> None:
    """When nothing is like it, the directory that was searched and the option for another one are named."""
    with pytest.raises(ConfigurationError, match=rf"no module 'nowhere' in {workdir} .* -W DIR"):
        locate("nowhere")


def test_working_directory_that_was_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing can be looked for there, and the error says what helps."""
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(ConfigurationError, match=r"working directory does not exist any more: .* -W"):
        locate("bank")
    # With -P, as a program that is installed: else Python itself looks for modules in the working directory.
    program = [sys.executable, "-P", "-c", "from stream_cli.entry import main; main()", "-A", "bank", "worker"]
    done = subprocess.run(program, capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr.startswith("Error: the working directory does not exist any more")


def test_file_instead_of_module(workdir: Path) -> None:
    """A path of a file is answered with the module that was meant."""
    with pytest.raises(ConfigurationError, match=r"try -A shop\.orders:accounts"):
        locate("shop/orders.py:accounts")
    with pytest.raises(ConfigurationError, match=r"try -W /srv/shop -A orders:accounts"):
        locate("/srv/shop/orders.py:accounts")


def test_module_that_raises(write: Write) -> None:
    """A module that raises is told from one that is missing, with the user's own lines and nothing else."""
    file = write("bank", "def connect():\n    return 1 / 0\n\nconnect()\n", prelude="")
    with pytest.raises(ConfigurationError) as caught:
        locate("bank")
    text = str(caught.value)
    assert "'bank' was found, but raised" in text
    assert f'File "{file}", line 2, in connect' in text
    assert text.endswith("ZeroDivisionError: division by zero")
    assert "importlib" not in text


@pytest.mark.parametrize("line", ["import absent_dependency", "from bank_parts import absent", "app = ("])
def test_module_whose_own_imports_fail(write: Write, line: str) -> None:
    """A dependency that is missing, a name that is missing and a syntax error are faults of the module."""
    write("bank_parts", "", prelude="")
    write("bank", line, prelude="")
    with pytest.raises(ConfigurationError, match="'bank' was found, but raised"):
        locate("bank")


def test_attribute_that_is_missing_names_the_app(write: Write) -> None:
    """When the attribute is missing, the app that the module does have is named."""
    write("bank", 'bank_app = App("bank")')
    with pytest.raises(ConfigurationError, match="no attribute 'app'; it has the app 'bank_app': try -A bank:bank_app"):
        locate("bank")


def test_attribute_that_is_no_app(write: Write) -> None:
    """An attribute of another kind is described, and so is the class of an app."""
    write("bank", "app = 7")
    with pytest.raises(
        ConfigurationError, match="'app' of the module 'bank' is not an app but of type int; it has no app at all"
    ):
        locate("bank")
    with pytest.raises(ConfigurationError, match="is not an app but the class App"):
        locate("bank:App")
