"""The names of aiokafka that are not its public interface, and that this package stands on.

A new release of aiokafka that moves one of them fails here, with its name, instead of in production.
"""

from __future__ import annotations

import hashlib
import inspect
from importlib.metadata import requires, version
from typing import Any

import pytest
from aiokafka import client, conn, errors
from aiokafka.cluster import ClusterMetadata
from aiokafka.consumer import fetcher, group_coordinator, subscription_state
from aiokafka.producer import message_accumulator, producer, sender, transaction_manager
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.protocol.transaction import EndTxnRequest
from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder, _DefaultRecordBatchPy
from aiokafka.record.memory_records import MemoryRecords

from stream_kafka.errors import FencedInstanceId, OffsetNotAvailable, UnstableOffsetCommit, _registered

METHODS = {
    client.AIOKafkaClient: (
        "_metadata_update _md_synchronizer _on_connection_closed _get_conn close force_metadata_update "
        "set_topics send ready coordinator_lookup get_random_node hosts"
    ),
    conn.AIOKafkaConnection: "connect close connected send authenticator_oauth authenticator_scram _do_sasl_handshake",
    conn.OAuthAuthenticator: "step",
    conn.ScramAuthenticator: "create_salted_password",
    ClusterMetadata: "update_metadata broker_metadata failed_update partitions_for_topic leader_for_partition brokers",
    fetcher.Fetcher: "_create_fetch_waiter _notify _set_error _get_actions_per_node seek_to close error_future",
    fetcher.FetchResult: "check_assignment",
    fetcher.PartitionRecords: "_consume_aborted_up_to _contains_abort_marker",
    group_coordinator.GroupCoordinator: (
        "_send_req _do_heartbeat _perform_assignment _on_join_complete _maybe_leave_group ensure_coordinator_known "
        "coordinator_dead reset_generation request_rejoin close"
    ),
    subscription_state.SubscriptionState: (
        "subscribe assign_from_user is_assigned pause resume seek reassignment_in_progress subscription"
    ),
    subscription_state.TopicPartitionState: "consumed_to position paused",
    message_accumulator.MessageAccumulator: "_append_batch _pop_batch fail_all",
    message_accumulator.BatchBuilder: "size close record_count",
    sender.Sender: (
        "_send_produce_req _maybe_do_transactional_request "
        "_find_coordinator _coordinator_dead _fail_all _do_txn_offset_commit sender_task start close"
    ),
    sender.TxnOffsetCommitHandler: "create_request handle_response do",
    transaction_manager.TransactionManager: (
        "maybe_add_partition_to_txn increment_sequence_number complete_transaction error_transaction fatal_error begin_transaction "
        "committing_transaction aborting_transaction "
        "add_offsets_to_txn offset_committed wait_for_transaction_end is_fatal_error"
    ),
    DefaultRecordBatchBuilder: "append size estimate_size_in_bytes",
    _DefaultRecordBatchPy: "magic base_offset next_offset max_timestamp first_timestamp timestamp_type LOG_APPEND_TIME",
    DefaultRecordBatch: (
        "validate_crc base_offset next_offset producer_id is_control_batch is_transactional "
        "compression_type CODEC_MASK CODEC_GZIP CODEC_SNAPPY CODEC_LZ4 CODEC_ZSTD"
    ),
    MemoryRecords: "has_next next_batch",
}

ATTRIBUTES = {
    client.AIOKafkaClient: "_md_update_fut _sync_task _topics _retry_backoff _conns",
    conn.AIOKafkaConnection: "_sasl_oauth_token_provider _sasl_plain_username _sasl_plain_password _sasl_mechanism _writer",
    conn.OAuthAuthenticator: "_token_sent",
    fetcher.Fetcher: (
        "_records _subscriptions _isolation_level _wait_consume_future _client _retry_backoff _prefetch_backoff _fetch_max_wait_ms"
    ),
    fetcher.FetchResult: "_partition_records _assignment",
    fetcher.FetchError: "_error",
    fetcher.PartitionRecords: (
        "_records _records_iterator _check_crcs _isolation_level _aborted_producers next_fetch_offset"
    ),
    group_coordinator.GroupCoordinator: (
        "generation member_id group_id coordinator_id _group_instance_id _session_timeout_ms _coordination_task "
        "_heartbeat_task _commit_refresh_task _pending_exception _closing _client"
    ),
    subscription_state.TopicPartitionState: "highwater lso",
    _DefaultRecordBatchPy: "_buffer _pos _num_records",
    message_accumulator.BatchBuilder: "_builder _relative_offset",
    message_accumulator.MessageBatch: "future _drain_waiter",
    message_accumulator.MessageAccumulator: "_batches _pending_batches",
    sender.Sender: "_txn_manager _message_accumulator _in_flight _muted_partitions _retry_backoff client",
    sender.TxnOffsetCommitHandler: "_offsets _group_id",
    sender.BaseHandler: "_sender _default_backoff group",
    transaction_manager.TransactionManager: (
        "state transactional_id _sequence_numbers _txn_partitions _txn_consumer_group _transaction_waiter"
    ),
}

PARAMETERS = {
    conn.AIOKafkaConnection: (
        "host port client_id request_timeout_ms ssl_context security_protocol max_idle_ms on_close sasl_mechanism "
        "sasl_plain_username sasl_plain_password sasl_kerberos_service_name sasl_kerberos_domain_name "
        "sasl_oauth_token_provider"
    ),
    fetcher.Fetcher: "client subscriptions fetch_max_wait_ms fetch_max_bytes max_partition_fetch_bytes check_crcs isolation_level",
    fetcher.PartitionRecords: (
        "tp records aborted_transactions fetch_offset key_deserializer value_deserializer check_crcs isolation_level"
    ),
    fetcher.FetchResult: "tp assignment partition_records backoff",
    group_coordinator.GroupCoordinator: (
        "client subscription group_id session_timeout_ms heartbeat_interval_ms rebalance_timeout_ms "
        "enable_auto_commit assignors max_poll_interval_ms"
    ),
    message_accumulator.MessageAccumulator: "cluster batch_size compression_type batch_ttl txn_manager",
    message_accumulator.BatchBuilder: "batch_size compression_type is_transactional",
    sender.Sender: "client acks txn_manager message_accumulator retry_backoff_ms request_timeout_ms",
    transaction_manager.TransactionManager: "transactional_id transaction_timeout_ms",
}


REPLACED = {
    client.AIOKafkaClient._get_conn: "68ce5d8391719d3334eeee4c7d374d6ebb7eda5e6d402b2ada8c99725acae711",
    client.AIOKafkaClient._metadata_update: "06dc51ed3e0d38b8d64100fd59012f399b2235c2f4804dfd142fcec397412fda",
    client.AIOKafkaClient.send: "246b277687d7b687d79fd81f0a9718633b61a5ead0a1e9898419a1151ae3a91d",
    fetcher.Fetcher._proc_fetch_request: "59bf948fff47eed580671971252454daa614df479733f3bedfefe95bc4d8ad30",
}
"""What this package replaces whole, by the SHA-256 of its source."""


def _pairs(table: dict[type, str]) -> list[tuple[type, str]]:
    return [(owner, name) for owner, names in table.items() for name in names.split()]


@pytest.mark.parametrize(("owner", "name"), _pairs(METHODS))
def test_method_exists(owner: type, name: str) -> None:
    """The class has it."""
    assert hasattr(owner, name)


@pytest.mark.parametrize(("owner", "name"), _pairs(ATTRIBUTES))
def test_attribute_is_assigned(owner: type, name: str) -> None:
    """The class, or one it is made from, assigns it."""
    sources = [inspect.getsource(base) for base in owner.__mro__ if base.__module__.startswith("aiokafka")]
    assert hasattr(owner, name) or any(f"self.{name} =" in source or f"self.{name}:" in source for source in sources)


@pytest.mark.parametrize(("owner", "name"), _pairs(PARAMETERS))
def test_parameter_exists(owner: type, name: str) -> None:
    """The constructor takes it."""
    assert name in inspect.signature(owner).parameters


@pytest.mark.parametrize(("method", "digest"), REPLACED.items(), ids=lambda value: getattr(value, "__qualname__", ""))
def test_what_is_replaced_is_as_it_was(method: Any, digest: str) -> None:
    """A change of it has to be looked at, and taken over if it mends something; then its new digest goes here."""
    assert hashlib.sha256(inspect.getsource(method).encode()).hexdigest() == digest


def test_the_requirement_ends_below_the_next_minor_release() -> None:
    """A release in which something private may be another thing reaches users when these tests have seen it."""
    (required,) = (one for one in requires("stream-kafka") or () if one.startswith("aiokafka"))
    major, minor, *_ = version("aiokafka").split(".")
    assert f"<{major}.{int(minor) + 1}" in required.removeprefix("aiokafka").split(",")


def test_module_names_exist() -> None:
    """What is taken from modules is there."""
    assert isinstance(errors.kafka_errors, dict)
    assert {"CONNECTION_BROKEN", "CONNECTION_TIMEOUT", "SHUTDOWN", "IDLE_DROP"} <= set(conn.CloseReason.__members__)
    assert set(producer.AIOKafkaProducer._COMPRESSORS) == {"gzip", "snappy", "lz4", "zstd"}
    assert {"COORDINATION"} <= set(client.ConnectionGroup.__members__)
    assert {"GROUP", "TRANSACTION"} <= set(client.CoordinationType.__members__)


def test_requests_are_of_the_versions_that_this_package_knows() -> None:
    """Later ones mean something else: topics by id in a fetch, an epoch for each transaction in the others."""
    newest = {made: made._CLASSES[-1].API_VERSION for made in (FetchRequest, ProduceRequest, EndTxnRequest)}
    assert newest == {FetchRequest: 11, ProduceRequest: 7, EndTxnRequest: 0}


def test_codes_are_ours_only_where_the_client_has_none() -> None:
    """It compares with its own class: one of ours in its place would match nothing."""
    for code, ours in {78: OffsetNotAvailable, 82: FencedInstanceId, 88: UnstableOffsetCommit}.items():
        assert errors.for_code(code) is ours

    @_registered
    class Duplicate(errors.BrokerResponseError):  # type: ignore[misc]
        errno = errors.NotLeaderForPartitionError.errno

    assert Duplicate is errors.NotLeaderForPartitionError
    assert errors.for_code(6) is errors.NotLeaderForPartitionError


def test_records_are_compiled() -> None:
    """The speed of this package is that of the compiled records; the pure ones are ten times slower."""
    assert "_crecords" in DefaultRecordBatchBuilder.__module__
    assert "_crecords" in MemoryRecords.__module__


def test_errors_have_the_flag_that_retries_depend_on() -> None:
    """Whether an error may go away is the client's own judgement."""
    assert errors.NotLeaderForPartitionError.retriable
    assert not errors.IllegalGenerationError.retriable
