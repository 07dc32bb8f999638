"""Pages of the web server."""

from __future__ import annotations

import asyncio
import importlib
import json
import re
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stream_app import App
from stream_app.web.cache import Cache

from .programs import write
from .test_starting import free_ports

Make = Callable[..., App]


async def get(url: str) -> tuple[int, str]:
    """What a browser gets: the status and the text."""

    def load() -> tuple[int, str]:
        try:
            with urllib.request.urlopen(url, timeout=20) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    return await asyncio.to_thread(load)


async def test_a_page_is_an_async_function(
    make: Make, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """``@app.page("/path/to/view/")`` defines ``async def myview(web, request)``, which reads ``request.query["foo"]``.

    The function of the guides returns nothing: the client is told that it failed, and the log what to return.
    """
    app = make("view-example", web_enabled=True, web_port=free_ports(1)[0])

    @app.page("/path/to/view/")
    async def myview(web: Any, request: Any) -> None:
        print(f"FOO PARAM: {request.query['foo']}")

    async with app:
        code, _ = await get(f"http://localhost:{app.conf.web_port}/path/to/view/?foo=303")
    assert capsys.readouterr().out == "FOO PARAM: 303\n"
    assert code == 500
    assert re.search(r"page /path/to/view/ \(.*myview\) has returned nothing: return text", caplog.text)


async def test_the_first_argument_of_a_page_makes_answers(make: Make) -> None:
    """``web.json(...)``."""
    app = make("view-example", web_enabled=True, web_port=free_ports(1)[0])

    @app.page("/path/to/view/")
    async def myview(web: Any, request: Any) -> Any:
        return web.json({"foo": request.query["foo"]})

    async with app:
        code, text = await get(f"http://localhost:{app.conf.web_port}/path/to/view/?foo=303")
    assert (code, json.loads(text)) == (200, {"foo": "303"})


async def test_a_page_answers_from_a_cache(make: Make, faust: Any) -> None:
    """``@cache.view(timeout=...)`` below ``@app.page``, by the module in which Faust has it."""
    app = make("view-example", web_enabled=True, web_port=free_ports(1)[0])
    cache: Cache = importlib.import_module(f"{faust.__name__}.web.cache").Cache(timeout=300)
    asked = []

    @app.page("/path/to/view/")
    @cache.view()
    async def myview(web: Any, request: Any) -> Any:
        asked.append(request.query["foo"])
        return web.json({"foo": request.query["foo"]})

    async with app:
        url = f"http://localhost:{app.conf.web_port}/path/to/view/?foo="
        answers = [await get(f"{url}{foo}") for foo in ("303", "303", "404")]
    assert [json.loads(text) for _, text in answers] == [{"foo": "303"}, {"foo": "303"}, {"foo": "404"}]
    assert asked == ["303", "404"]


async def test_views_are_found_by_autodiscovery(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, faust: Any
) -> None:
    """``users/views.py`` of a project is imported, and its pages are served."""
    name = f"project_{faust.__name__}"
    source = f"""
        from {faust.__name__}.web import View
        from {name}.app import app

        @app.page("/users/")
        class Users(View):
            async def get(self, request):
                return self.text("all users")
    """
    files = {f"{name}/__init__.py": "", f"{name}/app.py": "app = None", f"{name}/users/__init__.py": ""}
    write(tmp_path, {**files, f"{name}/users/views.py": source})
    monkeypatch.syspath_prepend(tmp_path)
    app = make("proj", web_enabled=True, web_port=free_ports(1)[0], autodiscover=[f"{name}.users.views"], origin=name)
    importlib.import_module(f"{name}.app").app = app  # type: ignore[attr-defined]
    async with app:
        assert await get(f"http://localhost:{app.conf.web_port}/users/") == (200, "all users")
