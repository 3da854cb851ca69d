"""Parts of topics as a ``Source``: the engine reads them as it reads a group's assignment.

There is no group. What is committed goes to whoever asked for the reading, and the live
group's offsets are neither read nor moved.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence

from consumer.contract.record import Record, TopicPartition
from consumer.errors import TransientError
from consumer.kafka.client import PartitionsError
from consumer.kafka.lanes import (
    Cursor,
    Portion,
    lanes_of,
    next_unfinished,
)
from consumer.kafka.range_reader import Passed, RangeClient, passed_over
from consumer.kafka.ranges import (
    BEGAN_ANEW,
    DELETED,
    END_PATIENCE,
    ENDS_BEFORE,
    FailingPartitions,
    OffsetRange,
    RecordFilter,
    UnreadRange,
)
from consumer.kafka.rate_limit import RateLimiter
from consumer.ports import NO_HOLDS, AssignmentListener, Holds, OffsetGap, Polled, StartOffset

WORTH_A_SEEK = 2_000
"""So many unwanted offsets ahead are skipped by a seek; fewer are read and thrown away, since
a seek throws away what was fetched in advance."""

LEAST_OFFSETS = 10_000
OFFSETS_PER_RECORD = 4
"""How many offsets of a partition are looked at for one portion, where little is wanted."""

KEEP_INTERVAL = 1.0
"""Seconds between two reports of progress that no commit brings."""


Keep = Callable[[Mapping[TopicPartition, int]], None]
"""Not awaited: a cancelled write could go on behind a later one, and undo it."""


class RangeSource:
    """``Source`` over ranges, read once, from their first offsets to their ends."""

    def __init__(
        self,
        client: RangeClient,
        ranges: Sequence[OffsetRange],
        *,
        lanes: int,
        max_batch_bytes: int,
        record_filter: RecordFilter,
        limiter: RateLimiter,
        keep: Keep,
    ) -> None:
        """``lanes``: how many of them, at most; twice the batches in flight are plenty.

        With as many lanes as batches, all would wait whenever the one whose turn it is takes
        longer than the others. ``keep`` is told from where each range would have to be read again.
        ``unread`` grows by what of the ranges cannot be read, ever.
        """
        self._client = client
        self._cursors = {part.partition: Cursor(part) for part in ranges if part.offsets}
        self._lanes = lanes_of(self._cursors.values(), lanes)
        self._max_batch_bytes = max_batch_bytes
        self._record_filter = record_filter
        self._limiter = limiter
        self._keep = keep
        self._kept = dict(self.positions)
        self._kept_at = 0.0
        self._turn = 0
        self._listener: AssignmentListener | None = None
        self._failing = FailingPartitions()
        self.unread: list[UnreadRange] = []
        self._gaps: list[OffsetGap] = []
        self._assigned = False
        self._started = False

    @property
    def positions(self) -> Mapping[TopicPartition, int]:
        """From where each range would have to be read again."""
        return {partition: cursor.position for partition, cursor in self._cursors.items()}

    @property
    def ends(self) -> Mapping[TopicPartition, int]:
        """Where each range ends: what ``Runner.run`` is to go on until."""
        return {partition: cursor.part.end for partition, cursor in self._cursors.items()}

    def keep(self) -> None:
        """Report the progress now; done at every commit, and now and then."""
        self._kept_at = asyncio.get_running_loop().time()
        positions = dict(self.positions)
        if positions != self._kept:
            self._keep(positions)
            self._kept = positions

    def abandon(self, topic: str, cause: str) -> None:
        """Read no more of a topic that is not there any more, or is another one by now."""
        for cursor in self._cursors.values():
            if cursor.part.partition.topic == topic and not cursor.finished:
                cursor.buffer.clear()
                cursor.buffered_bytes = 0
                self._leave(
                    UnreadRange(cursor.part.partition, cursor.scanned, cursor.part.end, cause)
                )

    # --- what the engine calls ------------------------------------------------

    def listen(self, listener: AssignmentListener) -> None:
        """See ``Source``."""
        self._listener = listener

    async def poll(
        self, partitions: Collection[TopicPartition], max_records: int, timeout: float
    ) -> Polled:
        """See ``Source``."""
        if not self._assigned:
            await self._assign()
            return Polled()
        if not self._started:
            self._started = True
            # As if committed: nothing before it is to be reported again.
            firsts = {p: cursor.part.first for p, cursor in self._cursors.items()}
            return Polled(starts={p: StartOffset(first, first) for p, first in firsts.items()})
        if asyncio.get_running_loop().time() - self._kept_at >= KEEP_INTERVAL:
            self.keep()
        if not partitions and timeout <= 0:
            return Polled()
        portion = self._portion(max_records)
        clock = asyncio.get_running_loop().time
        deadline = clock() + timeout
        while True:
            polled = await self._step(frozenset(partitions), portion, deadline)
            if polled.records or polled.gaps or polled.failed or clock() >= deadline:
                return polled

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """See ``Source``."""
        self._cursors[partition].restart(offset)
        self._client.seek(partition, offset)

    async def commit(self, offsets: Mapping[TopicPartition, int], holds: Holds = NO_HOLDS) -> None:
        """See ``Source``. Nothing is held here."""
        del holds
        for partition, offset in offsets.items():
            self._cursors[partition].committed = offset
        self.keep()

    async def committed(
        self, partitions: Collection[TopicPartition]
    ) -> Mapping[TopicPartition, int | None]:
        """See ``Source``: how far everything is done, wanted or not."""
        positions = self.positions
        return {partition: positions.get(partition) for partition in partitions}

    def position(self, partition: TopicPartition) -> int | None:
        """See ``Source``."""
        return self._cursors[partition].scanned

    def highwater(self, partition: TopicPartition) -> int | None:
        """See ``Source``: reading ends at the range's end, so that is where it lags behind."""
        cursor = self._cursors.get(partition)
        return None if cursor is None else cursor.part.end

    def last_stable(self, partition: TopicPartition) -> int | None:
        """See ``Source``: a range ends where it ends."""
        return self.highwater(partition)

    def unreachable(self) -> Mapping[TopicPartition, str]:
        """See ``Source``: whoever reads a range waits for it, and is told what fails."""
        return {}

    def missing_topics(self) -> Collection[str]:
        """See ``Source``: a topic that goes is an error of the fetch."""
        return ()

    # --- how ------------------------------------------------------------------

    async def _assign(self) -> None:
        self._client.assign({p: cursor.fetched for p, cursor in self._cursors.items()})
        self._assigned = True
        if self._listener is not None:
            await self._listener.on_assigned(self._cursors.keys())

    def _portion(self, max_records: int) -> Portion:
        widest = max((len(lane.cursors) for lane in self._lanes), default=1)
        return Portion(
            self._limiter.batch_size(max_records),
            self._max_batch_bytes // widest,
            max(LEAST_OFFSETS, OFFSETS_PER_RECORD * max_records),
        )

    async def _step(
        self, idle: frozenset[TopicPartition], portion: Portion, deadline: float
    ) -> Polled:
        """Bring the lane whose turn it is one step further; wait where there is none."""
        gaps = self._gaps_due()
        if gaps:
            return Polled(gaps=gaps)
        now = asyncio.get_running_loop().time()
        left = max(deadline - now, 0)
        place = next_unfinished(self._lanes, self._turn, idle)
        if place is None:
            await asyncio.sleep(left)
            return Polled()
        lane = self._lanes[place]
        wanting = lane.wanting(portion)
        if wanting:
            polled = await self._fetch(wanting, portion, left)
            if polled.failed:
                self._turn = place + 1
            return polled
        if not lane.partitions <= idle:
            # Its last batch is in flight. Another lane must not overtake it: the order in
            # which batches begin is part of what a dry run predicts.
            await asyncio.sleep(left)
            return Polled()
        pause = self._limiter.delay(now)
        if pause:
            await asyncio.sleep(min(pause, left))
            return Polled()
        self._turn = place + 1
        taken = lane.take(portion)
        self._limiter.take(sum(map(len, taken.values())), now)
        if not taken:
            # Where nothing is wanted for long, the event loop must have its turn all the same.
            # Never between taking and handing out: the end would seem to be reached too early.
            await asyncio.sleep(0)
        return Polled(taken)

    async def _fetch(self, cursors: Sequence[Cursor], portion: Portion, timeout: float) -> Polled:
        reading = [cursor for cursor in cursors if not self._skipped_to_end(cursor)]
        if not reading:
            return Polled()
        expected = {cursor.part.partition: cursor.fetched for cursor in reading}
        try:
            fetched = await self._client.fetch(list(expected), portion.records, timeout)
            passed = await passed_over(self._client, expected, fetched)
        except PartitionsError as error:
            return Polled(failed=self._failed(error.failed))
        except TransientError:
            # What a failed fetch had taken already is dropped by the client, or by us.
            for partition, offset in expected.items():
                self._client.seek(partition, offset)
            raise
        for cursor in reading:
            self._advance(cursor, fetched.get(cursor.part.partition), passed)
        self._gaps += [gap for gap in passed.deleted if self._lost(gap)]
        return Polled()

    def _advance(self, cursor: Cursor, records: Sequence[Record] | None, passed: Passed) -> None:
        partition, due = cursor.part.partition, cursor.fetched
        if partition in passed.began_anew:
            self._leave(UnreadRange(partition, due, cursor.part.end, BEGAN_ANEW))
            return
        reached = passed.reached[partition]
        if reached > due:
            self._failing.succeeded(partition)
            cursor.failing = False
        else:
            self._look_for_the_end(cursor)
        if records:
            cursor.accept(records, self._record_filter.matches)
        cursor.fetched = max(cursor.fetched, reached)
        if cursor.fetched >= cursor.part.end:
            self._exhaust(cursor)

    def _look_for_the_end(self, cursor: Cursor) -> None:
        """Wait no longer than a moment for records behind the end of a log."""
        log_end = self._client.highwater(cursor.part.partition)
        if log_end is not None and log_end < cursor.part.end and log_end <= cursor.fetched:
            self._failed({cursor.part.partition: TransientError(ENDS_BEFORE)}, END_PATIENCE)

    def _failed(
        self, failed: Mapping[TopicPartition, TransientError], patience: float | None = None
    ) -> dict[TopicPartition, TransientError]:
        """Give up what cannot be read; return the partitions that are to be tried again."""
        now = asyncio.get_running_loop().time()
        again: dict[TopicPartition, TransientError] = {}
        for partition, error in failed.items():
            cursor = self._cursors[partition]
            left = OffsetRange(partition, cursor.fetched, cursor.part.end)
            given_up = self._failing.failed(left, error, now, patience)
            cursor.failing = given_up is None
            if given_up is None:
                again[partition] = error
            else:
                self._leave(given_up)
        return again

    def _leave(self, unread: UnreadRange) -> None:
        """Go on behind what cannot be read."""
        if unread not in self.unread:
            self.unread.append(unread)
        cursor = self._cursors[unread.partition]
        cursor.fetched = unread.end
        if unread.end >= cursor.part.end:
            self._exhaust(cursor)
        else:
            self._client.seek(unread.partition, unread.end)

    def _gaps_due(self) -> list[OffsetGap]:
        """Return, once, the gaps before which nothing is left: the engine goes on behind them."""
        due: list[OffsetGap] = []
        for gap in list(self._gaps):
            buffer = self._cursors[gap.partition].buffer
            if not buffer or buffer[0].offset >= gap.end:
                self._gaps.remove(gap)
                due.append(gap)
        return due

    def _lost(self, gap: OffsetGap) -> bool:
        """Note what was deleted before it could be read; tell whether any of it was wanted."""
        cursor = self._cursors[gap.partition]
        end = min(gap.end, cursor.part.end)
        wanted = self._record_filter.next_match(gap.partition, gap.first)
        if wanted is None or wanted >= end:
            return False
        unread = UnreadRange(gap.partition, gap.first, end, DELETED)
        if unread not in self.unread:
            self.unread.append(unread)
        return True

    def _skipped_to_end(self, cursor: Cursor) -> bool:
        """Seek over what is certainly not wanted; tell whether that is all the rest."""
        partition = cursor.part.partition
        wanted = self._record_filter.next_match(partition, cursor.fetched)
        if wanted is None or wanted >= cursor.part.end:
            self._exhaust(cursor)
            return True
        if wanted - cursor.fetched >= WORTH_A_SEEK:
            cursor.fetched = wanted
            self._client.seek(partition, wanted)
        return False

    def _exhaust(self, cursor: Cursor) -> None:
        cursor.exhausted = True
        self._client.pause(cursor.part.partition)
