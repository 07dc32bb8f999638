"""Actors: the running instances of an agent, which run its body again when it fails."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing, suppress
from inspect import isawaitable
from typing import Any, NoReturn

from stream_core.agents.agent import Agent, set_current_agent
from stream_core.agents.answers import Answers
from stream_core.agents.supervisors import Supervisor
from stream_core.background import Background
from stream_core.errors import (
    BatchRefusedError,
    DecodeError,
    EventError,
    ProduceError,
    StoreError,
    WorkerError,
    found_in,
    is_trouble,
)
from stream_core.policies import Chosen, is_of_event
from stream_core.primitives import TP, RawRecord
from stream_core.sending.outbox import Outbox
from stream_core.sending.sinks import deliver
from stream_core.stacks import traceback_of, waiting_in
from stream_core.streams.cursor import Cursor, give_back
from stream_core.streams.effects import HeldSend, Session, set_effects
from stream_core.streams.sessions import Inbox, PartitionSession, Subscription
from stream_core.streams.stream import Host, Stream
from stream_core.streams.verdicts import Verdict

__all__ = ["Actor", "Opened"]

logger = logging.getLogger(__name__)

Opened = Sequence[tuple[Session, RawRecord]]
"""The records of an open event: one, or all of a list of ``take``; none when the body failed outside of an event."""

PAUSE = 1.0
"""Seconds after such trouble."""

TELL = 30.0
"""Seconds that ``on_error`` may take."""


class Actor:
    """One running instance of an agent: starts the body, and by the policy starts it again.

    Args:
        agent: what to run.
        subscription: where its events come from, shared with the agent's other actors.
        number: which of them this is: a number, or the partition that it is for.
        outbox: where the sends of its events go.
        supervisor: of the agent's actors.
        policy: the failure policy for an error of the agent during an event.
        ending: tells whether the engine ends its tasks.
        on_conflict: asks for the interval to be dropped and replayed, because a failed event had effects that others saw, or because the
            producer is broken. Called with a reason, and with the error unless a failure policy has counted it: then the policy says how
            often, and after which delay, the event is tried again.
        host: what streams need of the engine.
        inbox: what waits for this actor alone; that of the subscription when left out.
    """

    def __init__(
        self,
        agent: Agent,
        subscription: Subscription,
        number: int | TP,
        outbox: Outbox,
        *,
        supervisor: Supervisor,
        policy: Callable[[Agent, BaseException, Opened], Chosen],
        ending: Callable[[], bool],
        on_conflict: Callable[[str, BaseException | None], None],
        host: Host | None = None,
        inbox: Inbox | None = None,
    ) -> None:
        self.agent = agent
        self.cursor = Cursor(
            f"{agent.name}[{number}]", subscription.name, self._emit, concurrent=subscription.out_of_order
        )
        subscription.emit = outbox.held.emit
        self._outbox = outbox
        self._host = host
        self._inbox = inbox
        self._subscription = subscription
        self._supervisor = supervisor
        self._choose = policy
        self._ending = ending
        self._before = 0
        self._on_conflict = on_conflict
        self._interrupted = False
        self._failing = False
        self._fault: EventError | None = None
        self._verdict: Verdict | None = None
        self._doomed = False
        self._stopped = False
        self._wake = asyncio.Event()
        self._body: object = None
        self._task: asyncio.Task[None] | None = None
        subscription.cursors.append(self.cursor)
        supervisor.add(self.interrupt)

    def _emit(self, sends: list[HeldSend]) -> None:
        """Send what a finished event held; where events finish in any order, once all before it are finished too."""
        cursor = self.cursor
        session, record = cursor.session, cursor.record
        feed = session.feeds[cursor.subscription] if isinstance(session, PartitionSession) else None
        if feed is None or record is None or feed.progress is None:
            self._outbox.held.emit(sends)
        else:
            feed.park(record.offset, sends)

    def start(self) -> asyncio.Task[None]:
        """Run until stopped; the task ends with WorkerError when the agent cannot go on."""
        self._task = asyncio.create_task(self._run(), name=f"agent {self.cursor.name}")
        return self._task

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._task is not None and not self._task.done()

    @property
    def busy(self) -> bool:
        """Whether it works on an event, or waits until it tries one again."""
        return self.cursor.record is not None or self._failing or self._verdict is not None

    def stop(self) -> None:
        """Run no more: the open event is not finished."""
        self._stopped = True
        if self._task is not None:
            self._task.cancel()

    def leave(self, background: Background) -> None:
        """Run no more, and let nobody count on this actor: its partition is given up. ``background`` watches its task."""
        self._stopped = True
        self._subscription.cursors.remove(self.cursor)
        self._supervisor.remove(self.interrupt)
        if self._task is not None:
            background.dismiss(self._task)
            self.cursor.on_ask = self._leave_at_last

    def _leave_at_last(self) -> None:
        """Cancel a body that has caught the cancellation of before, and asks for another event."""
        assert self._task is not None
        self._task.cancel()

    def interrupt(self) -> None:
        """Cancel the open event, whose effects are dropped, and start the body again; does nothing when that happens anyway."""
        if self._task is not None and self._body is not None and not (self._failing or self._interrupted):
            self._before = self._task.cancelling()
            self._interrupted = self._task.cancel()
            self.cursor.on_ask = self._went_on
            self.cursor.attention = True

    def fail(self, error: EventError) -> None:
        """Let the open event fail with ``error`` as if the body had raised it; does nothing when it fails anyway."""
        if self.cursor.record is not None and not (self._failing or self._interrupted):
            self._fault = error
            self.interrupt()

    def _went_on(self) -> None:
        """End an interruption whose cancellation the body has caught: it asks for another event."""
        self._interrupted, self._fault = False, None
        assert self._task is not None
        self._task.uncancel()

    def wake(self) -> None:
        """Do not wait any longer to try an event again: its partition may be gone."""
        self._wake.set()

    def where(self) -> str:
        """Tell the line at which the body waits."""
        return waiting_in(self._body)

    async def _run(self) -> None:
        """Run the body until the actor is stopped, again after each failure that its policy forgives."""
        set_effects(self.cursor)
        set_current_agent(self.agent)
        task = asyncio.current_task()
        assert task is not None
        while True:
            try:
                await self._reject()
                self._warn()
                await self._run_body(Stream(self._subscription, self.cursor, self._host, inbox=self._inbox))
            except (asyncio.CancelledError, Exception) as error:
                interrupted, self._interrupted, self.cursor.on_ask = self._interrupted, False, None
                fault, self._fault = self._fault, None
                cancelled = self._is_cancelled(task, error, interrupted=interrupted)
                if fault is not None and not cancelled:
                    await self._failed(fault)
                    continue
                if not (interrupted or cancelled):
                    # An error, or what the body waited for was cancelled, and not the actor.
                    await self._failed(error)
                    continue
                if not isinstance(error, asyncio.CancelledError):
                    logger.warning("agent %s failed while it was interrupted: %r", self.cursor.name, error)
                if self.cursor.rollback():
                    self._on_conflict(
                        f"agent {self.cursor.name} was interrupted, and others had seen its changes", None
                    )
                give_back(self.cursor.withdraw())
                if self._stopped:
                    return
                if cancelled:
                    # By whoever stops the engine; or by the body itself, which is told as a failure of the worker.
                    raise
            else:
                if self._stopped:
                    return
                self._returned()

    def _is_cancelled(self, task: asyncio.Task[Any], error: BaseException, *, interrupted: bool) -> bool:
        """Tell whether the actor is to end, by whoever stops the engine or by its own body, and not only its open event.

        How often a task was cancelled does not say that alone: up to Python 3.12 a TaskGroup of the body leaves one behind when a task in
        it fails. So an error counts as any other unless it came of a cancellation.
        """
        left = task.uncancel() if interrupted else task.cancelling()
        if self._stopped or self._ending():
            return True
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, asyncio.CancelledError):
            cause = cause.__context__
        if cause is not None:
            return left > (self._before if interrupted else 0)
        while task.cancelling():
            task.uncancel()
        return False

    def _warn(self) -> None:
        """Warn when the body runs again and events of a run before wait for an acknowledgement that may never come."""
        if (count := self._subscription.unacknowledged) and self._body is not None:
            logger.warning(
                "agent %s runs again, and %d events that its body has had are not acknowledged: they do not come again before the worker "
                "starts anew, and until somebody acknowledges them nothing behind them is committed",
                self.cursor.name,
                count,
            )

    async def _run_body(self, stream: Stream[Any]) -> None:
        """Run the body once; what it yields goes to the sinks, and answers whoever asked."""
        self._body = result = self.agent.body(stream)
        if isinstance(result, Awaitable):
            await result
            return
        assert isinstance(result, AsyncGenerator)  # as its definition has checked
        sinks, cursor = self.agent.sinks, self.cursor
        answers = Answers(self._outbox)  # a list that comes again is answered from its first event on
        async with aclosing(result) as values:
            async for value in values:
                if sinks:
                    await deliver(sinks, value)
                record = cursor.record
                if cursor.others or (record is not None and record.headers):
                    await answers.give(cursor, value)

    def _returned(self) -> NoReturn:
        """Take back what a body has left open that ended although its stream has not.

        Raises:
            WorkerError: always; it says what to change.
        """
        self.cursor.rollback()
        give_back(self.cursor.withdraw())
        raise WorkerError(
            f"agent {self.cursor.name} returned although its stream never ends: "
            "loop with `async for`, and do not break out of the loop"
        )

    # -- failures

    async def _reject(self) -> None:
        """Do with the event that failed for good what was decided, as a part of that event, before the body runs again.

        When this fails it is another failure of the event.
        """
        verdict, self._verdict = self._verdict, None
        if verdict is not None:
            self.cursor.judge_open(verdict)
            if self._doomed:
                # The interval is about to be dropped, which interrupts this; the replay does what was decided.
                await asyncio.sleep(PAUSE)
            if all(not session.dead for session, _ in self.cursor.open_records()):
                await self.cursor.reject_open(verdict)
            give_back(self.cursor.withdraw())
            self._subscription.on_progress()
            await asyncio.sleep(0)  # many events may fail in a row, and nothing else on the way waits

    async def _failed(self, error: BaseException) -> None:
        """Take back what the open event did, and do what follows from its failure."""
        self._failing = True
        self._subscription.counts.failures += 1
        events = self.cursor.open_records()
        trouble = is_trouble(error)
        broken = found_in(error, ProduceError) or BatchRefusedError.behind(error)
        # What is in memory only is in no interval, and is not replayed.
        self._doomed = broken and all(session.partition >= 0 for session, _ in events)
        if self.cursor.rollback():
            self._on_conflict(f"agent {self.cursor.name} failed, and others had seen its changes", None)
        elif broken:
            self._on_conflict(f"agent {self.cursor.name} failed: {error}", error if trouble else None)
        if trouble:
            await self._again(error, events, PAUSE, "")
        else:
            await self._judge(error, events)
        self._failing = False

    async def _judge(self, error: BaseException, events: Opened) -> None:
        """Let the policy decide: again after a delay, skipped, to the dead letters, or the end of the worker.

        Raises:
            WorkerError: the policy gives up.
        """
        chosen, supervisor = self._choose(self.agent, error, events), self._supervisor
        policy = chosen.policy
        event = (events[0][0].tp, events[0][1].offset) if events else None
        times = supervisor.failed(event)
        limit = supervisor.max_restarts if policy.attempts is None or not events else policy.attempts
        if policy.attempts is None and isinstance(error, DecodeError) and error.final:
            limit = 0
        supervisor.restart_others(self.interrupt)
        if found_in(error, StoreError) or (times > limit and (policy.action == "crash" or not events)):
            self.cursor.withdraw()
            await self._tell(error)
            raise self._give_up(error, times, events, chosen) from error
        if times <= limit:
            what = f" (failure {times}, then {policy.action} after {limit + 1:g})"
            await self._again(error, events, policy.wait(times), what)
            return
        supervisor.decided(event)
        what = "is skipped" if policy.action == "skip" else "goes to the dead letters"
        shown = traceback_of(error, logger)
        logger.error(
            "agent %s failed at %s, which %s: %s", self.cursor.name, _place(events), what, _told(error), exc_info=shown
        )
        await self._tell(error)
        self._verdict = Verdict.of(error, policy.final)

    async def _again(self, error: BaseException, events: Opened, delay: float, what: str) -> None:
        """Let the same event come first again, after a while. Other actors go on meanwhile, and do not get it."""
        then = f"the same event comes first again in {delay:.1f} s{what}"
        shown = traceback_of(error, logger)
        logger.error(
            "agent %s failed at %s; %s: %s", self.cursor.name, _place(events), then, _told(error), exc_info=shown
        )
        self._wake.clear()
        # Looked at now: an abort that closes the sessions during the wait leaves us the partitions, and the policy its delay.
        ours = all(session.open for session, _ in events)
        withdrawn = self.cursor.withdraw()
        await self._tell(error)
        if ours:
            with suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await self._wake.wait()
        give_back(withdrawn)

    async def _tell(self, error: BaseException) -> None:
        """Call ``on_error``, outside of any event; what it raises is logged."""
        if self.agent.on_error is None:
            return
        set_effects(None)
        try:
            async with asyncio.timeout(TELL):
                if isawaitable(answer := self.agent.on_error(self.agent, error)):
                    await answer
        except (asyncio.CancelledError, Exception):
            task = asyncio.current_task()
            if task is not None and task.cancelling():  # the actor is cancelled, and not what on_error waited for
                raise
            logger.exception("on_error of agent %s failed", self.agent.name)
        finally:
            set_effects(self.cursor)

    def _give_up(self, error: BaseException, times: int, events: Opened, chosen: Chosen) -> WorkerError:
        often = "" if times == 1 else f" {times} times"
        if not is_of_event(error):
            advice = "that is not the fault of an event, so no failure policy passes over it: mend it, and start the worker again"
        elif not events:
            advice = "mend the agent"
        elif chosen.option:
            place = f" for topic {chosen.topic}" if chosen.topic else ""
            advice = f'mend the event or the agent, or declare {chosen.option}="skip" or "dead_letter"{place}'
        else:
            advice = "mend the event or the agent"
        return WorkerError(f"agent {self.cursor.name} failed{often} at {_place(events)}: {_told(error)}; {advice}")


def _told(error: BaseException) -> str:
    """Put an error into a sentence, with those of a group; an error of ours needs no name in front of it."""
    if isinstance(error, BaseExceptionGroup):
        return f"{error.message}: {'; '.join(map(_told, error.exceptions))}"
    return str(error) if isinstance(error, EventError) else f"{type(error).__name__}: {error}"


def _place(events: Opened) -> str:
    if not events:
        return "no event"
    (first, record), (last, until) = events[0], events[-1]
    place = f"{first.tp} offset {record.offset}"
    return place if len(events) == 1 else f"{place} to {last.tp} offset {until.offset}"
