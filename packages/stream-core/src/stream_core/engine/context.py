"""What the parts of one engine share."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial

from stream_core.agents.answers import AnswerTopics
from stream_core.background import Background
from stream_core.counters import Counters
from stream_core.engine.clients import Clients
from stream_core.engine.participants import Participant
from stream_core.engine.status import IntervalStatus
from stream_core.ports import Transport
from stream_core.runs import Run
from stream_core.sending.outbox import Outbox
from stream_core.sending.topic import AnyTopic
from stream_core.sending.watched import SendWatch
from stream_core.sensors import SEND, Sensors
from stream_core.settings import EngineSettings
from stream_core.states import ENGINE, EngineState, Machine
from stream_core.streams.watching import Watch

__all__ = ["EngineContext"]


class EngineContext:
    """What the parts of one engine share: each of them is given this, and the parts that it calls.

    Args:
        transport: the driver of the cluster.
        settings: of the engine.
        topics: all topics that definitions of the app name.
        participants: the tables.
        run: what handles are bound to.
        sensors: who is told of what happens.
        on_failure: called with the error after which the worker cannot go on.

    Attributes:
        topics: the topics by name; those of pipes and dead letters are added.
        watch: tells sensors of each record and event, where one wants to hear of them.
        counters: what the engine has done so far.
        state: what the engine does now.
        interval: what is to become of the interval.
        background: runs tasks, and is told the error that the worker cannot survive.
        outbox: takes what is sent.
        clients: consumer and producers.
    """

    def __init__(
        self,
        transport: Transport,
        settings: EngineSettings,
        *,
        topics: Collection[AnyTopic],
        participants: Sequence[Participant],
        run: Run,
        sensors: Sensors,
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self.settings = settings
        self.topics = {topic.name: topic for topic in topics}
        self.participants = participants
        self.run = run
        self.sensors = sensors
        self.watch = Watch.of(sensors)
        self.counters = Counters(settings.reply_prefix)
        self.state = Machine("the engine", EngineState.CREATED, ENGINE)
        self.interval = IntervalStatus()
        self.background = Background(on_failure, run)
        self.outbox = Outbox(transactional=settings.exactly_once)
        self.outbox.may_answer = AnswerTopics(settings, self.topics)
        self.outbox.on_broken = partial(self.interval.spoil, "the producer of events is broken")
        self.clients = Clients(transport, settings, self.outbox, self.counters.sent)
        if sensors.hear(*SEND):
            self.outbox.watch = SendWatch(sensors)
            self.counters.sent.on_batch = self.outbox.watch.answered

    def know(self, topic: AnyTopic) -> None:
        """Take a topic in that no definition of the app has described, and let it be sent to."""
        known = self.topics.get(topic.name)
        if known is None or known.by_name:
            self.topics[topic.name] = topic
        topic.bind(self.run, self.outbox)
