"""The project that ``stream new`` writes, in an environment that has nothing but the wheels and the tools of its tests."""

from __future__ import annotations

from pathlib import Path

from .conftest import Install
from .environments import MODULES, run


def test_a_new_project_is_installed_tested_and_checked(install: Install, constraints: Path) -> None:
    """It is written by the installed program, installs, passes its tests and a strict type checker, and its program has its commands."""
    environment = install(*MODULES)
    environment.run("stream", "new", "my-shop")
    tools = ("pytest", "mypy", "hatchling", "editables")
    run(
        "uv",
        "pip",
        "install",
        "--python",
        environment.python,
        "--constraint",
        constraints,
        *tools,
        cwd=environment.directory,
    )
    project = environment.directory / "my-shop"
    offline = ("uv", "pip", "install", "--python", environment.python, "--no-build-isolation", "--no-deps")
    run(*offline, "--editable", project, cwd=project)
    assert "3 passed" in run(environment.python, "-W", "error", "-m", "pytest", "-q", cwd=project)
    assert "no issues found" in run(environment.python, "-m", "mypy", cwd=project)
    assert "Send a visit of PAGE by VISITOR." in environment.run("my-shop", "visit", "--help")
    assert "visits" in run(environment.python, "-m", "my_shop", "agents", cwd=project)
