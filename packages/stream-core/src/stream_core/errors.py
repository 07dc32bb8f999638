"""The exception tree of Stream, whole.

::

    StreamError
    ├── ConfigurationError          a setting, definition or topic is wrong: nothing was started
    │   ├── UnknownSettingError     a setting that does not exist (names the nearest one)
    │   ├── MissingPackageError     a driver or extra is not installed (names the package)
    │   └── TopicMismatchError      partitions or cleanup policy do not fit the definition
    ├── EventError                  one event failed: carries topic, partition, offset
    │   ├── DecodeError             key or value could not be decoded
    │   ├── EventTimeoutError       it held a transaction open for too long
    │   └── DeadLetterError         a failed event could not be sent to its topic of dead letters
    ├── Skip                        a processor dropped the event
    ├── SecurityError               a value that is not to be seen was about to become text
    ├── ValidationError             values do not fit the types of a record, or bytes are no such record
    ├── EncodeError                 a key or value could not be encoded, or the record is too large
    │   └── RecordRefusedError      the broker refused exactly this record
    ├── TransportError              the broker or the client
    │   ├── BrokerUnavailableError  no broker could be reached
    │   ├── AuthenticationError     client and broker do not accept each other: waiting does not help
    │   ├── DeadlineError           an answer did not come in time
    │   ├── ProduceError            a record was not acknowledged
    │   │   ├── BatchRefusedError   the broker refused a batch for what is in it
    │   │   └── TransactionExpiredError  the broker aborted a transaction that was open for too long
    │   ├── CommitError             offsets were not committed
    │   ├── FencedError             a newer member or producer took over: drop everything, rejoin
    │   ├── OffsetOutOfRangeError   the log does not hold that offset (any more)
    │   └── UnknownTopicError       the topic does not exist
    ├── RegistryError               the schema registry, or what it says
    │   ├── RegistryUnavailableError  it could not be reached, or did not answer in time
    │   ├── UnknownSchemaError      it has no such schema, version or subject
    │   └── SchemaRefusedError      it does not take a schema, which does not fit those before it
    ├── StoreError                  the local store of a table
    │   ├── StoreLockedError        another process holds it
    │   └── StoreCorruptError       its files are damaged: wipe and replay
    ├── IllegalStateError           something was told to do what its state forbids: a fault of Stream itself
    └── WorkerError                 the worker cannot go on and exits non-zero
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stream_core.primitives import TP

__all__ = [
    "TROUBLE",
    "AuthenticationError",
    "BatchRefusedError",
    "BrokerUnavailableError",
    "CommitError",
    "ConfigurationError",
    "DeadLetterError",
    "DeadlineError",
    "DecodeError",
    "EncodeError",
    "EventError",
    "EventTimeoutError",
    "FencedError",
    "IllegalStateError",
    "MissingPackageError",
    "NoReplyError",
    "OffsetOutOfRangeError",
    "ProduceError",
    "RecordRefusedError",
    "RegistryError",
    "RegistryUnavailableError",
    "RequestFailedError",
    "SchemaRefusedError",
    "SecurityError",
    "Skip",
    "StoreCorruptError",
    "StoreError",
    "StoreLockedError",
    "StreamError",
    "TopicMismatchError",
    "TransactionExpiredError",
    "TransportError",
    "UnknownSchemaError",
    "UnknownSettingError",
    "UnknownTopicError",
    "ValidationError",
    "WorkerError",
    "found_in",
    "is_trouble",
]


class StreamError(Exception):
    """Everything that Stream raises on purpose."""


class ConfigurationError(StreamError):
    """A setting, definition or topic is wrong; nothing was started."""


class UnknownSettingError(ConfigurationError):
    """A setting of that name does not exist; the message names the nearest known one."""


class MissingPackageError(ConfigurationError):
    """A driver or extra is not installed; the message names the package to install."""


class TopicMismatchError(ConfigurationError):
    """A topic exists with other partitions or another cleanup policy than its definition needs."""


class EventError(StreamError):
    """One event failed.

    Args:
        message: what went wrong, in one sentence.
        tp: the topic and partition of the event.
        offset: its offset.
    """

    def __init__(self, message: str, tp: TP, offset: int) -> None:
        super().__init__(f"{message} [topic {tp.topic}, partition {tp.partition}, offset {offset}]")
        self.tp = tp
        self.offset = offset


class DecodeError(EventError):
    """The key or value of a record could not be decoded.

    Args:
        message: what went wrong, in one sentence.
        tp: the topic and partition of the record.
        offset: its offset.
        final: whether decoding it again gives the same error for certain.
    """

    def __init__(self, message: str, tp: TP, offset: int, *, final: bool = False) -> None:
        super().__init__(message, tp, offset)
        self.final = final


class EventTimeoutError(EventError):
    """An event had sent something into the transaction, and went on for so long that the broker was about to abort it."""


class DeadLetterError(EventError):
    """A failed event could not be sent to its topic of dead letters: it is kept, as if its policy were ``crash``."""


class Skip(StreamError):  # noqa: N818 - the name that processors raise, as in the guides
    """Raised by a processor of a stream: the event is finished, and the body does not get it."""


class SecurityError(StreamError):
    """A value that is not to be seen by chance was about to become text."""


class ValidationError(StreamError, ValueError):
    """Values do not fit the types of a record, or bytes are no such record; the message names the class and the path of the field."""


class EncodeError(StreamError):
    """A key or value could not be encoded for its topic or table, or the record is not one that the topic takes.

    Args:
        message: what went wrong, in one sentence.
        topic: the topic it was for; empty for tables.
    """

    def __init__(self, message: str, topic: str = "") -> None:
        super().__init__(message)
        self.topic = topic


class RecordRefusedError(EncodeError):
    """The broker refused exactly this record; the interval it belongs to is replayed without it."""


class TransportError(StreamError):
    """The broker, or the client that speaks to it."""


class BrokerUnavailableError(TransportError):
    """No broker could be reached at the configured addresses."""


class AuthenticationError(TransportError):
    """A broker refuses the credentials of this client, or this client the certificate of a broker: waiting does not help."""


class DeadlineError(TransportError):
    """The broker did not answer within the deadline of the request."""


class ProduceError(TransportError):
    """A record was not acknowledged; the interval it belongs to is aborted and replayed."""


class BatchRefusedError(ProduceError):
    """The broker refused a batch for one of its records: too large, without a key for compaction, from the future."""

    @classmethod
    def behind(cls, error: BaseException | None) -> bool:
        """Tell whether ``error`` is one, or caused by one, or a group of errors with such a one."""
        while error is not None and not isinstance(error, cls):
            if isinstance(error, BaseExceptionGroup) and any(map(cls.behind, error.exceptions)):
                return True
            error = error.__cause__
        return error is not None


class TransactionExpiredError(ProduceError):
    """The broker aborted a transaction of this producer that was open for longer than its timeout; nobody else took over."""


class CommitError(TransportError):
    """Offsets were not committed; the interval is replayed."""


class FencedError(TransportError):
    """A newer member, generation or producer took over: everything uncommitted here is dropped."""


class OffsetOutOfRangeError(TransportError):
    """The log of a partition does not hold the requested offset.

    Args:
        tp: the partition.
        offset: the offset that was asked for.
    """

    def __init__(self, tp: TP, offset: int) -> None:
        super().__init__(f"offset {offset} is not in the log of topic {tp.topic}, partition {tp.partition}")
        self.tp = tp
        self.offset = offset


class UnknownTopicError(TransportError):
    """A topic does not exist on the broker."""


class RegistryError(StreamError):
    """The schema registry, or what it says."""


class RegistryUnavailableError(RegistryError):
    """The schema registry could not be reached, or has not answered within its deadline: it is asked again."""


class UnknownSchemaError(RegistryError):
    """The schema registry has no such schema, version or subject."""


class SchemaRefusedError(RegistryError):
    """The schema registry does not take a schema: it is none, or does not fit the versions before it."""


class StoreError(StreamError):
    """The local store of a table partition failed."""


class StoreLockedError(StoreError):
    """Another process holds the store of this table partition."""


class StoreCorruptError(StoreError):
    """The files of a store are damaged; the store is wiped and replayed from its changelog."""


class NoReplyError(StreamError, TimeoutError):
    """An agent was asked and has not answered in time."""


class RequestFailedError(StreamError):
    """A question will not be answered: its event failed and was given up, or the app stopped."""


class IllegalStateError(StreamError):
    """Something was told to do what its state forbids, such as a commit after a failure: a fault of Stream itself, please report it."""


class WorkerError(StreamError):
    """The worker cannot go on, and the process exits non-zero with this reason; or it was stopped while somebody waited for it."""


TROUBLE = (
    ProduceError,
    FencedError,
    BrokerUnavailableError,
    DeadlineError,
    RegistryUnavailableError,
    StoreCorruptError,
)
"""What the broker, the client or the disk is to blame for, not the code that notices it: it is tried again, and no policy is asked."""


def found_in(error: BaseException, kinds: type[BaseException] | tuple[type[BaseException], ...]) -> bool:
    """Tell whether an error is of some kinds, or one in it is where it is a group, as :class:`asyncio.TaskGroup` raises it."""
    if isinstance(error, BaseExceptionGroup):
        return any(found_in(one, kinds) for one in error.exceptions)
    return isinstance(error, kinds)


def is_trouble(error: BaseException) -> bool:
    """Tell whether an error is of :data:`TROUBLE`, or one in a group is: then all that failed is tried again."""
    return found_in(error, TROUBLE)
