"""The schema registry that the settings name."""

from __future__ import annotations

from functools import cache

from stream_app.running.drivers import load_driver
from stream_app.settings import Settings
from stream_core.memory import MemoryRegistry
from stream_core.ports import SchemaRegistry, SchemaText
from stream_core.values.avro import avro_differences
from stream_core.values.json_schema import json_differences
from stream_core.values.registered import Schemas

__all__ = ["in_memory", "make_schemas"]


def make_schemas(conf: Settings) -> Schemas | None:
    """Make what is known of the schema registry of an app; ``None`` where the settings name none.

    Raises:
        ConfigurationError: there is no such registry, or its package is not installed.
    """
    url = conf.schema_registry_url
    if url is None:
        return None
    scheme = url.partition("://")[0]
    if scheme == "memory":
        return Schemas(in_memory(url))
    registry: SchemaRegistry = load_driver("stream.registries", scheme, MemoryRegistry)(
        url,
        credentials=conf.schema_registry_credentials,
        ssl_context=conf.schema_registry_ssl_context,
        deadline=conf.broker_request_timeout,
    )
    return Schemas(registry)


@cache
def in_memory(url: str) -> MemoryRegistry:
    """Make the registry of that name in this process."""
    return MemoryRegistry(_check)


def _check(new: SchemaText, old: SchemaText) -> str:
    if new.kind != old.kind:
        return f"it was of kind {old.kind}, and is of kind {new.kind} now"
    differences = {"AVRO": avro_differences, "JSON": json_differences}.get(new.kind)
    return "" if differences is None else differences(new.text, old.text)
