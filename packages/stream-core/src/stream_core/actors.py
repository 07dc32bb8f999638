"""Actors: the running instances of an agent, which run its body again when it fails."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any, NoReturn

from stream_core.agents import Agent
from stream_core.cursor import Cursor, set_cursor
from stream_core.errors import DecodeError, HandlerError, ProduceError, StoreError, WorkerError
from stream_core.iteration import rewind
from stream_core.outbox import Outbox
from stream_core.policies import FailurePolicy
from stream_core.sessions import PartitionSession, Subscription
from stream_core.stacks import waiting_in
from stream_core.streams import Host, Stream

__all__ = ["Actor"]

logger = logging.getLogger(__name__)

LONGEST_DELAY = 5.0


class Actor:
    """One running instance of an agent: starts the body, and by the policy starts it again.

    Args:
        agent: what to run.
        subscription: where its events come from, shared with the agent's other actors.
        number: which of them this is.
        outbox: where the sends of its events go.
        max_restarts: how often the same event may fail before the worker gives up.
        on_conflict: called when a failed event had effects that others saw: the interval must be replayed.
        host: what streams need of the engine.
    """

    def __init__(
        self,
        agent: Agent,
        subscription: Subscription,
        number: int,
        outbox: Outbox,
        *,
        max_restarts: int,
        on_conflict: Callable[[str], None],
        host: Host | None = None,
    ) -> None:
        self.agent = agent
        self.cursor = Cursor(
            f"{agent.name}[{number}]", subscription.name, self._emit, concurrent=subscription.out_of_order
        )
        subscription.emit = outbox.emit
        self._outbox = outbox
        self._host = host
        self._subscription = subscription
        self._max_restarts = max_restarts
        self._on_conflict = on_conflict
        self._interrupted = False
        self._body: object = None
        self._task: asyncio.Task[None] | None = None
        self._failures: tuple[Any, int] = (None, 0)
        subscription.cursors.append(self.cursor)

    def _emit(self, sends: list[Any]) -> None:
        """Send what a finished event held; where events finish in any order, once all before it are finished too."""
        cursor = self.cursor
        session, record = cursor.session, cursor.record
        feed = session.feeds[cursor.subscription] if isinstance(session, PartitionSession) else None
        if feed is None or record is None or feed.progress is None:
            self._outbox.emit(sends)
        else:
            feed.park(record.offset, sends)

    def start(self) -> asyncio.Task[None]:
        """Run until stopped; the task ends with WorkerError when the agent cannot go on."""
        self._task = asyncio.create_task(self._run(), name=f"agent {self.cursor.name}")
        return self._task

    def interrupt(self) -> None:
        """Cancel the open event, whose effects are dropped, and start the body again."""
        if self._task is not None and not self._task.done():
            self._interrupted = True
            self._task.cancel()

    def where(self) -> str:
        """The line at which the body waits."""
        return waiting_in(self._body)

    async def _run(self) -> None:
        set_cursor(self.cursor)
        while True:
            self._interrupted = False
            stream: Stream[Any] = Stream(self._subscription, self.cursor, self._host)
            try:
                self._body = result = self.agent.body(stream)
                if isinstance(result, AsyncIterator):
                    async for _ in result:
                        pass
                else:
                    await result
            except asyncio.CancelledError as error:
                task = asyncio.current_task()
                if task is None or not task.cancelling():  # nobody cancelled the actor, but what it waited for
                    await self._failed(error)
                    continue
                self.cursor.rollback()
                rewind(self.cursor)
                if not self._interrupted:
                    raise
                task.uncancel()
            except Exception as error:
                await self._failed(error)
            else:
                self._returned()

    def _returned(self) -> NoReturn:
        self.cursor.rollback()
        rewind(self.cursor)
        raise WorkerError(
            f"agent {self.cursor.name} returned although its stream never ends: "
            "loop with `async for`, and do not break out of the loop"
        )

    async def _failed(self, error: BaseException) -> None:
        cursor = self.cursor
        record, session = cursor.record, cursor.session
        seen = cursor.rollback()
        if seen or isinstance(error, ProduceError):
            why = "others had seen its changes" if seen else "the producer is broken"
            self._on_conflict(f"agent {cursor.name} failed, and {why}")
        policy = FailurePolicy.CRASH if isinstance(error, DecodeError) else self.agent.on_failure
        where = (
            f"{session.tp} offset {record.offset}" if session is not None and record is not None else "outside an event"
        )
        skip = policy is FailurePolicy.SKIP and record is not None
        rewind(cursor, skip=skip)
        if skip and seen and session is not None and record is not None:
            self._subscription.skipped.add((session.tp, record.offset))  # it comes again with the interval
        if skip:
            logger.error("agent %s failed and skipped %s", cursor.name, where, exc_info=error)
            return
        failed, times = self._failures
        times = times + 1 if failed == where else 1
        self._failures = (where, times)
        if times > self._max_restarts or isinstance(error, StoreError):
            raise self._give_up(error, times) from error
        delay = min(0.05 * 2**times, LONGEST_DELAY)
        logger.error(
            "agent %s failed at %s; the same event comes first again in %.1f s (failure %d, the worker gives up after %d)",
            *(cursor.name, where, delay, times, self._max_restarts + 1),
            exc_info=error,
        )
        await asyncio.sleep(delay)

    def _give_up(self, error: BaseException, times: int) -> WorkerError:
        where, _ = self._failures
        cause = error if isinstance(error, (DecodeError, HandlerError)) else f"{type(error).__name__}: {error}"
        return WorkerError(
            f"agent {self.cursor.name} failed {times} times at {where}: {cause}; "
            'mend the event or the agent, or declare on_failure="skip"'
        )
