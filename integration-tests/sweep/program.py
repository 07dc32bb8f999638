"""The app that is swept: agents of each failure policy, three tables, one with windows, a repartition, questions, and timers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from stream_app import App
from stream_core.errors import StreamError
from sweep.world import CLOSED, ECHO, GOOD, ORDERS, PARTITIONS, PASSED, QUESTIONS, TICKS, WINDOW, Party, World

__all__ = ["DEADS", "fails", "make_app", "skims"]

DEADS = "sweep-dead-letter"
ASK = 20.0
"""Seconds that a question of a timer may take, its sending apart."""


def fails(amount: int) -> bool:
    """Whether the agent of dead letters fails at this amount."""
    return amount % 5 == 0


def skims(amount: int) -> bool:
    """Whether the agent that skips passes this amount; it fails at the others, when it has changed its table."""
    return amount % 4 != 0


def make_app(world: World, party: Party, place: str) -> App:
    """Make the app of one life of a worker; its data directory is that of its place."""
    app = App(
        "sweep",
        broker=f"sweep.drivers.SweptTransport://{party.name}",
        store="sweep.drivers.swept_stores://",
        datadir=world.directory / place,
        processing_guarantee="exactly_once" if world.exactly_once else "at_least_once",
        broker_commit_interval=1.0,
        broker_rebalance_timeout=9.0,  # a third of it is for giving partitions up
        topic_partitions=PARTITIONS,
        web_enabled=False,
    )
    orders = app.topic(ORDERS, key_type=str, value_type=int)
    questions = app.topic(QUESTIONS, value_type=int)
    echo, good, closed = (app.topic(name, key_type=str) for name in (ECHO, GOOD, CLOSED))
    totals = app.Table("totals", default=int, key_type=str, value_type=int)
    kinds = app.Table("kinds", default=int, key_type=str, value_type=int)

    async def close(window: tuple[str, tuple[float, float]], amount: int) -> None:
        """Pass on what an account had in a window, and add it up in a table that an agent changes as well."""
        account, (begin, _) = window
        await closed.send(key=account, value=[account, round(begin), amount], partition=int(account[-1]))
        totals[f"{account}-closed"] += amount

    lately = app.Table("lately", default=int, key_type=str, value_type=int, on_window_close=close)
    windows = lately.tumbling(WINDOW, expires=60.0, grace=0.0)

    @app.agent(orders, name="count")
    async def count(stream: Any) -> None:
        """Add up the amounts of each account, and echo where they were; fails once before and once behind that."""
        async for event in stream.events():
            place = [event.message.partition, event.message.offset]
            if place == [0, 2] and world.fails_once("count", (0, 2)):
                raise ValueError("once, before there is any effect")
            totals[event.key] += event.value
            await echo.send(key=event.key, value=place)
            if place == [1, 4] and world.fails_once("count", (1, 4)):
                raise ValueError("once, behind all effects")

    @app.agent(orders, name="sort")
    async def sort(stream: Any) -> None:
        """Add up the amounts by their kind, in another topic."""
        async for amount in stream.group_by(lambda amount: f"kind{amount % 3}", name="kind"):
            kinds[f"kind{amount % 3}"] += amount

    @app.agent(orders, name="check", on_failure="dead_letter")
    async def check(stream: Any) -> None:
        """Pass on what is good; all else becomes a dead letter."""
        async for event in stream.events():
            if fails(event.value):
                raise ValueError(f"{event.value} is not good")
            await good.send(key=event.key, value=[event.message.partition, event.message.offset])

    @app.agent(orders, name="skim", on_failure="skip")
    async def skim(stream: Any) -> None:
        """Add up what is passed, in the table that another agent changes as well; all else leaves nothing behind."""
        async for event in stream.events():
            totals[f"{event.key}-skim"] += event.value
            if not skims(event.value):
                raise ValueError(f"{event.value} is skipped")
            await event.send(PASSED, value=[event.message.partition, event.message.offset])  # described, and made, here

    @app.agent(orders, name="window")
    async def window(stream: Any) -> None:
        """Add up the amounts of each account in windows."""
        async for account, amount in stream.items():
            windows[account] += amount

    @app.agent(questions, name="double")
    async def double(stream: Any) -> AsyncIterator[int]:
        """Answer."""
        async for number in stream:
            yield 2 * number

    @app.agent(app.topic(pattern="audit-.*", value_type=int), name="audit")
    async def audit(stream: Any) -> None:
        """Read what is found by a pattern."""
        async for number in stream:
            world.audited.add(number)

    @app.timer(0.7)
    async def tick() -> None:
        """Send outside of events, and look into a table, and at everything."""
        number = world.next_number("tick")
        try:
            delivery = await app.topic(TICKS, partitions=1).send(value=number)  # described, and made, here
            world.ticks[number] = delivery
            if number % 2:
                await delivery
                world.acknowledged.add(number)
        except StreamError:
            world.ticks.pop(number, None)  # it was told
        try:
            totals.get("a0")
            list(totals.items())
        except StreamError:
            pass  # as a page does: it shows what went wrong, and the worker goes on
        snapshot = app.engine.snapshot()
        owned = {(one.topic, one.partition) for one in snapshot.owners if one.instance == snapshot.instance}
        mine = {(one.topic, one.partition) for one in snapshot.partitions}
        if snapshot.owners_settled and mine and not mine <= owned:
            world.problem(f"{party.name} has {sorted(mine)}, and the group says that it owns {sorted(owned)}")

    @app.timer(1.3)
    async def inquire() -> None:
        """Ask another agent."""
        if world.quiet:
            return
        number = 1000 + world.next_number("question")
        world.asked.append(number)
        await world.asks(double.ask(number, timeout=ASK), number, ASK + party.timeout + 5)

    return app
