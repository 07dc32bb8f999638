"""Projects of Django: the example, which apps are walked, and when Django is set up."""

from __future__ import annotations

from pathlib import Path

import pytest

from .programs import python, write

EXAMPLE = Path(__file__).parents[2] / "examples" / "django"

ORDERED = """
    import asyncio, os, sqlite3, sys, threading

    sys.path.insert(0, os.environ["EXAMPLE"])
    from faustapp.app import app

    app.finalize()

    from asgiref.sync import sync_to_async
    from django.core.management import call_command
    from django.db import connections
    from django.test import AsyncClient
    from orders.agents import PlacedOrder, placed
    from orders.models import Order

    call_command("migrate", verbosity=0)
    connections.close_all()


    async def until(condition):
        async with asyncio.timeout(30):
            while not condition():
                await asyncio.sleep(0.01)


    def is_writing():
        "Whether a thread other than this one is in the function that writes."
        for thread, frame in sys._current_frames().items():
            while frame is not None and thread != threading.get_ident():
                if frame.f_code.co_name == "keep":
                    return True
                frame = frame.f_back
        return False


    async def main():
        await app.start()
        other = sqlite3.connect(os.environ["DATABASE"], isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        await placed.send(PlacedOrder(number="17", item="tea", amount=3), key="17")
        await until(is_writing)
        other.execute("ROLLBACK")
        other.close()
        for amount in 4, 5:
            await placed.send(PlacedOrder(number="18", item="ink", amount=amount), key="18")
        async with asyncio.timeout(30):
            while not await Order.objects.filter(number="18", amount=5).aexists():
                await asyncio.sleep(0.01)
        response = await AsyncClient().get("/orders/")
        print(response.status_code, response.content.decode())
        await app.stop()
        print("connection:", await sync_to_async(lambda: connections["default"].connection)())


    asyncio.run(main())
"""


@pytest.fixture(autouse=True)
def _outside_of_django(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DJANGO_SETTINGS_MODULE", raising=False)


def test_the_example_writes_to_the_database(tmp_path: Path) -> None:
    """Its agent writes orders while the event loop goes on, a page lists them, and the connection is closed at the end."""
    write(tmp_path, {"ordered.py": ORDERED})
    place = {"EXAMPLE": str(EXAMPLE), "DATABASE": str(tmp_path / "db.sqlite3")}
    environ = {**place, "BROKER_URL": "memory://", "ALLOWED_HOSTS": "testserver"}
    done = python(tmp_path, "-W", "error", "ordered.py", **environ)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        '200 {"orders": [{"number": "17", "item": "tea", "amount": 3}, {"number": "18", "item": "ink", "amount": 5}]}',
        "connection: None",
    ]


def test_the_example_is_a_whole_project() -> None:
    """Django finds nothing wrong with it, its migrations are those of its models, and each command knows the agent."""
    environ = {"BROKER_URL": "memory://", "PYTHONDONTWRITEBYTECODE": "1"}
    for arguments in (["check", "--fail-level", "WARNING"], ["makemigrations", "--check", "--dry-run"]):
        done = python(EXAMPLE, "-W", "error", "manage.py", *arguments, **environ)
        assert done.returncode == 0, done.stdout + done.stderr
    for program in (["-m", "faust", "-A", "faustapp"], ["-c", "from faustapp.app import main; main()"]):
        done = python(EXAMPLE, *program, "agents", **environ)
        assert "@keep_orders" in done.stdout, done.stderr


def test_a_command_of_the_example_sends(tmp_path: Path) -> None:
    """``manage.py place_order`` says where the order is; without a broker it is one sentence, and code 1."""
    environ = {"DATABASE": str(tmp_path / "db.sqlite3"), "PYTHONDONTWRITEBYTECODE": "1"}
    command = ("-W", "error", "manage.py", "place_order", "17", "tea", "3")
    done = python(EXAMPLE, *command, BROKER_URL="memory://", **environ)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("order 17 is on shop-orders, partition ")
    done = python(EXAMPLE, *command, BROKER_URL="kafka://127.0.0.1:1", **environ)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "CommandError: no Kafka broker could be reached (127.0.0.1:1" in done.stderr


PROJECT = {
    "proj/__init__.py": "",
    "proj/settings.py": """
        print("settings are read")
        INSTALLED_APPS = ["django.contrib.contenttypes", "faustapp", "shop.users"]
        BROKER = "memory://"
    """,
    "proj/agents.py": "raise AssertionError('proj is no app of Django')\n",
    "faustapp/__init__.py": "",
    "faustapp/apps.py": """
        from django.apps import AppConfig

        class FaustAppConfig(AppConfig):
            name = "faustapp"

            def ready(self):
                print("Django is ready")
    """,
    "faustapp/app.py": """
        import sys
        import faust
        from django.conf import settings

        app = faust.App("proj", autodiscover=True, origin="faustapp", broker="memory://")


        @app.on_configured.connect
        def configure(app, conf, **kwargs):
            conf.broker = settings.BROKER
    """,
    "shop/__init__.py": "",
    "shop/agents.py": "raise AssertionError('shop itself is no app of Django')\n",
    "shop/users/__init__.py": "",
    "shop/users/models.py": """
        from django.db import models

        class User(models.Model):
            class Meta:
                app_label = "users"
    """,
    "shop/users/agents.py": """
        from faustapp.app import app
        from shop.users.models import User

        @app.agent()
        async def greet(stream):
            async for _ in stream:
                pass
    """,
    "shop/users/migrations/__init__.py": "raise AssertionError('Django imports migrations when it needs them')\n",
    "shop/users/management/__init__.py": "raise AssertionError('Django imports commands when it needs them')\n",
}
"""A project in which everything that should not be imported raises."""

FOUND = """
import sys
print([name.rpartition(".")[2] for name in app.agents], "django.contrib.contenttypes.views" in sys.modules)
"""


@pytest.mark.parametrize(
    "program",
    [
        "from faustapp.app import app; app.finalize()",
        "from faustapp.app import app; app.finalize(); app.finalize()",
        "import django; django.setup(); from faustapp.app import app; app.finalize()",
        "from django.conf import settings; settings.BROKER; from faustapp.app import app; app.finalize()",
        "import asyncio; from faustapp.app import app; asyncio.run(app.start_client())",
    ],
    ids=["the environment", "twice", "set up by the program", "settings that were read", "in an event loop"],
)
def test_only_installed_apps_are_walked(tmp_path: Path, program: str) -> None:
    """``DJANGO_SETTINGS_MODULE`` is enough: Django is set up once, and the apps of ``INSTALLED_APPS`` are walked, but for its own."""
    write(tmp_path, PROJECT)
    done = python(tmp_path, "-W", "error", "-c", f"{program}\n{FOUND}", DJANGO_SETTINGS_MODULE="proj.settings")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["settings are read", "Django is ready", "['greet'] False"]


def test_an_app_may_be_final_when_django_is_ready(tmp_path: Path) -> None:
    """``AppConfig.ready`` may make the app final: Django is being set up then, and models can be imported."""
    ready = PROJECT["faustapp/apps.py"].replace(
        'print("Django', 'from faustapp.app import app; app.finalize(); print("Django'
    )
    write(tmp_path, {**PROJECT, "faustapp/apps.py": ready})
    program = f"import django; django.setup(); from faustapp.app import app\n{FOUND}"
    done = python(tmp_path, "-W", "error", "-c", program, DJANGO_SETTINGS_MODULE="proj.settings")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["settings are read", "Django is ready", "['greet'] False"]


def test_django_without_the_variable(tmp_path: Path) -> None:
    """A program that configures Django itself is a project of Django when it has set Django up."""
    settings = "from django.conf import settings; settings.configure(INSTALLED_APPS=['shop.users'], BROKER='memory://')"
    program = f"{settings}; import django; django.setup(); from faustapp.app import app; app.finalize()\n{FOUND}"
    done = python(write(tmp_path, PROJECT), "-W", "error", "-c", program)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["['greet'] False"]


@pytest.mark.parametrize(
    ("files", "settings", "said"),
    [
        ({}, "proj.setings", "No module named 'proj.setings'"),
        ({"proj/settings.py": "INSTALLED_APPS = [\n"}, "proj.settings", "'[' was never closed"),
        ({"proj/settings.py": "INSTALLED_APPS = ['nowhere']\n"}, "proj.settings", "No module named 'nowhere'"),
        ({"shop/users/models.py": "1 / 0\n"}, "proj.settings", 'shop/users/models.py", line 1, in <module>'),
    ],
    ids=["no settings", "settings that do not parse", "an app that is missing", "models that raise"],
)
def test_django_that_cannot_be_set_up(tmp_path: Path, files: dict[str, str], settings: str, said: str) -> None:
    """The worker ends with the lines of whoever wrote them, the variable, and none of ours."""
    app = PROJECT["faustapp/app.py"].partition("@app.on_configured")[0]
    write(tmp_path, {**PROJECT, "faustapp/app.py": app, **files})
    done = python(tmp_path, "-m", "faust", "-A", "faustapp", "worker", DJANGO_SETTINGS_MODULE=settings)
    assert done.returncode == 1
    assert f"Django cannot be set up with DJANGO_SETTINGS_MODULE={settings}:\n" in done.stderr
    assert said in done.stderr
    assert "stream_app" not in done.stderr
    assert "stream_cli" not in done.stderr
