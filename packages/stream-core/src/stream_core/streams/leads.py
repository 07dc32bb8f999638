"""The metadata of a commit: what the offset of a group cannot say of a partition.

It has the *leads*, which are the positions of agents that are ahead of the offset, and the count of intervals in which units of work
finished that no record brought (:mod:`stream_core.streams.units`). A version that knows nothing of that count takes it for the lead of an
agent that is gone, which gives its recovery the right answer.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping

from stream_core.primitives import TP
from stream_core.streams.units import UNITS

__all__ = ["decode_leads", "decode_units", "encode_leads"]

logger = logging.getLogger(__name__)

METADATA_LIMIT = 4000
"""Bytes of leads in a commit; brokers allow 4096 for all of its metadata (``offset.metadata.max.bytes``), and the count takes some 30."""


def encode_leads(leads: Mapping[str, int], tp: TP, units: int | None = None) -> str:
    """Write the metadata of a commit.

    Args:
        leads: the positions of the agents that lead in ``tp``; left out when there are too many for a commit.
        tp: the partition, for messages.
        units: the count of intervals with units of work, ``None`` where nobody counts them.

    Returns:
        the text; nothing when there is nothing to say.
    """
    if len(_write(leads).encode()) > METADATA_LIMIT:
        logger.warning("%s: the leads of %d agents do not fit a commit; they may see events again", tp, len(leads))
        leads = {}
    known = leads if units is None else {**leads, UNITS: units}
    return _write(known) if known else ""


def _write(numbers: Mapping[str, int]) -> str:
    return json.dumps(numbers, separators=(",", ":"))


def decode_leads(metadata: str) -> dict[str, int]:
    """Read the leads from the metadata of a commit; there are none when it was written by somebody else."""
    return {name: position for name, position in _read(metadata).items() if name != UNITS}


def decode_units(metadata: str) -> int | None:
    """Read the count of intervals with units of work; ``None`` when there is none."""
    return _read(metadata).get(UNITS)


def _read(metadata: str) -> dict[str, int]:
    try:
        numbers = json.loads(metadata or "{}")
    except ValueError:
        return {}
    return {str(k): v for k, v in numbers.items() if isinstance(v, int)} if isinstance(numbers, dict) else {}
