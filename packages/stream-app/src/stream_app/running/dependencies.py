"""The place of an app among the services of mode: what a ``mode.Service`` asks of what it depends on."""

from __future__ import annotations

from typing import Any, Self

__all__ = ["Beacon"]


class Beacon:
    """The place of an app in mode's tree of services, where each has its parent.

    Attributes:
        parent: the node of the service that depends on the app; ``None`` when there is none.
    """

    def __init__(self) -> None:
        self.parent: Any = None

    @property
    def root(self) -> Any:
        """The node at the top of the tree; ``None`` without a parent."""
        return None if self.parent is None else self.parent.root or self.parent

    def reattach(self, parent: Any) -> Self:
        """Belong to the service whose node is ``parent``."""
        self.parent = parent
        return self

    def detach(self, parent: Any) -> Self:
        """Belong to no service."""
        self.parent = None
        return self

    async def crash(self, reason: BaseException) -> None:
        """Let the service that depends on the app crash, and those above it."""
        if self.parent is not None:
            await self.parent.data.crash(reason)
