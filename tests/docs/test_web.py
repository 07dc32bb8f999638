"""The page on pages: its blocks are one program, whose worker answers the requests of the page as the page shows."""

from __future__ import annotations

import asyncio
import re
import shlex
import sys
import urllib.error
import urllib.request
from pathlib import Path

from .pages import read_blocks

PAGE = Path(__file__).parents[2] / "docs" / "web.md"
PATIENCE = 60.0


def asked(command: str, url: str) -> str:
    """What a ``curl`` command prints, asked of the server at ``url``."""
    words = shlex.split(command.removeprefix("$ curl "))
    body = words[1].encode() if words[0] == "-d" else None
    request = urllib.request.Request(words[-1].replace("http://localhost:6066", url), data=body)
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        return error.read().decode()


async def test_the_worker_of_the_page_answers_as_the_page_shows(tmp_path: Path) -> None:
    """Each command of the page prints the line below it."""
    blocks = read_blocks(PAGE)
    source = "\n\n".join(block.text for block in blocks if block.language == "python")
    (tmp_path / "shop.py").write_text(f'{source}\n\nif __name__ == "__main__":\n    app.main()\n')
    shown = [line for block in blocks if block.language == "console" for line in block.text.splitlines()]
    assert len(shown) >= 16
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "shop.py", "worker", "-l", "info"), cwd=tmp_path, stderr=asyncio.subprocess.PIPE
    )
    assert process.stderr is not None
    try:
        async with asyncio.timeout(PATIENCE):
            url, ready = "", False
            while not ready:
                line = (await process.stderr.readline()).decode()
                assert line, "the worker has ended"
                if found := re.search(r"listens on (http://\S+)", line):
                    url = found[1]
                ready = "is ready" in line
        for command, expected in zip(shown[::2], shown[1::2], strict=True):
            assert await asyncio.to_thread(asked, command, url) == expected, command
        process.terminate()
        await process.communicate()
        assert process.returncode == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()
