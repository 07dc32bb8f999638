"""The in-process broker and stores behind ``memory://``: for demos, examples and tests, never proof of Kafka's behaviour."""

from stream_core.memory.cluster import MemoryCluster
from stream_core.memory.registry import MemoryRegistry
from stream_core.memory.store import MemoryStore, MemoryStores
from stream_core.memory.transport import MemoryTransport

__all__ = ["MemoryCluster", "MemoryRegistry", "MemoryStore", "MemoryStores", "MemoryTransport"]
