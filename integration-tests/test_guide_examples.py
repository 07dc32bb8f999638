"""The examples that the App guide names, as programs: without a broker on ``memory://``, and on a real Kafka."""

from __future__ import annotations

from pathlib import Path

import aiohttp
import pytest

from processes import run

EXAMPLES = Path(__file__).parents[1] / "examples"
SAYS = {
    "channel": [r"^Received: MyModel\(x=303\)$"] * 2,
    "service": ["^MYSERVICE IS STARTING$", "^BACKGROUND TASK WAKE UP$", "^BACKGROUND TASK WAKE UP$"],
    "word_count": ["^rose: 4$"],
}
"""What each of them prints, line by line."""


@pytest.mark.parametrize("transport", ["memory", "kafka"])
@pytest.mark.parametrize("example", SAYS)
async def test_an_example_runs(request: pytest.FixtureRequest, tmp_path: Path, example: str, transport: str) -> None:
    """A worker of the example prints what it should, and stops in order with exit code 0."""
    broker = "memory://" if transport == "memory" else f"kafka://{request.getfixturevalue('bootstrap')}"
    environ = {"BROKER_URL": broker, "APP_DATADIR": str(tmp_path), "APP_WEB_ENABLED": "false"}
    async with run(EXAMPLES / f"{example}.py", "worker", "-l", "info", environ=environ) as worker:
        for pattern in SAYS[example]:
            await worker.said(pattern)
        assert await worker.terminate() == 0
    assert ("MYSERVICE IS STOPPING" in worker.log) == (example == "service")


@pytest.mark.parametrize("transport", ["memory", "kafka"])
async def test_the_example_of_a_page_is_answered(
    request: pytest.FixtureRequest, tmp_path: Path, transport: str
) -> None:
    """It prints the parameter and answers with it; the worker says at which address."""
    broker = "memory://" if transport == "memory" else f"kafka://{request.getfixturevalue('bootstrap')}"
    environ = {"BROKER_URL": broker, "APP_DATADIR": str(tmp_path)}
    async with run(EXAMPLES / "view.py", "worker", "-l", "info", environ=environ) as worker:
        url = await worker.url()
        async with aiohttp.ClientSession() as session, session.get(f"{url}/path/to/view/?foo=303") as answer:
            assert (answer.status, await answer.json()) == (200, {"foo": "303"})
        await worker.said("^FOO PARAM: 303$")
        assert await worker.terminate() == 0
