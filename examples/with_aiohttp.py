"""Questions of HTTP clients, answered by an agent: an app that starts and stops with a server of aiohttp.

    python examples/with_aiohttp.py
    curl "http://127.0.0.1:8080/quotes/tea?amount=3"

On memory:// server and agent are one process. On a Kafka they may be several: with AGENTS_ELSEWHERE=true the server
only asks, and workers answer:

    cd examples; stream -A with_aiohttp worker
"""

import os
import sys
from collections.abc import AsyncIterator

from aiohttp import web

import stream_app as faust

PRICES = {"tea": 4.5, "ink": 2.25}


class Question(faust.Record):
    """What somebody wants to buy."""

    item: str
    amount: int


class Quote(faust.Record):
    """What it costs; nothing is said of an item that is not sold."""

    item: str
    total: float | None


app = faust.App(
    "aiohttp-quotes",
    broker=os.environ.get("BROKER_URL", "memory://"),
)


@app.agent(value_type=Question)
async def quote(questions: faust.Stream[Question]) -> AsyncIterator[Quote]:
    """Say what it costs."""
    async for question in questions:
        price = PRICES.get(question.item)
        yield Quote(item=question.item, total=None if price is None else price * question.amount)


async def get_quote(request: web.Request) -> web.Response:
    """Ask the agent."""
    item, amount = request.match_info["item"], request.query.get("amount", "1")
    if not amount.isdecimal():
        raise web.HTTPBadRequest(text="amount is no number")
    print("asking about", item, flush=True)
    try:
        answer: Quote = await quote.ask(Question(item=item, amount=int(amount)), timeout=30)
    except faust.StreamError as error:  # no worker answers, or no broker
        raise web.HTTPServiceUnavailable(text=str(error)) from error
    if answer.total is None:
        raise web.HTTPNotFound(text=f"{item} is not sold here")
    return web.json_response(answer.asdict())


async def with_app(_: web.Application) -> AsyncIterator[None]:
    """Start the app before the first request, and stop it behind the last one."""
    if os.environ.get("AGENTS_ELSEWHERE") == "true":
        await app.start_client(timeout=10)
    else:
        await app.start(timeout=10)
    yield
    await app.stop()


def make_server() -> web.Application:
    """Make the server."""
    server = web.Application()
    server.cleanup_ctx.append(with_app)
    server.add_routes([web.get("/quotes/{item}", get_quote)])
    return server


if __name__ == "__main__":
    try:
        web.run_app(make_server(), host="127.0.0.1", port=int(os.environ.get("PORT", "8080")))
    except faust.StreamError as error:
        sys.exit(str(error))
