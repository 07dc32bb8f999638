"""Names of Faust's settings that are spelled differently here, or that can have no effect and are refused."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["OTHER_DEFAULTS", "REFUSED", "RENAMED", "Refusal"]


class Refusal(NamedTuple):
    """Why a setting can have no effect here, and what to do instead: two parts of one sentence."""

    why: str
    instead: str = "remove it"


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

_ONE_CLUSTER = Refusal(
    "offsets and transactions tie reading and writing to one cluster, that of broker",
    "send to another cluster with an app of its own in the same worker",
)
_VERSIONS = Refusal("each broker is asked which versions it speaks")
_AEROSPIKE = Refusal(
    "there is no store for Aerospike", "use store='rocksdb://', or one of your own, store='package.module:Class://'"
)
_TABLES = Refusal("an app has only ordinary tables so far", "use app.Table(...), and the setting Table for its class")
_STANDBYS = Refusal(
    "workers keep no standby copies of tables yet",
    "keep datadir on a volume that outlives the worker: recovery goes on where its stores were",
)
_ACKS = Refusal(
    "Faust does not read it either: an event counts when its body asks for the next one",
    "say on_failure= at the agent for events that fail",
)
_INSIDE = Refusal("it names a part of the inside of Faust, and nothing takes its place")

REFUSED: dict[str, Refusal] = {
    "ConsumerScheduler": Refusal("records are taken in the order in which they arrive"),
    "Event": Refusal(
        "an event is what one record is to an agent, and made for each of them", "put what you need into the value"
    ),
    "GlobalTable": _TABLES,
    "HttpClient": _INSIDE,
    "LeaderAssignor": _INSIDE,
    "PartitionAssignor": Refusal("one assignor keeps tables where their stores are, and takes part in each rebalance"),
    "Router": _INSIDE,
    "Schema": Refusal(
        "types are compiled for each topic",
        "give schema= to topics, and the settings key_serializer and value_serializer to the app",
    ),
    "Serializers": Refusal(
        "codecs are registered once for the process", "use faust.serializers.codecs.register(name, codec)"
    ),
    "SetGlobalTable": _TABLES,
    "SetTable": Refusal("an app has only ordinary tables so far", "use app.Table(..., value_type=set[str])"),
    "Stream": Refusal("operators are methods of one class", "write a function of a stream for what you add"),
    "TableManager": _INSIDE,
    "aerospike_retries_on_exception": _AEROSPIKE,
    "aerospike_sleep_seconds_between_retries_on_exception": _AEROSPIKE,
    "broker_api_version": _VERSIONS,
    "broker_commit_livelock_soft_timeout": Refusal(
        "an offset that does not advance has an event that does not finish",
        "use stream_processing_timeout, after which that is reported",
    ),
    "broker_consumer": _ONE_CLUSTER,
    "broker_max_poll_interval": Refusal(
        "a worker keeps its membership while its agents are busy",
        "use stream_processing_timeout, after which an event that takes longer is reported",
    ),
    "broker_max_poll_records": Refusal(
        "a poll takes what has arrived", "bound what waits with stream_buffer_maxsize and stream_buffer_max_bytes"
    ),
    "broker_producer": _ONE_CLUSTER,
    "consumer_api_version": _VERSIONS,
    "consumer_group_instance_id": Refusal(
        "a worker that is restarted takes the place of its predecessor at once, by the member id in its datadir",
        "keep datadir on a volume that outlives the worker",
    ),
    "crash_app_on_aerospike_exception": _AEROSPIKE,
    "cython_optimizations": Refusal("nothing is written in Cython: what decodes records is compiled already"),
    "num_standby_replicas": _STANDBYS,
    "producer_api_version": _VERSIONS,
    "producer_request_timeout": Refusal(
        "one deadline holds for every wait on a broker", "use broker_request_timeout, in seconds"
    ),
    "producer_threaded": Refusal("the producer shares the event loop, and sending never waits"),
    "recovery_consistency_check": Refusal(
        "a store that is ahead of its changelog is always noticed, emptied, and filled from the changelog"
    ),
    "store_check_exists": _AEROSPIKE,
    "stream_ack_cancelled_tasks": _ACKS,
    "stream_ack_exceptions": _ACKS,
    "stream_publish_on_commit": Refusal(
        "what an event sends leaves when the event finishes",
        "use processing_guarantee='exactly_once', which shows it to readers with the commit",
    ),
    "table_cleanup_interval": Refusal(
        "windows expire by the time of events, at the next checkpoint",
        "say how long they are kept: table.tumbling(60, expires=600)",
    ),
    "table_standby_replicas": _STANDBYS,
    "web": Refusal("there is one web server, on aiohttp", "serve others beside the app: async with app: ..."),
    "web_in_thread": Refusal(
        "pages send, ask and read tables, which belong to the event loop of the app",
        "await asyncio.to_thread(...) in a page that would hold it up",
    ),
}
"""Settings that can mean nothing here."""

OTHER_DEFAULTS = {
    "broker_client_id": "faust-VERSION",
    "broker_commit_every": "10000",
    "broker_rebalance_timeout": "60.0",
    "broker_request_timeout": "90.0",
    "broker_session_timeout": "60.0",
    "consumer_metadata_max_age_ms": "300000",
    "producer_max_batch_size": "16384",
    "producer_metadata_max_age_ms": "300000",
    "table_key_index_size": "1000",
    "topic_disable_leader": "False",
    "topic_partitions": "8",
    "web_bind": "0.0.0.0",
    "web_graph_enabled": "that of debug",
    "web_host": "the name of the machine",
    "web_metrics_enabled": "False",
    "web_router_enabled": "True",
    "web_stats_enabled": "that of debug",
    "web_tables_enabled": "True",
    "worker_redirect_stdouts": "True",
}
"""The defaults that Faust has in place of those here; it has all others, or none to compare."""
