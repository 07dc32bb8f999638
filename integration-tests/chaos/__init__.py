"""Faults on purpose: workers and the broker are killed, stopped and cut off under load, then everything is compared one by one.

``python -m chaos`` runs the rows (:mod:`chaos.rows`); ``test_chaos_quick.py`` runs a short form of them in pytest. Only the faults
are random, from a seed that is printed; everything else waits for conditions. The data flow::

    Feeder ──deposits──▶ broker ──▶ workers (subprocesses) ──▶ broker: echo, changelog ──┐
       └─ Ledger: every (partition, offset) acknowledged ──────▶ verify ◀────────────────┴── the stores on disk
"""

from __future__ import annotations
