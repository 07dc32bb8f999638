"""Names of Faust's ``App`` that are not here: who reads one is told why, and what to use."""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches

from stream_app.absent import INSIDE, TABLES

__all__ = ["OF_APP", "explain"]

CLIENTS = "clients of the broker are the engine's own; send, read and ask by the app"
BOOT = "what an app starts is what is defined; app.start_client(), web_enabled and app.add_dependency(...) change it"
HOOK = "it is not a hook here: override on_init_dependencies, on_start or on_started, or call app.service(...)"

OF_APP: dict[str, str] = {
    "BootStrategy": BOOT,
    "FlowControlQueue": "agents and streams hold readers up by themselves: use app.channel(maxsize=...)",
    "GlobalTable": TABLES,
    "LiveCheck": "LiveCheck is not here: test agents with agent.test_context()",
    "SCAN_CATEGORIES": "modules are imported as a whole: name them in the setting autodiscover",
    "SetGlobalTable": TABLES,
    "SetTable": TABLES + ", with value_type=set[str], for instance",
    "assignor": "the assignment of partitions is not for programs to change",
    "boot_strategy": BOOT,
    "commit": "an app commits by itself, as often as broker_commit_interval and broker_commit_every say",
    "consumer": CLIENTS,
    "consumer_generation_id": "rebalances are counted in app.rebalancing_count, and told by app.on_partitions_assigned",
    "create_event": "events are made of records that were read; in a test write agent.put(...) in agent.test_context()",
    "fixups": INSIDE,
    "flow_control": INSIDE,
    "in_recovery": "app.rebalancing is true until tables are recovered and all partitions are worked on",
    "on_init_extra_service": HOOK,
    "on_started_init_web_server": HOOK,
    "on_startup_finished": "override on_started, or await app.start(), which returns when the app is operational",
    "producer": CLIENTS,
    "producer_only": "app.start_client() starts an app that only sends and asks",
    "producer_transport": CLIENTS,
    "router": "requests are passed on to the worker that has a key by @app.table_route and @app.topic_route",
    "serializers": "codecs are registered once for the process: faust.serializers.codecs.register(name, codec)",
    "transport": CLIENTS,
    "unassigned": "what is assigned is told by app.on_partitions_assigned, and in app.engine.snapshot()",
    "web_server_driver_version": INSIDE,
    "web_server_url": "the URL of the web server is logged at the start, and set by web_bind, web_port and canonical_url",
    "worker_init_post_autodiscover": "connect to app.on_worker_init",
}
"""Names of Faust's ``App``, and why an app does not have them. One that a class below it defines is found there."""


def explain(app: object, name: str, known: Collection[str]) -> str:
    """Say why an app has no such attribute."""
    where = f"{type(app).__name__!r} object"
    if reason := OF_APP.get(name):
        return f"{where} has no attribute {name!r}: {reason}"
    near = [] if name.startswith("_") else get_close_matches(name, [one for one in known if one[0] != "_"], n=1)
    return f"{where} has no attribute {name!r}" + (f": did you mean {near[0]!r}?" if near else "")
