"""Questions of HTTP clients, answered by an agent: an app in the lifespan of FastAPI. It needs fastapi and uvicorn.

    uvicorn --app-dir examples with_fastapi:api
    curl "http://127.0.0.1:8000/quotes/tea?amount=3"

On memory:// server and agent are one process. On a Kafka they may be several: with AGENTS_ELSEWHERE=true the server
only asks, and workers answer:

    python examples/with_fastapi.py worker
"""

import os
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI, HTTPException

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
    "fastapi-quotes",
    broker=os.environ.get("BROKER_URL", "memory://"),
)


@app.agent(value_type=Question)
async def quote(questions: faust.Stream[Question]) -> AsyncIterator[Quote]:
    """Say what it costs."""
    async for question in questions:
        price = PRICES.get(question.item)
        yield Quote(item=question.item, total=None if price is None else price * question.amount)


api = FastAPI(lifespan=faust.lifespan(app, client_only=os.environ.get("AGENTS_ELSEWHERE") == "true", timeout=10))


@api.get("/quotes/{item}")
async def get_quote(item: str, amount: int = 1) -> dict[str, Any]:
    """Ask the agent."""
    print("asking about", item, flush=True)
    try:
        answer: Quote = await quote.ask(Question(item=item, amount=amount), timeout=30)
    except faust.StreamError as error:  # no worker answers, or no broker
        raise HTTPException(503, str(error)) from error
    if answer.total is None:
        raise HTTPException(404, f"{item} is not sold here")
    return answer.asdict()


if __name__ == "__main__":
    app.main()
