"""The Kafka transport of Stream: batch consumer, ordered batch producer, transactions, assignor."""

from stream_kafka.assignor import StreamAssignor
from stream_kafka.settings import KafkaSettings
from stream_kafka.transport import KafkaTransport

__all__ = ["KafkaSettings", "KafkaTransport", "StreamAssignor"]
