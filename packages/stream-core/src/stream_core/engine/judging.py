"""What becomes of events that fail: which failure policy holds for them, what it does with a record, and who is told of it."""

from __future__ import annotations

import logging

from stream_core.agents.actor import Opened
from stream_core.agents.agent import Agent
from stream_core.agents.answers import refuse
from stream_core.counters import Failure
from stream_core.engine.context import EngineContext
from stream_core.errors import ConfigurationError, DeadLetterError, DecodeError, EncodeError
from stream_core.policies import Chosen, FailurePolicy, JudgedError, is_of_event
from stream_core.primitives import TP
from stream_core.sending.dead_letters import send_dead_letter
from stream_core.sending.topic import Topic
from stream_core.stacks import traceback_of
from stream_core.streams.decoded import Rejected
from stream_core.streams.sessions import Subscription
from stream_core.streams.verdicts import Verdict
from stream_core.values.schemas import Schema

__all__ = ["Judge"]

logger = logging.getLogger(__name__)


class Judge:
    """Chooses failure policies, and applies them to records that a body does not get.

    Args:
        context: what the parts of the engine share.

    Attributes:
        letters: the topics of dead letters.
    """

    def __init__(self, context: EngineContext) -> None:
        self._context = context
        self.letters: set[str] = set()

    def provide(self, policy: FailurePolicy, reader: Subscription, *, of_channel: bool) -> None:
        """Let the topic of dead letters of a policy be declared, for one who reads topics.

        Raises:
            ConfigurationError: the reader cannot have this policy.
        """
        if policy.action != "dead_letter":
            return
        if of_channel:
            raise ConfigurationError(
                f"agent {reader.name} reads a channel, whose events are no records: it cannot have the policy 'dead_letter'"
            )
        name = self._letters_of(policy)
        if name in reader.topics:
            raise ConfigurationError(
                f"{reader.name} reads {name} and would send its own dead letters there: name another"
            )
        self.letters.add(name)
        if name not in self._context.topics:
            self._context.know(Topic(name, schema=Schema(bytes, bytes)))

    def _letters_of(self, policy: FailurePolicy) -> str:
        return policy.topic or f"{self._context.settings.group}-dead-letter"

    def choose(self, agent: Agent, error: BaseException, events: Opened) -> Chosen:
        """Choose the failure policy for an error of an agent during an event, and remember the failure."""
        chosen = self._chosen(agent, error, events)
        place = (events[0][0].tp, events[0][1].offset) if events else None
        self._note(agent.name, place, f"{type(error).__name__}: {error}", chosen.policy)
        return chosen

    def _chosen(self, agent: Agent, error: BaseException, events: Opened) -> Chosen:
        topics = self._context.topics
        if isinstance(error, DeadLetterError) or not is_of_event(error):
            return Chosen(FailurePolicy.CRASH)
        if isinstance(error, JudgedError):
            return Chosen(error.policy)
        if isinstance(error, DecodeError):
            places = {(session.tp, record.offset) for session, record in events}
            topic = topics.get(error.tp.topic)
            if topic is not None and (error.tp, error.offset) in places:
                return Chosen(topic.on_decode_error, "on_decode_error", topic.name)
        if isinstance(error, EncodeError) and events and events[0][0].partition >= 0:
            target = topics.get(error.topic)
            if target is not None and target.on_produce_error is not None:
                return Chosen(target.on_produce_error, "on_produce_error", target.name)
        return Chosen(agent.on_failure, "on_failure")

    def _note(self, reader: str, place: tuple[TP, int] | None, error: str, policy: FailurePolicy) -> None:
        """Remember a failure for whoever watches the worker."""
        tp, offset = (TP("", -1), -1) if place is None else place
        letters = self._letters_of(policy) if policy.action == "dead_letter" else ""
        failure = Failure(
            reader, tp.topic, tp.partition, offset, self._context.run.clock.wall(), error, policy.action, letters
        )
        self._context.counters.failures.add(failure)

    async def reject(self, reader: Subscription, tp: TP, one: Rejected) -> None:
        """Apply the failure policy to a record that the body does not get; the record is the open event meanwhile."""
        error = None if isinstance(one.why, Verdict) else one.why
        outbox = self._context.outbox
        if isinstance(one.why, Verdict):
            verdict = one.why
        else:
            policy = self._context.topics[tp.topic].on_decode_error
            if policy.action == "crash" or policy.attempts:
                raise one.why
            verdict = Verdict.of(one.why, policy)
            self._note(reader.name, (tp, one.record.offset), verdict.reason, policy)
        if verdict.policy.action == "dead_letter":
            topic = self._letters_of(verdict.policy)
            await send_dead_letter(outbox, topic, reader=reader.name, tp=tp, record=one.record, verdict=verdict)
            reader.counts.dead_letters += 1
        else:
            reader.counts.skipped += 1
        await refuse(outbox, tp, one.record, verdict.reason)
        if error is not None:
            what = "skipped" if verdict.policy.action == "skip" else "sent to the dead letters:"
            place, shown = f"{tp} offset {one.record.offset}", traceback_of(error, logger)
            logger.error("%s %s, which %s cannot read: %s", what, place, reader.name, error, exc_info=shown)
