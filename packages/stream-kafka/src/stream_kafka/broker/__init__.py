"""A real Apache Kafka of one node for development and tests, from package registries alone: no container, no root, no Maven.

Start one from a shell (``stream broker``), or from Python::

    from stream_kafka.broker import Broker

    with Broker(port=0) as broker:            # a free port, data in a temporary directory
        print(broker.address)                 # 127.0.0.1:21873

    broker = Broker(port=0, data_dir=Path("kafka-data"), properties={"auto.create.topics.enable": "true"})
    broker.start()                            # returns when clients can connect
    broker.kill()                             # as kill -9 would; the data stays
    broker.start()                            # same port, same data
    broker.pause(); broker.resume()           # SIGSTOP and SIGCONT
    broker.stop()                             # clean

    Broker(port=0, version="3.9.1")               # another Kafka than the newest

The first start on a machine downloads about 45 MB into the user's cache directory; later ones take about three seconds,
and half of that after :func:`stream_kafka.broker.warmup.warm_up`, which a test run calls once.
Needs ``stream-kafka[broker]``.
"""

from __future__ import annotations

from stream_kafka.broker.artifacts import KAFKA_VERSION, VERSIONS
from stream_kafka.broker.server import Broker

__all__ = ["KAFKA_VERSION", "VERSIONS", "Broker"]
