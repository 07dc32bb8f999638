"""The Django project of the examples on a real Kafka: a worker, a command that places orders, and the page that lists them."""

from __future__ import annotations

import uuid
from pathlib import Path

import aiohttp

from processes import run

PROJECT = Path(__file__).parents[1] / "examples" / "django"


async def manage(*arguments: str, environ: dict[str, str]) -> str:
    """Run a command of ``manage.py`` to its end, and return what it wrote."""
    async with run(PROJECT / "manage.py", *arguments, environ=environ) as process:
        assert await process.exit() == 0, process.log
        return process.log


async def test_orders_are_written_to_the_database(bootstrap: str, tmp_path: Path) -> None:
    """Orders that the command places are in the page once the agent has written them; a worker that starts later continues."""
    environ = {
        "BROKER_URL": f"kafka://{bootstrap}",
        "DATABASE": str(tmp_path / "db.sqlite3"),
        "APP_DATADIR": str(tmp_path),
        "APP_WEB_ENABLED": "false",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
    }
    await manage("migrate", "--verbosity", "0", environ=environ)
    number = uuid.uuid4().hex[:12]
    worker = tmp_path / "worker.py"
    worker.write_text(f"import sys\nsys.path.insert(0, {str(PROJECT)!r})\nfrom faustapp.app import main\nmain()\n")
    for amount in "3", "4":
        assert f"order {number} is on shop-orders" in await manage(
            "place_order", number, "tea", amount, environ=environ
        )
        async with run(worker, "worker", "-l", "info", environ=environ) as process:
            await process.said(f"kept order {number}")
            assert await process.terminate() == 0
        assert "committed, left the group" in process.log
    async with (
        run(PROJECT / "manage.py", "runserver", "--noreload", "127.0.0.1:0", environ=environ) as site,
        aiohttp.ClientSession((await site.said(r"server at (http://[\d.:]+)"))[1]) as session,
        session.get("/orders/") as response,
    ):
        assert await response.json() == {"orders": [{"number": number, "item": "tea", "amount": 4}]}
