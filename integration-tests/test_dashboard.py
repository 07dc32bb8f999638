"""The dashboard in a real browser: what a person sees, reaches by keyboard, and hears from a screen reader."""

from __future__ import annotations

import re
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import aiohttp
import pytest
from aiohttp import web
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, ConsoleMessage, Page, async_playwright, expect

from processes import Worker, run

PROGRAM = """
import stream_app as faust

app = faust.App("bank", broker="memory://"{options})
deposits = app.topic("deposits", key_type=str, value_type=int, partitions=12)
totals = app.Table("totals", default=int, key_type=str, value_type=int)
failing = iter([1] * 10)  # a worker remembers the last failures alone: those that are shown are to be there when somebody asks

@app.agent(deposits, on_failure="dead_letter")
async def count(stream):
    async for key, amount in stream.items():
        if amount % 10 == 0 and next(failing, 0):
            raise ValueError("<img src=x onerror=document.title='owned'> and a long sentence about what went wrong")
        totals[key] += amount

@app.timer(0.1)
async def deposit():
    for amount in range(20):
        await deposits.send(key=str(amount), value=amount)

if __name__ == "__main__":
    app.main()
"""

SHOP = Path(__file__).parents[1] / "examples" / "shop.py"

expect.set_options(timeout=60_000)  # a browser and a worker share the machine with other tests

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium is installed: CONTRIBUTING.md says how to get one"
)

Scheme = Literal["dark", "light"]


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    """A browser without a window."""
    async with async_playwright() as playwright:
        started = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        await started.close()


@pytest.fixture
async def bank(tmp_path: Path) -> AsyncIterator[Worker]:
    """A worker that has something to do."""
    program = tmp_path / "bank.py"
    program.write_text(PROGRAM.format(options=""))
    async with run(program, "worker", "--loglevel", "info") as started:
        yield started


class Looking:
    """One page of the browser.

    Args:
        page: the page.

    Attributes:
        complaints: what the console of the browser was told: breaches of the policy for content, errors of scripts, files that are missing.
    """

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        page.on("console", self._say)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _say(self, message: ConsoleMessage) -> None:
        self.complaints.append(message.text)


async def open_at(browser: Browser, url: str, width: int = 1280, scheme: Scheme = "light", **options: Any) -> Looking:
    """Look at a page until it is live and has failures and numbers."""
    context = await browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme, **options)
    looking = Looking(await context.new_page())
    await looking.page.goto(url)
    await expect(looking.page.locator("#connection")).to_have_text("live")
    await expect(looking.page.locator("#failures tbody tr").first).to_be_visible()
    return looking


@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (1280, "light"), (1280, "dark")])
async def test_the_page_is_for_everybody(browser: Browser, bank: Worker, width: int, scheme: Scheme) -> None:
    """A checker of accessibility has nothing to say, in any size and colour; nothing is wider than the screen; nothing is refused."""
    looking = await open_at(browser, await bank.url(), width, scheme)
    page = looking.page
    for summary in await page.locator("summary").all():
        await summary.click()
    result = await Axe().run(page)
    assert not [(one["id"], [node["html"] for node in one["nodes"]][:3]) for one in result.response["violations"]]
    assert await page.evaluate("document.documentElement.scrollWidth") <= width
    assert not looking.complaints
    assert await page.title() == "bank \u2013 Stream"


async def test_it_is_live_and_can_be_paused(browser: Browser, bank: Worker) -> None:
    """Numbers change by themselves, and stand still when somebody wants to read."""
    looking = await open_at(browser, await bank.url())
    page = looking.page
    received = page.locator("#topics tr", has_text="deposits").locator("td").nth(4)
    before = await received.inner_text()
    await expect(received).not_to_have_text(before)
    pause = page.get_by_role("button", name="Pause")
    await pause.press("Enter")
    await expect(page.locator("#connection")).to_have_text("paused")
    await expect(pause).to_have_attribute("aria-pressed", "true")
    await pause.press("Enter")
    await expect(page.locator("#connection")).to_have_text("live")
    assert not looking.complaints


async def test_a_page_in_the_background_needs_no_connection(browser: Browser, bank: Worker) -> None:
    """Browsers have few to one server: a page that nobody sees gives its own back, and asks again when it is seen."""
    looking = await open_at(browser, await bank.url())
    page = looking.page
    hide = (
        "Object.defineProperty(document, 'hidden', {value: %s, configurable: true});"
        "document.dispatchEvent(new Event('visibilitychange'))"
    )
    async with page.expect_event("requestfailed", lambda request: request.url.endswith("/dashboard/events")):
        await page.evaluate(hide % "true")
    async with page.expect_request("**/dashboard/events"):
        await page.evaluate(hide % "false")
    await expect(page.locator("#connection")).to_have_text("live")
    assert not looking.complaints


async def test_the_example_of_the_first_page_has_something_to_look_at(browser: Browser) -> None:
    """Both of its agents work, and its tables fill."""
    async with run(SHOP, "worker", "--loglevel", "info") as shop:
        page = await (await browser.new_context()).new_page()
        await page.goto(await shop.url())
        for agent in ("count", "report"):
            row = page.locator("#agents tbody tr").filter(has=page.get_by_text(agent, exact=True))
            await expect(row.locator("td").nth(4)).not_to_have_text("0")
        await expect(page.locator("#tables tbody tr")).to_have_count(2)
        assert await shop.terminate() == 0, shop.log


async def test_everything_is_reached_by_keyboard(browser: Browser, bank: Worker) -> None:
    """The first stop is a way past the menu; a region that scrolls can be reached, and keeps the focus while its content changes."""
    looking = await open_at(browser, await bank.url())
    page = looking.page
    await page.keyboard.press("Tab")
    assert await page.evaluate("document.activeElement.textContent") == "Skip to the content"
    await page.keyboard.press("Enter")
    assert await page.evaluate("document.activeElement.id || location.hash") in ("content", "#content")
    await page.keyboard.press("Tab")
    region = await page.evaluate("document.activeElement.id")
    assert region == "workers"
    shown = page.locator("#topics")
    before = await shown.inner_text()
    await expect(shown).not_to_have_text(re.compile(re.escape(before)))
    assert await page.evaluate("document.activeElement.id") == region


async def test_a_dead_letter_is_one_step_away(browser: Browser, bank: Worker) -> None:
    """A failure says where it happened, and leads to the topic where the record is."""
    looking = await open_at(browser, await bank.url())
    page = looking.page
    row = page.locator("#failures tbody tr").first
    assert re.search(r"deposits \d+ offset \d+", await row.inner_text())
    assert "<img src=x onerror=" in await row.inner_text()
    await page.get_by_role("button", name="Pause").click()
    await row.get_by_role("link", name="bank-dead-letter").click()
    assert page.url.endswith("#topic-bank-dead-letter")
    await expect(page.locator("[id='topic-bank-dead-letter']")).to_be_in_viewport()
    assert await page.title() == "bank \u2013 Stream"


@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (1280, "dark")])
async def test_a_dead_letter_is_a_page(browser: Browser, bank: Worker, width: int, scheme: Scheme) -> None:
    """With key, value, error and the command that tries it again; for everybody, and with a way back."""
    looking = await open_at(browser, await bank.url(), width, scheme)
    page = looking.page
    await page.get_by_role("button", name="Pause").click()
    await page.locator("#failures tbody tr").first.get_by_role("link", name="dead letter", exact=True).press("Enter")
    await expect(page.locator("h1")).to_contain_text("Dead letter of deposits")
    told = await page.locator("main").inner_text()
    assert re.search(r"ValueError: <img src=x", told)
    assert re.search(r"stream -A MODULE dlq retry \d+:\d+\n", told), told
    result = await Axe().run(page)
    assert not [(one["id"], [node["html"] for node in one["nodes"]][:3]) for one in result.response["violations"]]
    assert await page.evaluate("document.documentElement.scrollWidth") <= width
    await page.get_by_role("link", name="All of bank").press("Enter")
    await expect(page.locator("#failures tbody tr").first).to_be_visible()
    assert not looking.complaints


async def test_it_says_when_the_worker_is_gone_and_goes_on_when_it_is_back(browser: Browser, tmp_path: Path) -> None:
    """A page that is left open is right again without being loaded anew."""
    program = tmp_path / "bank.py"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    program.write_text(PROGRAM.format(options=f", web_port={port}"))
    async with run(program, "worker", "--loglevel", "info") as first:
        url = await first.url()
        looking = await open_at(browser, url)
        assert await first.terminate() == 0, first.log
    connection = looking.page.locator("#connection")
    await expect(connection).to_contain_text("no connection since")
    async with run(program, "worker", "--loglevel", "info") as second:
        await second.url()
        await expect(connection).to_have_text("live")


async def test_a_frame_of_another_site_does_not_get_it(browser: Browser, bank: Worker) -> None:
    """Nobody is led to press something that he does not see."""
    page = await (await browser.new_context()).new_page()
    url = await bank.url()
    async with page.expect_console_message(lambda message: "frame-ancestors 'none'" in message.text):
        await page.set_content(f'<iframe src="{url}"></iframe>')
    assert await page.frame_locator("iframe").get_by_role("heading", name="Recent failures").count() == 0


@asynccontextmanager
async def proxy(url: str, prefix: str) -> AsyncIterator[str]:
    """A proxy that asks for a password, and puts the worker below a path."""

    async def pass_on(request: web.Request) -> web.StreamResponse:
        if request.headers.get("Authorization") != "Basic YW5uOnRlYQ==":
            return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="shop"'})
        headers = {name: value for name, value in request.headers.items() if name in ("Accept", "Host")}
        async with session.get(f"{url}{request.path.removeprefix(prefix)}", headers=headers) as answer:
            response = web.StreamResponse(status=answer.status, headers=answer.headers)
            await response.prepare(request)
            async for chunk in answer.content.iter_any():
                await response.write(chunk)
            return response

    app = web.Application()
    app.router.add_get(f"{prefix}/{{rest:.*}}", pass_on)
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}{prefix}/"
        await runner.cleanup()


async def test_a_proxy_may_put_it_below_a_path_and_ask_who_it_is(browser: Browser, bank: Worker) -> None:
    """All that the page loads is found beside it, and the browser says the password each time."""
    async with proxy(await bank.url(), "/apps/bank") as url:
        looking = await open_at(browser, url, http_credentials={"username": "ann", "password": "tea"})
        assert not [text for text in looking.complaints if "401" not in text]
        await looking.page.goto("about:blank")
