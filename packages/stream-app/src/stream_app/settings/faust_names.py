"""Names of Faust's settings that are spelled differently here, or that have no effect and are refused."""

from __future__ import annotations

__all__ = ["REFUSED", "RENAMED", "WITHOUT_EFFECT"]

RENAMED = {
    "client_id": "broker_client_id",
    "commit_interval": "broker_commit_interval",
    "create_reply_topic": "reply_create_topic",
    "default_partitions": "topic_partitions",
    "producer_linger_ms": "producer_linger (in seconds)",
    "replication_factor": "topic_replication_factor",
    "url": "broker",
}
"""Old names, and the names to use."""

REFUSED = {
    "ConsumerScheduler": "records are taken in the order in which they arrive",
    "broker_api_version": "each broker is asked which versions it speaks",
    "broker_commit_livelock_soft_timeout": "stream_processing_timeout says when an event is reported as stuck",
    "broker_consumer": "offsets and transactions tie reading and writing to one cluster, that of broker",
    "broker_max_poll_interval": "the worker reports events that take longer than stream_processing_timeout, and keeps its membership",
    "broker_max_poll_records": "a poll takes what has arrived; stream_buffer_maxsize and stream_buffer_max_bytes bound what waits",
    "broker_producer": "offsets and transactions tie reading and writing to one cluster, that of broker",
    "consumer_api_version": "each broker is asked which versions it speaks",
    "consumer_group_instance_id": "a worker that is restarted takes the place of its predecessor at once, by the member id in its datadir",
    "producer_api_version": "each broker is asked which versions it speaks",
    "producer_request_timeout": "broker_request_timeout bounds every wait",
    "producer_threaded": "the producer shares the event loop, and sending never waits",
}
"""Settings that cannot mean anything here, and why."""

WITHOUT_EFFECT = frozenset(
    (
        "Agent",
        "Event",
        "GlobalTable",
        "HttpClient",
        "LeaderAssignor",
        "Monitor",
        "PartitionAssignor",
        "Router",
        "Schema",
        "Serializers",
        "SetGlobalTable",
        "SetTable",
        "Stream",
        "Table",
        "TableManager",
        "Topic",
        "Worker",
        "aerospike_retries_on_exception",
        "aerospike_sleep_seconds_between_retries_on_exception",
        "blocking_timeout",
        "cache",
        "crash_app_on_aerospike_exception",
        "cython_optimizations",
        "debug",
        "id_format",
        "logging_config",
        "loghandlers",
        "num_standby_replicas",
        "recovery_consistency_check",
        "store_check_exists",
        "stream_ack_cancelled_tasks",
        "stream_ack_exceptions",
        "stream_publish_on_commit",
        "stream_recovery_delay",
        "stream_wait_empty",
        "table_cleanup_interval",
        "table_key_index_size",
        "table_standby_replicas",
        "web",
        "web_application_options",
        "web_cors_options",
        "web_graph_enabled",
        "web_in_thread",
        "web_router_enabled",
        "web_ssl_context",
        "web_tables_enabled",
        "web_transport",
        "worker_redirect_stdouts",
        "worker_redirect_stdouts_level",
    )
)
"""Settings that nothing here reads: refused, so that nobody relies on them."""
