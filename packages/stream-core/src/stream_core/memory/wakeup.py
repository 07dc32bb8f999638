"""How clients of the in-process broker wait: for a change, not for a tick of a polling loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from stream_core.errors import DeadlineError

__all__ = ["Wakeup"]


class Wakeup:
    """One bell for a whole cluster: whoever waits looks again each time it rings.

    It rings for every change (records, acknowledgements, members, offsets). Within one turn of the event loop all but
    the first ring cost next to nothing, because the waiters have been told already.
    """

    def __init__(self) -> None:
        self._waiters: dict[asyncio.Future[None], None] = {}  # in the order in which they began to wait

    def notify(self) -> None:
        """Let everyone who waits look again."""
        waiters, self._waiters = self._waiters, {}
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def forget(self) -> None:
        """Forget who waits: the event loop they lived in is gone."""
        self._waiters.clear()

    async def wait(self, timeout: float) -> bool:
        """Wait for the next change, up to ``timeout`` seconds of loop time; false when there was none."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters[waiter] = None
        try:
            done, _ = await asyncio.wait((waiter,), timeout=max(0.0, timeout))
        finally:
            self._waiters.pop(waiter, None)
        return bool(done)

    async def until(self, condition: Callable[[], bool], timeout: float, what: str) -> None:
        """Wait until ``condition`` holds.

        Args:
            condition: looked at now and after each change.
            timeout: seconds of loop time.
            what: what is awaited, for the message.

        Raises:
            DeadlineError: it did not hold in time.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        while not condition():
            if not await self.wait(deadline - loop.time()) and not condition():
                raise DeadlineError(f"no answer within {timeout:g} s to: {what}")
