"""What the packages promise to those who install them: public names, types, and versions that fit together."""

from __future__ import annotations

import importlib
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

PACKAGES = sorted(Path(__file__).parents[2].glob("packages/*/pyproject.toml"))
IMPORTS = sorted(path.parent for path in Path(__file__).parents[2].glob("packages/*/src/*/__init__.py"))


def project(path: Path) -> dict[str, Any]:
    """The project table of a pyproject.toml."""
    table: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))["project"]
    return table


def order(name: str) -> tuple[int, str]:
    """The order that the linter keeps in ``__all__``: constants, then classes, then everything else."""
    kind = 0 if len(name) > 1 and name.isupper() else 1 if name[0].isupper() else 2
    return kind, name


@pytest.mark.parametrize("package", IMPORTS, ids=lambda path: path.name)
def test_public_names_exist_and_are_sorted(package: Path) -> None:
    """Each package lists its public names, each once, in order, and has all of them."""
    module = importlib.import_module(package.name)
    names = list(module.__all__)
    assert names == sorted(set(names), key=order)
    assert [name for name in names if not hasattr(module, name)] == []


@pytest.mark.parametrize("package", IMPORTS, ids=lambda path: path.name)
def test_packages_are_typed(package: Path) -> None:
    """Each package says that it is typed, in the file that type checkers look for and in its classifiers."""
    assert (package / "py.typed").is_file()
    assert "Typing :: Typed" in project(package.parents[1] / "pyproject.toml")["classifiers"]


def test_all_packages_have_one_version() -> None:
    """The packages are released together."""
    assert len(PACKAGES) == len({path.parents[1] for path in IMPORTS}) == 7
    assert len({project(path)["version"] for path in PACKAGES}) == 1


@pytest.mark.parametrize("path", PACKAGES, ids=lambda path: path.parent.name)
def test_siblings_are_pinned_to_that_version(path: Path) -> None:
    """A package and its extras need their siblings in exactly their own version."""
    table = project(path)
    siblings = {project(other)["name"] for other in PACKAGES}
    extras = table.get("optional-dependencies", {}).values()
    needed = [Requirement(text) for text in [*table["dependencies"], *(text for extra in extras for text in extra)]]
    pins = {str(one.specifier) for one in needed if one.name in siblings}
    assert pins <= {f"=={table['version']}"}
