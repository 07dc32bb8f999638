"""The bank example, run whole on a finite input: deposits in, totals in a table, one echo for each deposit.

python examples/demo.py            # on memory://, nothing to install
python examples/demo.py kafka      # on a real Kafka that is started for it and stopped again
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import tempfile
import time
from collections import Counter

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

DEPOSITS = 20_000
ACCOUNTS = 10
console = Console()


async def feed(bank, books: Counter[str]) -> None:
    """Send random deposits, and write down what the totals must be."""
    pick = random.Random(2026)
    for _ in range(DEPOSITS):
        deposit = bank.Deposit(account=f"account-{pick.randrange(ACCOUNTS)}", amount=pick.randrange(1, 100))
        books[deposit.account] += deposit.amount
        await bank.deposits.send(deposit, key=deposit.account)


async def watch(bank, books: Counter[str]) -> None:
    """Show how far the agent is, until its table agrees with the books."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("money counted", total=None)
        feeding = asyncio.create_task(feed(bank, books))
        while not feeding.done() or dict(bank.totals.items()) != books:
            if bank.app.engine.failure.done():
                raise bank.app.engine.failure.result()
            counted = sum(bank.totals.values())
            progress.update(bar, completed=counted, total=sum(books.values()) if feeding.done() else None)
            await asyncio.sleep(0.05)
        await feeding
        progress.update(bar, completed=sum(books.values()), total=sum(books.values()))


async def run(bank) -> None:
    """Start the app, feed it, show its table."""
    books: Counter[str] = Counter()
    await bank.app.start()
    console.print(f"app [bold]{bank.app.id}[/] is running on {bank.app.conf.broker_scheme}://, exactly-once")
    began = time.perf_counter()
    try:
        async with asyncio.timeout(120):
            await watch(bank, books)
        seconds = time.perf_counter() - began
        table = Table("account", "total", "expected", title="table totals")
        for account, total in sorted(bank.totals.items()):
            table.add_row(account, f"{total:,}", f"{books[account]:,}")
        console.print(table)
        console.print(f"{DEPOSITS:,} deposits in {seconds:.1f} s, and every total is right")
    finally:
        await bank.app.stop()


def main() -> None:
    """Choose the broker, then run."""
    where = sys.argv[1] if len(sys.argv) > 1 else "memory"
    if where not in ("memory", "kafka"):
        sys.exit(f"demo.py memory, or demo.py kafka; not {where!r}")
    with tempfile.TemporaryDirectory() as directory:
        os.environ["APP_DATADIR"] = directory
        os.environ["APP_WEB_ENABLED"] = "false"
        if where == "memory":
            os.environ |= {"BROKER_URL": "memory://demo", "APP_STORE": "memory://"}
            run_bank()
            return
        from stream_kafka.broker.server import Broker

        with Broker(port=0, say=console.print) as broker:
            os.environ["BROKER_URL"] = f"kafka://{broker.address}"
            run_bank()


def run_bank() -> None:
    """Import the program as anybody would, now that the environment says where to run it."""
    import bank

    asyncio.run(run(bank))


if __name__ == "__main__":
    main()
