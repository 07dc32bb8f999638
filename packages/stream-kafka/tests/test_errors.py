"""Every error of the client library becomes one of ours."""

from __future__ import annotations

import aiokafka.errors as kafka
import pytest

from stream_core.errors import (
    BatchRefusedError,
    BrokerUnavailableError,
    DeadlineError,
    FencedError,
    ProduceError,
    StreamError,
    TransportError,
    UnknownTopicError,
)
from stream_kafka.errors import UnstableOffsetCommit, is_retriable, translate


def _all(base: type[Exception]) -> set[type[Exception]]:
    return {base}.union(*(_all(child) for child in base.__subclasses__()))


@pytest.mark.parametrize("error", sorted(_all(kafka.KafkaError) - {kafka.BrokerResponseError}, key=str))
def test_every_client_error_is_translated(error: type[BaseException]) -> None:
    """The result is a StreamError that names what was going on and chains the cause."""
    cause = error()

    ours = translate(cause, "asking for the moon")

    assert isinstance(ours, StreamError)
    assert str(ours).startswith("asking for the moon: ")
    assert ours.__cause__ is cause


@pytest.mark.parametrize(
    ("code", "ours"),
    [
        (3, UnknownTopicError),
        (7, DeadlineError),
        (10, BatchRefusedError),
        (22, FencedError),
        (25, FencedError),
        (27, FencedError),
        (45, ProduceError),
        (47, FencedError),
        (78, TransportError),
        (82, FencedError),
        (87, BatchRefusedError),
        (88, TransportError),
        (89, TransportError),
        (90, FencedError),
        (120, TransportError),
        (32_000, TransportError),
    ],
)
def test_broker_codes(code: int, ours: type[StreamError]) -> None:
    """The codes of brokers map to the class that says what to do."""
    assert type(translate(kafka.for_code(code)(), "testing")) is ours


@pytest.mark.parametrize("code", [78, 82, 88, 89, 90, 120])
def test_codes_that_the_client_lacks_are_registered(code: int) -> None:
    """A code registered here is not an unknown error any more."""
    assert kafka.for_code(code) is not kafka.UnknownError
    assert kafka.for_code(code).errno == code


def test_connection_errors_mean_that_no_broker_is_there() -> None:
    """What the client raises without a connection is told from an answer that is late."""
    assert isinstance(translate(kafka.KafkaConnectionError(), "x"), BrokerUnavailableError)
    assert isinstance(translate(kafka.KafkaTimeoutError(), "x"), DeadlineError)


def test_our_own_errors_pass_unchanged() -> None:
    """Translation can be applied twice."""
    error = FencedError("gone")
    assert translate(error, "again") is error


def test_what_may_be_asked_again() -> None:
    """Undecided offsets, moved coordinators and quotas are, a stale generation is not."""
    assert is_retriable(UnstableOffsetCommit())
    assert is_retriable(kafka.for_code(89)())
    assert is_retriable(kafka.NotCoordinatorForGroupError())
    assert not is_retriable(kafka.IllegalGenerationError())
    assert not is_retriable(ValueError())


@pytest.mark.parametrize(
    ("error", "named"),
    [
        (kafka.TopicAuthorizationFailedError("topic orders"), "topic orders"),
        (kafka.TopicAuthorizationFailedError("orders"), "topic orders"),
        (kafka.GroupAuthorizationFailedError("shop"), "group shop"),
        (kafka.TransactionalIdAuthorizationFailed("shop-1"), "transactional id shop-1"),
        (kafka.ClusterAuthorizationFailedError(), "the cluster"),
    ],
)
def test_a_permission_that_is_missing_is_named(error: kafka.KafkaError, named: str) -> None:
    """The message says on what, and who can mend it."""
    said = f"testing: the user of this client has no permission on {named}; grant it at the broker"
    assert str(translate(error, "testing")) == said
