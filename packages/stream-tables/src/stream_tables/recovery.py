"""Recovery: the replays of changelog partitions into table partitions, with one reader for all of them.

The target is the read-uncommitted end of the changelog, taken after the stable offsets of the sources: what a predecessor
committed lies below it, and the position cannot pass an undecided transaction. Recovered means ``position >= target``, never "saw the
last record": the last offset may be a control record.

What fails for one partition (its store, its log) ends its replay alone. What fails for all (the reader) is tried again, with another
reader when the old one may be of no more use: a client whose tasks have died raises for ever.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence

from stream_core.engine.participants import Reading
from stream_core.errors import AuthenticationError, OffsetOutOfRangeError, TransportError
from stream_core.ports import Reader
from stream_core.primitives import TP, Batch, Headers, RawRecord
from stream_tables.changelog import Origin, decode_claim, decode_origin
from stream_tables.partition import Facts, TablePartition
from stream_tables.stores import CHUNK

__all__ = ["COMPACTION_LAG", "REWRITE", "Recovery", "Replay"]

logger = logging.getLogger(__name__)

COMPACTION_LAG = 600.0
"""Seconds for which a changelog keeps every record (``min.compaction.lag.ms``)."""

REPORT = 5.0
"""Seconds between two messages about a recovery that goes on."""

POLL = 0.1
"""Seconds that a poll waits for records; a replay that begins meanwhile waits for its end."""

RETRY = 1.0
"""Seconds after an error of the reader."""

SUSPICIOUS = 3
"""Errors of the broker in a row from which on the reader itself is replaced."""

REWRITE = 86400.0
"""Seconds after which a position is written although no value has changed."""

PATIENCE = 5
"""Errors in a row that are not the broker's, after which the replays fail with the last one."""


class Replay:
    """The replay of one changelog partition into its table partition.

    Args:
        part: the table partition; its store says where to begin.
        position: the changelog offset to begin at.
        target: the changelog offset to reach.
        committed: the committed position of each reading of the sources.
    """

    def __init__(self, part: TablePartition, position: int, target: int, committed: Mapping[Reading, int]) -> None:
        self.part = part
        self.start = self.position = position
        self.target = target
        self._committed = committed
        self._skipped: set[bytes] = set()
        self._whole = position == 0 or part.store.fact(Facts.POSITION) is not None
        self._resume = position, part.epoch
        # Claims and markers of transactions change no value: that they were met is written only where the position would become so old
        # that deletions may be gone behind it. A store that was not written is opened three times as fast.
        self._stale = time.time() - int(part.store.fact(Facts.WRITTEN_AT) or 0) > REWRITE
        self._origin: tuple[Headers, Origin | None, bool] = ((), None, False)
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def extend(self, target: int) -> None:
        """Go on to a target that is further ahead."""
        self.target = target
        self.done = asyncio.get_running_loop().create_future()

    def fail(self, error: Exception) -> None:
        """End with an error, unless it has ended."""
        if not self.done.done():
            self.done.set_exception(error)

    async def apply(self, batch: Batch) -> None:
        """Apply some records, in chunks; the position in the store moves with each.

        It stays at the first record that was passed over until a checkpoint has written the value before that to the changelog
        again: a recovery that comes earlier must meet the record again.
        """
        records = batch.records
        for at in range(0, len(records), CHUNK):
            last = at + CHUNK >= len(records)
            chunk = records[at : at + CHUNK]
            self._write(chunk, batch.next_offset if last else chunk[-1].offset + 1)
            await asyncio.sleep(0)
            if self.done.done():  # cancelled: the store may belong to others already
                return
        if not records:
            self._write((), batch.next_offset)

    def _write(self, records: Sequence[RawRecord], position: int) -> None:
        changes: dict[bytes, bytes | None] = {}
        expected = self.position
        for record in records:
            key = record.key
            if record.offset != expected:
                self._whole = False  # compaction has removed what was there, or it is no record
            expected = record.offset + 1
            if key is not None and (not (headers := record.headers) or self._counts(record, key, headers, changes)):
                changes[key] = record.value
                if self._skipped:
                    self._skipped.discard(key)
        if not self._skipped:
            self._resume = position, self.part.epoch
        if changes or self._stale:
            self.part.store.write(changes, self.part.facts(*self._resume))
            self._stale = False
        self.position = position

    def _counts(self, record: RawRecord, key: bytes, headers: Headers, changes: Mapping[bytes, bytes | None]) -> bool:
        """Whether the record's events are committed, and its owner was the owner."""
        if headers != self._origin[0]:  # all records of one interval carry the same
            origin = decode_origin(headers)
            uncommitted = origin is not None and origin.uncommitted(self._committed, self.part.ids)
            self._origin = (headers, origin, uncommitted)
        _, origin, uncommitted = self._origin
        if origin is None:
            claimed = decode_claim(headers)
            if claimed is not None:
                self.part.epoch = max(self.part.epoch, claimed)
            return claimed is None
        if origin.epoch < self.part.epoch:
            logger.warning("%s offset %d: written by a replaced owner; passed over", self.part.changelog, record.offset)
            self._skipped.add(key)
            return False
        self.part.epoch = origin.epoch
        if not uncommitted:
            return True
        known = changes.get(key) is not None or self.part.store.get(key) is not None
        if not known and not self._whole and time.time() - record.timestamp / 1000 > COMPACTION_LAG:
            logger.warning(
                "%s offset %d: its events are not committed and will be replayed, but it is older than the compaction lag, "
                "so that the value before it may be gone; it is applied",
                *(self.part.changelog, record.offset),
            )
            return True
        self._skipped.add(key)
        return False

    def restart(self, position: int, target: int) -> None:
        """Begin again at ``position``, with an empty store."""
        self.part.store.wipe()
        self.part.epoch = 0
        self._skipped.clear()
        self._whole = position == 0
        self._resume = position, 0
        self.start = self.position = position
        self.target = target

    def finish(self) -> None:
        """Have what was passed over written to the changelog again, at the next checkpoint."""
        for key in self._skipped:
            self.part.overlay.seed(key, self.part.store.get(key))


class Recovery:
    """Runs replays with one reader.

    Args:
        make_reader: makes a reader of changelogs, without a group, that leaves aborted records out.

    Attributes:
        records: how many were read so far, of all replays.
    """

    def __init__(self, make_reader: Callable[[], Reader]) -> None:
        self._make_reader = make_reader
        self._reader = make_reader()
        self._replays: dict[TP, Replay] = {}
        self._reading: dict[TP, tuple[Replay, asyncio.Future[None]]] = {}
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._said = 0.0
        self.records = 0

    def replays(self) -> dict[TP, Replay]:
        """The replays that run now, by changelog partition."""
        return self._replays.copy()

    async def start(self) -> None:
        """Connect."""
        await self._reader.start()

    async def stop(self) -> None:
        """Stop replaying, and close the reader."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task], timeout=5.0)
        await self._reader.stop()

    async def bounds(self, tp: TP) -> tuple[int, int]:
        """The first offset that the changelog partition holds, and the end behind everything in it, undecided records included."""
        end = (await self._reader.end_offsets([tp]))[tp]
        return (await self._reader.start_offsets([tp]))[tp], end

    async def run(self, replay: Replay) -> None:
        """Replay until the target is reached; cancellation leaves the store at a consistent position.

        Raises:
            StoreError: the store failed.
            TransportError: the changelog could not be read; it can be tried again.
        """
        if replay.position >= replay.target:
            return
        if not self._replays:
            self._said = time.monotonic()
        tp = replay.part.changelog
        self._replays[tp] = replay
        self._changed.set()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._loop(), name="recovery")
            self._task.add_done_callback(self._ended)
        try:
            await replay.done
        finally:
            if self._replays.get(tp) is replay:
                del self._replays[tp]
            self._changed.set()

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Tell those who wait that nobody replays any more; who tries again starts another task."""
        error = None if task.cancelled() else task.exception()
        self._fail(TransportError(f"the task that reads changelogs has ended: {error or 'it was cancelled'}"))

    async def _loop(self) -> None:
        failures = 0
        while True:
            try:
                if not self._waiting():  # nothing would come: the next replay must not wait for the end of a poll
                    await self._changed.wait()
                if self._changed.is_set():
                    self._changed.clear()
                    self._reading = {tp: (replay, replay.done) for tp, replay in self._replays.items()}
                    await self._reader.assign({tp: replay.position for tp, (replay, _) in self._reading.items()})
                if self._waiting():
                    await self._step()
                failures = 0
            except Exception as error:
                failures += 1
                self._changed.set()  # assign again: where the reader is now is unknown
                broken = not isinstance(error, TransportError)
                if isinstance(error, AuthenticationError) or (broken and failures >= PATIENCE):
                    self._fail(error)
                    failures = 0
                logger.warning("recovery waits: %s", error, exc_info=error if broken else None)
                await asyncio.sleep(RETRY)
                if broken or failures >= SUSPICIOUS:
                    await self._replace_reader()

    def _waiting(self) -> bool:
        """Tell whether there is a replay that has not ended."""
        return any(not replay.done.done() for replay in self._replays.values())

    async def _replace_reader(self) -> None:
        fresh, old = self._make_reader(), self._reader
        try:
            await fresh.start()
        except BaseException as error:
            await fresh.stop()
            if not isinstance(error, TransportError):
                raise
            logger.warning("recovery waits: %s", error)
            return
        self._reader = fresh
        await old.stop()

    async def _step(self) -> None:
        try:
            batches = await self._reader.poll(POLL)
        except OffsetOutOfRangeError as error:
            await self._out_of_range(error)
            return
        for batch in batches:
            replay, done = self._reading.get(batch.tp, (None, None))
            if replay is None or done is not replay.done or done.done():
                continue  # ended, or begun again meanwhile: then it is assigned again first
            self.records += len(batch.records)
            try:
                await replay.apply(batch)
            except Exception as error:
                replay.fail(error)
                continue
            if replay.position >= replay.target and not done.done():
                done.set_result(None)
        self._report()

    async def _out_of_range(self, error: OffsetOutOfRangeError) -> None:
        replay = self._replays.get(error.tp)
        if replay is None or replay.done.done():  # it has what it needs, and its owner may work on the store already
            return
        start, end = await self.bounds(error.tp)
        if replay.done.done():
            return
        logger.warning("%s; its store is wiped and replayed from offset %d", error, start)
        try:
            replay.restart(start, end)
        except Exception as failure:
            replay.fail(failure)
        self._changed.set()

    def _fail(self, error: Exception) -> None:
        for replay in self._replays.values():
            replay.fail(error)
        self._replays.clear()

    def _report(self) -> None:
        now = time.monotonic()
        if now - self._said < REPORT:
            return
        self._said = now
        for tp, replay in self._replays.items():
            if not replay.done.done():
                logger.info(
                    "recovering %s: offset %d of %d (%d%%)",
                    *(tp, replay.position, replay.target),
                    100 * (replay.position - replay.start) // max(replay.target - replay.start, 1),
                )
