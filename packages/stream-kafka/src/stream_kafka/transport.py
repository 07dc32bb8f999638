"""Make the clients of one cluster: the Kafka driver."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable
from typing import Any

from stream_core.counters import TopicTraffic
from stream_core.ports import Admin, Consumer, Groups, Producer, Reader
from stream_kafka.cluster.admin import KafkaAdmin
from stream_kafka.cluster.groups import KafkaGroups
from stream_kafka.connecting import logs
from stream_kafka.consuming.assignor import StreamAssignor
from stream_kafka.consuming.consumer import KafkaConsumer
from stream_kafka.consuming.reader import KafkaReader
from stream_kafka.producing.producer import KafkaProducer
from stream_kafka.producing.transactions import KafkaTransactionalProducer
from stream_kafka.settings import KafkaSettings

__all__ = ["KafkaTransport"]

log = logging.getLogger(__name__)


class KafkaTransport:
    """The :class:`~stream_core.ports.Transport` of a Kafka cluster.

    Args:
        settings: the cluster and how to use it, or its URL (:meth:`KafkaSettings.from_url`).
        **options: with a URL, other settings by name.

    Raises:
        ConfigurationError: the URL or a setting is wrong.
    """

    def __init__(self, settings: KafkaSettings | str, **options: Any) -> None:
        self._settings = KafkaSettings.from_url(settings, **options) if isinstance(settings, str) else settings
        logs.install()
        self._warn()

    def _warn(self) -> None:
        credentials = self._settings.credentials
        context = credentials.ssl_context if credentials is not None else None
        if context is not None and not context.check_hostname:
            log.warning(
                "TLS does not check %s of the brokers, so that anybody on the way can read and change everything: "
                "set check_hostname=True and verify_mode=ssl.CERT_REQUIRED in the SSL context",
                "the host names" if context.verify_mode is ssl.CERT_REQUIRED else "the certificates",
            )

    def consumer(self, group: str, *, read_committed: bool) -> Consumer:
        """Make a member of ``group``."""
        return KafkaConsumer(self._settings, group, read_committed=read_committed, assignor=StreamAssignor())

    def reader(self, *, read_committed: bool) -> Reader:
        """Make a reader without a group."""
        return KafkaReader(self._settings, read_committed=read_committed)

    def producer(
        self,
        *,
        transactional_id: str | None = None,
        fence: Callable[[], bool] | None = None,
        sent: TopicTraffic | None = None,
    ) -> Producer:
        """Make a producer; ``fence`` is asked before each request and refuses it by returning true (the lease of the group is over)."""
        if transactional_id is None:
            return KafkaProducer(self._settings.of_producers, fence=fence, sent=sent)
        return KafkaTransactionalProducer(self._settings.of_producers, transactional_id, fence=fence, sent=sent)

    def admin(self) -> Admin:
        """Make an admin client."""
        return KafkaAdmin(self._settings)

    def groups(self) -> Groups:
        """Make a client that looks at groups from outside."""
        return KafkaGroups(self._settings)
