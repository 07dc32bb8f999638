"""Translate errors of the client library into those of Stream: one table."""

from __future__ import annotations

from typing import TypeVar

import aiokafka.errors as kafka

from stream_core.errors import (
    BatchRefusedError,
    BrokerUnavailableError,
    CommitError,
    ConfigurationError,
    DeadlineError,
    FencedError,
    ProduceError,
    StreamError,
    TransportError,
    UnknownTopicError,
)

__all__ = [
    "FencedInstanceId",
    "InvalidRecord",
    "LeaseOver",
    "OffsetNotAvailable",
    "ProducerFencedCode",
    "ThrottlingQuotaExceeded",
    "TransactionAbortable",
    "UnstableOffsetCommit",
    "is_retriable",
    "produce_error",
    "translate",
]

E = TypeVar("E", bound=BaseException)


def _registered(error: type[E]) -> type[E]:
    """Make the class known under its code, unless the client has one by now: that one it raises and compares with, and so do we.

    The client knows the codes 0 to 72 and 79; to it every other one is an UnknownError, never retried.
    """
    known: type[E] = kafka.kafka_errors.setdefault(error.errno, error)  # type: ignore[attr-defined]
    return known


@_registered
class OffsetNotAvailable(kafka.BrokerResponseError):  # type: ignore[misc]
    """A leader that is new does not know its end offset yet (KIP-207)."""

    errno = 78
    message = "OFFSET_NOT_AVAILABLE"
    retriable = True


@_registered
class FencedInstanceId(kafka.BrokerResponseError):  # type: ignore[misc]
    """Another member has taken this static instance id (KIP-345)."""

    errno = 82
    message = "FENCED_INSTANCE_ID"


@_registered
class InvalidRecord(kafka.BrokerResponseError):  # type: ignore[misc]
    """A record is not one that its topic takes, such as one without a key for compaction (KIP-467)."""

    errno = 87
    message = "INVALID_RECORD"


@_registered
class UnstableOffsetCommit(kafka.BrokerResponseError):  # type: ignore[misc]
    """A transaction that commits this offset is not decided (KIP-447)."""

    errno = 88
    message = "UNSTABLE_OFFSET_COMMIT"
    retriable = True


@_registered
class ThrottlingQuotaExceeded(kafka.BrokerResponseError):  # type: ignore[misc]
    """A quota for the creation of topics is used up for the moment (KIP-599)."""

    errno = 89
    message = "THROTTLING_QUOTA_EXCEEDED"
    retriable = True


class LeaseOver(kafka.KafkaError):  # type: ignore[misc]
    """The lease of the group was over, so that nothing was sent; no broker says this, but our sender."""


@_registered
class ProducerFencedCode(kafka.BrokerResponseError):  # type: ignore[misc]
    """A newer producer with this transactional id exists (KIP-588)."""

    errno = 90
    message = "PRODUCER_FENCED"


@_registered
class TransactionAbortable(kafka.BrokerResponseError):  # type: ignore[misc]
    """The transaction can only be aborted (KIP-890)."""

    errno = 120
    message = "TRANSACTION_ABORTABLE"


# The nearest class in the method resolution order of an error decides.
_TABLE: dict[type[BaseException], type[StreamError]] = {
    kafka.KafkaError: TransportError,
    kafka.KafkaConnectionError: BrokerUnavailableError,
    kafka.KafkaUnavailableError: BrokerUnavailableError,
    kafka.NoBrokersAvailable: BrokerUnavailableError,
    kafka.NodeNotReadyError: BrokerUnavailableError,
    kafka.BrokerNotAvailableError: BrokerUnavailableError,
    kafka.KafkaTimeoutError: DeadlineError,
    kafka.RequestTimedOutError: DeadlineError,
    kafka.CommitFailedError: FencedError,
    kafka.IllegalGenerationError: FencedError,
    kafka.UnknownMemberIdError: FencedError,
    kafka.RebalanceInProgressError: FencedError,
    FencedInstanceId: FencedError,
    kafka.ProducerFenced: FencedError,
    kafka.InvalidProducerEpoch: FencedError,
    ProducerFencedCode: FencedError,
    kafka.TransactionCoordinatorFenced: FencedError,
    LeaseOver: FencedError,
    kafka.IncompatibleBrokerVersion: ConfigurationError,
    kafka.UnsupportedVersionError: ConfigurationError,
    kafka.OffsetMetadataTooLargeError: CommitError,
    kafka.InvalidCommitOffsetSizeError: CommitError,
    kafka.UnknownTopicOrPartitionError: UnknownTopicError,
    kafka.InvalidTransactionTimeout: ConfigurationError,
    kafka.MessageSizeTooLargeError: BatchRefusedError,
    kafka.RecordListTooLargeError: BatchRefusedError,
    kafka.InvalidTimestampError: BatchRefusedError,
    InvalidRecord: BatchRefusedError,
    kafka.OutOfOrderSequenceNumber: ProduceError,
    kafka.UnknownProducerId: ProduceError,
    kafka.InvalidProducerIdMapping: ProduceError,
    kafka.ProducerClosed: ProduceError,
    kafka.UnsupportedCodecError: ConfigurationError,
}


# What the user has no permission for, by the error of the broker.
_FORBIDDEN: dict[type[BaseException], str] = {
    kafka.ClusterAuthorizationFailedError: "the cluster",
    kafka.GroupAuthorizationFailedError: "group",
    kafka.TopicAuthorizationFailedError: "topic",
    kafka.TransactionalIdAuthorizationFailed: "transactional id",
}


def translate(error: BaseException, doing: str) -> StreamError:
    """Make an error of the client library one of ours.

    Args:
        error: what the client raised; one of ours is returned as it is.
        doing: what was going on, with its topic, partition or group; it begins the message.
    """
    if isinstance(error, StreamError):
        return error
    ours = next((_TABLE[base] for base in type(error).__mro__ if base in _TABLE), TransportError)
    detail = str(error) or type(error).__name__
    if (kind := _FORBIDDEN.get(type(error))) is not None:
        name = str(error.args[0]).removeprefix("topic ") if error.args else ""
        detail = f"the user of this client has no permission on {kind} {name}".rstrip() + "; grant it at the broker"
    made = ours(f"{doing}: {detail}")
    made.__cause__ = error
    return made


def produce_error(error: BaseException, doing: str) -> StreamError:
    """Make an error of the client one of ours, for records that were not acknowledged.

    FencedError when somebody took over, else ProduceError; its kind BatchRefusedError when a record is to blame, or when its topic may not
    be written to.
    """
    ours = translate(error, doing)
    if isinstance(ours, ProduceError | FencedError):
        return ours
    # A topic that may not be written to refuses what is sent to it; the other records of the producer are not to blame.
    made = (BatchRefusedError if isinstance(error, kafka.TopicAuthorizationFailedError) else ProduceError)(str(ours))
    made.__cause__ = ours  # it tells whether waiting helps
    return made


def is_retriable(error: BaseException) -> bool:
    """Say whether asking again may help: leaders and coordinators move, connections break."""
    return bool(getattr(error, "retriable", False))
