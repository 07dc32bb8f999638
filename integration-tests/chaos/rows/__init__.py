"""The rows: each is a fault, or a mixture of them, and what must hold all the same."""

from __future__ import annotations

from chaos.rows import bodies, brokers, checkpoints, disks, failures, groups, lifecycle, mixed, sweep, windows
from chaos.rows.registry import Row

__all__ = ["ROWS", "Row"]

ROWS: tuple[Row, ...] = (
    *mixed.ROWS,
    *checkpoints.ROWS,
    *brokers.ROWS,
    *disks.ROWS,
    *failures.ROWS,
    *lifecycle.ROWS,
    *groups.ROWS,
    *bodies.ROWS,
    *windows.ROWS,
    *sweep.ROWS,
)
"""All rows, in the order in which they run."""
