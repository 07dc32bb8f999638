"""Questions and answers between processes on Kafka."""
