"""The cases of a sweep: every call in every way, a part of them for each day, and pairs drawn by a seed."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping

from sweep.faults import WAYS, Fault

__all__ = ["Case", "pairs", "part", "singles"]

Case = tuple[Fault, ...]
"""The faults of one run."""


def singles(counts: Mapping[str, int]) -> Iterator[Case]:
    """Each call once for each of its ways.

    Args:
        counts: how many calls the run without faults makes, by name.
    """
    for call, way in _kinds():
        for number in range(1, counts.get(call, 0) + 1):
            yield (Fault(call, number, way),)


def part(counts: Mapping[str, int], seed: int) -> Iterator[Case]:
    """For each call in each of its ways the first of its number, and one more: the last, the middle one or any, by turns.

    Args:
        counts: how many calls the run without faults makes, by name.
        seed: whose turn it is, and which is any; with three seeds in a row each kind has its first, its middle and its last.
    """
    for place, (call, way) in enumerate(_kinds()):
        count = counts.get(call, 0)
        others = (count, (count + 1) // 2, random.Random(f"{seed} {call} {way}").randint(1, max(count, 1)))
        for number in sorted({1, others[(place + seed) % len(others)]}):
            if 1 <= number <= count:
                yield (Fault(call, number, way),)


def pairs(counts: Mapping[str, int], seed: int, count: int) -> Iterator[Case]:
    """Draw pairs of faults: any call, any way, and then any other.

    Args:
        counts: how many calls the run without faults makes, by name.
        seed: the only source of chance.
        count: how many pairs.
    """
    rng = random.Random(seed)
    kinds = [(call, way) for call, way in _kinds() if counts.get(call)]
    for _ in range(count):
        chosen = rng.sample(kinds, 2)
        yield tuple(Fault(call, rng.randint(1, counts[call]), way) for call, way in chosen)


def _kinds() -> Iterator[tuple[str, str]]:
    for call, ways in WAYS.items():
        for way in ways:
            yield call, way
