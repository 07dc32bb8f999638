"""A Prometheus of its own for tests: the server of the package ``prometheus``, with the alert rules of ``deploy/`` in a hurry."""

from __future__ import annotations

import asyncio
import json
import re
from asyncio.subprocess import DEVNULL, STDOUT
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from processes import PATIENCE
from stream_kafka.broker.ports import HOST, free_port

__all__ = ["Prometheus", "running", "sooner"]


def sooner(rules: str) -> str:
    """Shorten the times of rules, so that a test sees them fire; nothing else changes."""
    rules = re.sub(r"for: \d+m", "for: 0s", rules)
    return re.sub(r"\[\d+m\]", "[5s]", rules)


class Prometheus:
    """One server.

    Args:
        url: where it answers.
        session: the client.
    """

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self._url = url
        self._session = session

    async def query(self, expression: str) -> list[Any]:
        """The samples of an expression now, each with ``metric`` and ``value``; what it does not take is an AssertionError."""
        return list((await self._ask("query", {"query": expression}))["result"])

    async def firing(self) -> dict[str, dict[str, str]]:
        """The alerts that fire, by name, each with the labels of one."""
        found = (await self._ask("alerts"))["alerts"]
        return {one["labels"]["alertname"]: one["labels"] for one in found if one["state"] == "firing"}

    async def _ask(self, what: str, parameters: dict[str, str] | None = None) -> Any:
        async with self._session.get(f"{self._url}/api/v1/{what}", params=parameters) as answer:
            told = await answer.text()
        said = json.loads(told)
        assert said["status"] == "success", told
        return said["data"]

    async def ready(self) -> bool:
        """Whether it answers questions."""
        try:
            async with self._session.get(f"{self._url}/-/ready") as answer:
                return answer.status == 200
        except aiohttp.ClientError:
            return False


@asynccontextmanager
async def running(program: str, directory: Path, workers: Sequence[str], rules: str) -> AsyncIterator[Prometheus]:
    """A server that scrapes workers each half second; it is killed at the end of the block.

    Args:
        program: the path of ``prometheus``.
        directory: for its files.
        workers: URLs of workers.
        rules: the text of a file of rules.
    """
    (directory / "rules.yml").write_text(rules)
    targets = ", ".join(f'"{url.split("//")[1]}"' for url in workers)
    (directory / "prometheus.yml").write_text(
        "global: {scrape_interval: 500ms, scrape_timeout: 500ms, evaluation_interval: 500ms}\n"
        "rule_files: [rules.yml]\n"
        f"scrape_configs: [{{job_name: shop, static_configs: [{{targets: [{targets}]}}]}}]\n"
    )
    address = f"{HOST}:{free_port()}"
    log = directory / "prometheus.log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            program,
            f"--config.file={directory / 'prometheus.yml'}",
            f"--storage.tsdb.path={directory / 'data'}",
            f"--web.listen-address={address}",
            stdin=DEVNULL,
            stdout=output,
            stderr=STDOUT,
        )
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(PATIENCE)) as session:
            server = Prometheus(f"http://{address}", session)
            async with asyncio.timeout(PATIENCE):
                while not await server.ready():
                    assert process.returncode is None, log.read_text()
                    await asyncio.sleep(0.1)
            yield server
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
