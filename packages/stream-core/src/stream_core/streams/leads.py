"""The leads in the metadata of a commit: positions of agents that are ahead of the offset of their group."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping

from stream_core.primitives import TP

__all__ = ["decode_leads", "encode_leads"]

logger = logging.getLogger(__name__)

METADATA_LIMIT = 4000
"""Bytes of metadata text in a commit; brokers allow 4096 (``offset.metadata.max.bytes``)."""


def encode_leads(leads: Mapping[str, int], tp: TP) -> str:
    """Write the positions of the agents that lead in ``tp`` as metadata; nothing when there are none, or too many for a commit."""
    if not leads:
        return ""
    text = json.dumps(leads, separators=(",", ":"))
    if len(text.encode()) > METADATA_LIMIT:
        logger.warning("%s: the leads of %d agents do not fit a commit; they may see events again", tp, len(leads))
        return ""
    return text


def decode_leads(metadata: str) -> dict[str, int]:
    """Read the leads from the metadata of a commit; there are none when it was written by somebody else."""
    try:
        leads = json.loads(metadata or "{}")
    except ValueError:
        return {}
    return {str(k): v for k, v in leads.items() if isinstance(v, int)} if isinstance(leads, dict) else {}
