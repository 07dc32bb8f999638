"""The metadata of a commit: what the offset of a group cannot say of a partition.

It has the *leads*, which are the positions of agents that are ahead of the offset; the count of intervals in which units of work finished
that no record brought (:mod:`stream_core.streams.units`); which topic all of this is of; and, until the first checkpoint, that nothing was
committed before. A version that knows nothing of the count
takes it for the lead of an agent that is gone, which gives its recovery the right answer; what is no number is passed over by all versions.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from stream_core.primitives import TP
from stream_core.streams.units import UNITS

__all__ = ["METADATA_LIMIT", "CommitMetadata", "Identity", "has_room_for", "without_identity"]

logger = logging.getLogger(__name__)

TOPIC = "~topic"
"""Stands where a lead has the name of an agent; its value is the identity of the topic."""

UNREAD = "~unread"
"""Stands likewise in the first commit of a partition, which says where reading begins, until a checkpoint takes its place."""

METADATA_LIMIT = 4096
"""UTF-16 units that brokers allow for the metadata of a commit (``offset.metadata.max.bytes``); what is written here is ASCII."""

_ENCODER = json.JSONEncoder(separators=(",", ":"))


class Identity(NamedTuple):
    """Which topic an offset is of: names come again, ids do not.

    Attributes:
        cluster: id of the cluster; empty on brokers that do not tell.
        topic: id of the topic in that cluster.
    """

    cluster: str
    topic: str

    def replaces(self, said: Identity | None) -> bool:
        """Tell whether this topic was made in place of the one that a commit names, so that the commit does not count for it."""
        return said is not None and said != self and said.cluster == self.cluster


_LARGE = 10**13
_LONG = Identity("x" * 22, "x" * 22)
"""An offset, or a count, and an identity that are as long as any."""


@dataclass(frozen=True, slots=True)
class CommitMetadata:
    """What is committed beside an offset.

    Attributes:
        leads: the positions of the agents that are ahead of the offset.
        units: the count of intervals with units of work, ``None`` where nobody counts them.
        identity: the topic that the offset is of; ``None`` where the broker does not tell, and of commits by tools or older versions.
        unread: nothing was committed before, and no event of the partition since: it is read for the first time, or its offsets have
            expired.
    """

    leads: Mapping[str, int] = field(default_factory=dict)
    units: int | None = None
    identity: Identity | None = None
    unread: bool = False

    @classmethod
    def decode(cls, text: str) -> CommitMetadata:
        """Read the metadata of a commit; it says nothing when it was written by somebody else."""
        values = _read(text)
        identity, unread = values.pop(TOPIC, None), UNREAD in values
        numbers = {name: value for name, value in values.items() if isinstance(value, int)}
        units = numbers.pop(UNITS, None)
        match identity:
            case [str(cluster), str(topic)] if topic:
                return cls(numbers, units, Identity(cluster, topic), unread)
        return cls(numbers, units, unread=unread)

    def encode(self, tp: TP) -> str:
        """Write the metadata of a commit of ``tp``; leads are left out, with a warning, when there are too many for it."""
        values: dict[str, Any] = {**self.leads}
        if self.units is not None:
            values[UNITS] = self.units
        if self.identity is not None:
            values[TOPIC] = self.identity
        if self.unread:
            values[UNREAD] = "yes"  # no number, nor true, which Python takes for one: older versions pass over it
        text = _write(values)
        if len(text) > METADATA_LIMIT and self.leads:
            logger.warning(
                "%s: the leads of %d agents do not fit a commit; they may see events again", tp, len(self.leads)
            )
            return replace(self, leads={}).encode(tp)
        return text


def has_room_for(readers: Sequence[str]) -> bool:
    """Tell whether a commit has room for the leads of all these readers of a partition but the slowest, whichever that is."""
    leads = dict.fromkeys(sorted(readers, key=len)[1:], _LARGE)
    return len(_write({**leads, UNITS: _LARGE, TOPIC: _LONG})) <= METADATA_LIMIT


def without_identity(text: str) -> str:
    """Return the metadata of a commit without the topic that it is of, for people; what somebody else has written stays as it is."""
    values = _read(text)
    own = {TOPIC, UNREAD} & values.keys()
    return _write({name: value for name, value in values.items() if name not in own}) if own else text


def _write(values: Mapping[str, Any]) -> str:
    return _ENCODER.encode(values) if values else ""


def _read(text: str) -> dict[str, Any]:
    try:
        values = json.loads(text or "{}")
    except (ValueError, RecursionError):  # of somebody else, who may write anything
        return {}
    return values if isinstance(values, dict) else {}
