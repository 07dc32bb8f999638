"""Where the reading of partitions begins: at the committed offset that counts, else where the log begins or ends."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from stream_core.engine.context import EngineContext
from stream_core.errors import CommitError, FencedError, TransportError
from stream_core.primitives import TP, GroupMetadata, Offset
from stream_core.streams.metadata import CommitMetadata, Identity

__all__ = ["Start", "Starts"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Start:
    """Where the reading of a partition begins.

    Attributes:
        offset: the next record.
        metadata: what was committed beside it, as far as it counts.
    """

    offset: int
    metadata: CommitMetadata


class Starts:
    """Finds where to begin, and commits it where nothing was committed.

    Args:
        context: what the parts of the engine share.
    """

    def __init__(self, context: EngineContext) -> None:
        self._settings = context.settings
        self._clients = context.clients
        self._clock = context.run.clock
        self._count_units = any(participant.has_work for participant in context.participants)
        self._ends: dict[TP, int] = {}
        self._short: dict[TP, tuple[Start, int]] = {}

    async def find(
        self, committed: Mapping[TP, Offset | None], identities: Mapping[str, Identity], group: GroupMetadata
    ) -> dict[TP, Start]:
        """Return the committed offsets; where none counts, the start of the log (or its end), which is committed right away.

        That commit makes every changelog record's source interval begin at a committed position, also the first one's. A count of units
        that is needed and missing is committed for the same reason.

        Args:
            committed: what is committed of each partition.
            identities: which topics these are now.
            group: the member that commits.

        Raises:
            TransportError: the broker does not answer; :meth:`commit` says what follows.
        """
        starts = {}
        for tp, offset in committed.items():
            if offset is not None and (start := _counting(tp, offset, identities.get(tp.topic))) is not None:
                starts[tp] = start
        changed = await self._end_leads(starts)
        begin = await self._ends_of_logs([tp for tp in committed if tp not in starts])
        # The mark is committed, too: whoever opens the partition in place of this worker is to know it as well.
        changed |= {tp: Start(offset, CommitMetadata(unread=committed[tp] is None)) for tp, offset in begin.items()}
        starts |= changed
        if uncounted := {tp for tp, start in starts.items() if self._count_units and start.metadata.units is None}:
            units = int(self._clock.wall() * 1000)
            for tp in uncounted:
                starts[tp] = changed[tp] = replace(starts[tp], metadata=replace(starts[tp].metadata, units=units))
        if changed:
            for tp, start in changed.items():
                starts[tp] = replace(start, metadata=replace(start.metadata, identity=identities.get(tp.topic)))
            await self.commit({tp: Offset(starts[tp].offset, starts[tp].metadata.encode(tp)) for tp in changed}, group)
        for tp in starts:
            self._ends.pop(tp, None)
            self._short.pop(tp, None)
        return starts

    async def _end_leads(self, starts: Mapping[TP, Start]) -> dict[TP, Start]:
        """Return where to begin instead where agents are ahead of the end of the log: they would pass over as many records that come."""
        ahead = {tp: start for tp, start in starts.items() if start.metadata.leads}
        # As in _ends_of_logs(): until that is committed the end stays where it was first seen.
        ends = {tp: self._short[tp][1] for tp, start in ahead.items() if self._short.get(tp, (None, 0))[0] == start}
        if unseen := [tp for tp in ahead if tp not in ends]:
            ends |= await self._clients.consumer.end_offsets(unseen)
        ended = {}
        for tp, start in ahead.items():
            end, said = ends[tp], start.metadata
            if beyond := sorted(name for name, lead in said.leads.items() if lead > end):
                logger.error(
                    "%s: the log ends at offset %d, and was cut off, as by an unclean election: agents that were further go on there: %s",
                    tp,
                    end,
                    ", ".join(beyond),
                )
                self._short[tp] = start, end
                leads = {name: min(lead, end) for name, lead in said.leads.items()}
                ended[tp] = replace(start, metadata=replace(said, leads=leads))
        return ended

    async def _ends_of_logs(self, fresh: Collection[TP]) -> Mapping[TP, int]:
        """Return where the logs of partitions begin, or end where the setting ``offset_reset`` says so."""
        consumer = self._clients.consumer
        if not fresh:
            return {}
        if self._settings.offset_reset != "latest":
            return await consumer.start_offsets(fresh)
        # Until a commit is known to have arrived the end stays where it was first seen: what came since is wanted.
        if unseen := [tp for tp in fresh if tp not in self._ends]:
            self._ends |= await consumer.end_offsets(unseen)
        return {tp: self._ends[tp] for tp in fresh}

    def forget(self, tp: TP) -> None:
        """Forget where the log of a partition ended: others have its offsets now."""
        self._ends.pop(tp, None)

    async def commit(self, offsets: Mapping[TP, Offset], group: GroupMetadata) -> None:
        """Commit where partitions begin, outside of any interval. Raises TransportError.

        Where the outcome is unknown the group is joined anew: a commit that arrives behind later ones would turn them back.
        """
        try:
            await self._clients.consumer.commit(offsets, group)
        except (FencedError, CommitError):
            raise
        except TransportError as error:
            self._clients.consumer.rejoin()
            raise FencedError(f"it is unknown whether the first offsets are committed: {error}") from error


def _counting(tp: TP, committed: Offset, identity: Identity | None) -> Start | None:
    """Return what counts of a commit for a topic of this identity.

    A topic that was made again has nothing of the one before: ``None``, and it is read as one that nothing was committed of. What was
    copied from another cluster has its offset translated, and nothing else (MirrorMaker 2 copies the metadata as they are). A commit
    without an identity is of a tool, or of an older version, and counts.
    """
    metadata = CommitMetadata.decode(committed.metadata)
    said = metadata.identity
    if said is None or identity is None or said == identity:
        return Start(committed.offset, metadata)
    if not identity.replaces(said):
        logger.info("%s: offset %d comes from another cluster: reading begins there", tp, committed.offset)
        return Start(committed.offset, CommitMetadata())
    logger.warning(
        "%s: offset %d was committed of a topic of that name that was deleted; it does not count for the one made since",
        tp,
        committed.offset,
    )
    return None
