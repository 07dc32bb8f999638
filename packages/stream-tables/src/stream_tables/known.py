"""The bytes of text keys that were used lately: as many as come again before they are forgotten."""

from __future__ import annotations

__all__ = ["FEW", "KNOWN", "UNTIL", "KnownKeys"]

KNOWN = 20_000
"""Keys that are remembered at most."""

FEW = 64
"""How many of them where a key is forgotten before it comes again. An event uses its key several times."""

LOOKED_AT = 512
"""Keys by which it is found out whether what was forgotten comes again."""

COME_AGAIN = LOOKED_AT // 4
"""How many of these have to, to be worth remembering."""

UNTIL = 5000
"""How often few keys are forgotten until many are remembered once more, to find out again: a third of a million keys."""


class KnownKeys:
    """Text keys with their bytes; whoever uses a key looks into :attr:`known` first, and puts in what is missing by :meth:`remember`.

    What is remembered in vain takes the place of other things in the caches of the processor. So each time that it is full it forgets all,
    and sees whether the next keys are among those that it has forgotten.

    Attributes:
        known: the bytes by key; a dictionary and no kind of it, because Python finds things in those sooner.
    """

    __slots__ = ("_before", "_come_again", "_forgotten", "_looked_at", "_room", "known")

    def __init__(self) -> None:
        self.known: dict[str, bytes] = {}
        self._room = KNOWN
        self._before = frozenset[str]()
        self._forgotten = self._looked_at = self._come_again = 0

    def remember(self, key: str, data: bytes) -> None:
        """Remember a key that was not here."""
        if len(self.known) >= self._room:
            self._forget()
        if self._before:
            self._look(key)
        self.known[key] = data

    def _forget(self) -> None:
        if self._room == KNOWN:
            self._before, self._room = frozenset(self.known), FEW
            self._forgotten = self._looked_at = self._come_again = 0
        elif self._forgotten < UNTIL:
            self._forgotten += 1
        else:
            self._room = KNOWN
        self.known.clear()

    def _look(self, key: str) -> None:
        """Find out whether keys that were forgotten come again: then as many as before are worth remembering."""
        self._looked_at += 1
        self._come_again += key in self._before
        if self._looked_at >= LOOKED_AT:
            self._before = frozenset()
            if self._come_again >= COME_AGAIN:
                self._room = KNOWN
