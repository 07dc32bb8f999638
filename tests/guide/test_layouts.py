"""The layouts of projects: one file, a package, and what finds its parts."""

from __future__ import annotations

from pathlib import Path

import pytest

from .programs import python, write

PROJECT = {
    "proj/__init__.py": "",
    "proj/__main__.py": "from proj.app import app\n\napp.main()\n",
    "proj/app.py": """
        import faust

        app = faust.App("proj", version=1, autodiscover={autodiscover}, origin="proj", broker="memory://")


        def main() -> None:
            app.main()
    """,
    "proj/users/__init__.py": "",
    "proj/users/models.py": "import faust\n\n\nclass User(faust.Record):\n    name: str\n",
    "proj/users/agents.py": """
        from proj.app import app
        from proj.users.models import User

        @app.agent(app.topic("users", value_type=User))
        async def greet(stream):
            "Greets."
            async for user in stream:
                print(user)
    """,
    "proj/orders/__init__.py": "",
    "proj/orders/agents.py": """
        from proj.app import app

        @app.agent()
        async def order(stream):
            "Orders."
            async for _ in stream:
                pass

        @app.timer(1.0)
        async def tick(): ...
    """,
    "proj/orders/tests/__init__.py": "",
    "proj/orders/tests/test_orders.py": "raise AssertionError('tests are not imported')\n",
}
"""The suggested layout of a project."""


def project(directory: Path, autodiscover: str) -> Path:
    """Write a project that finds its parts by this value of ``autodiscover``."""
    return write(directory, {name: text.replace("{autodiscover}", autodiscover) for name, text in PROJECT.items()})


def agents(directory: Path) -> set[str]:
    """The agents that the program of the project lists."""
    done = python(directory, "-m", "proj", "agents")
    assert done.returncode == 0, done.stderr
    return {name for name in ("@greet", "@order") if f"│ {name} " in done.stdout}


BOTH = {"@greet", "@order"}


@pytest.mark.parametrize(
    ("autodiscover", "found"),
    [
        ("True", BOTH),
        ("['proj.users', 'proj.orders']", BOTH),
        ("['proj.orders']", {"@order"}),
        ("lambda: ['proj.users']", {"@greet"}),
    ],
)
def test_the_parts_of_a_project_are_found(tmp_path: Path, autodiscover: str, found: set[str]) -> None:
    """``autodiscover=True`` walks the package of ``origin``; a list, or a function that gives it, names modules to walk."""
    assert agents(project(tmp_path, autodiscover)) == found


def test_a_package_is_run_by_its_main(tmp_path: Path) -> None:
    """``python -m proj`` has the commands of the app, by ``proj/__main__.py``; ``-A proj`` finds the app in ``proj/app.py``."""
    project(tmp_path, "True")
    done = python(tmp_path, "-m", "proj", "worker", "--help")
    assert done.returncode == 0
    assert "Run a worker" in done.stdout
    assert python(tmp_path, "-m", "faust", "-A", "proj", "agents").returncode == 0


def test_a_function_is_an_entry_point(tmp_path: Path) -> None:
    """``proj = proj.app:main`` as a console script calls a function that calls ``app.main()``."""
    project(tmp_path, "True")
    done = python(
        tmp_path, "-c", "import sys; sys.argv = ['proj', 'agents']; from proj.app import main; sys.exit(main())"
    )
    assert done.returncode == 0, done.stderr
    assert "@greet" in done.stdout


def test_one_file_is_a_whole_service(tmp_path: Path) -> None:
    """A module with everything in it needs no directories; its agents are named after the file."""
    source = """
        import faust

        app = faust.App("standalone", broker="memory://")

        @app.agent()
        async def listen(stream):
            async for _ in stream:
                pass

        if __name__ == "__main__":
            app.main()
    """
    write(tmp_path, {"service.py": source})
    done = python(tmp_path, "service.py", "agents")
    assert done.returncode == 0, done.stderr
    assert "standalone-service.listen" in done.stdout
