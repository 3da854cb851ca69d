"""Parts of topics as a ``Source``: the engine reads them as it reads a group's assignment.

There is no group. What is committed goes to whoever asked for the reading, and the live
group's offsets are neither read nor moved.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from consumer.aio import RateLimiter
from consumer.contract.record import OffsetRange, Offsets, Partitions, Records, TopicPartition
from consumer.errors import TransientError
from consumer.kafka.client import PartitionsError, within_bytes
from consumer.kafka.range_reader import Passed, RangeReader, RangesInReading
from consumer.kafka.ranges import DELETED, PATIENCE, RecordFilter, UnreadRange
from consumer.ports import NO_HOLDS, AssignmentListener, Holds, Polled, Source, StartOffset

WORTH_A_SEEK = 2_000
"""So many unwanted offsets ahead are skipped by a seek; fewer are read and thrown away, since
a seek throws away what was fetched in advance."""


class RangeSource(Source):
    """``Source`` over ranges, read once, from their first offsets to their ends.

    Whoever reads a range waits for it, and is told what fails by the fetches.
    """

    def __init__(
        self,
        client: RangeReader,
        ranges: Sequence[OffsetRange],
        *,
        max_batch_bytes: int,
        record_filter: RecordFilter,
        rate_limiter: RateLimiter,
        on_progress: Callable[[], None],
    ) -> None:
        """``on_progress`` is called at every commit, when ``positions`` have moved.

        It is not awaited: a cancelled write could go on behind a later one, and undo it.
        ``ends``: where each range ends, which ``Runner.run`` is to go on until. ``unread`` grows
        by what of the ranges cannot be read, ever.
        """
        self._client = client
        self._reading = RangesInReading(client, ranges, PATIENCE)
        self._max_batch_bytes = max_batch_bytes
        self._record_filter = record_filter
        self._rate_limiter = rate_limiter
        self._on_progress = on_progress
        self._listener: AssignmentListener | None = None
        self._assigned = False
        self._started = False
        self._gone: dict[str, str] = {}
        self._committed = dict(self._reading.left)
        self._handed_out = dict(self._reading.left)
        self.ends = self._reading.ends
        self.unread: list[UnreadRange] = []

    @property
    def positions(self) -> Offsets:
        """From where each range would have to be read again.

        What was not wanted counts as done as soon as all that was handed out before it is
        committed: a filter that finds little still makes progress.
        """
        return {
            partition: offset if offset < self._handed_out[partition] else self.position(partition)
            for partition, offset in self._committed.items()
        }

    def abandon(self, topic: str, cause: str) -> None:
        """Read no more of a topic that is not there any more, or is another one by now."""
        # A fetch may be under way; what it brings of the topic is the last.
        self._gone[topic] = cause

    # --- what the engine calls ------------------------------------------------

    def listen(self, listener: AssignmentListener) -> None:
        self._listener = listener

    async def poll(self, partitions: Partitions, max_records: int, timeout: float) -> Polled:
        if not self._assigned:
            self._assigned = True
            if self._listener is not None:
                await self._listener.on_assigned(self.ends.keys())
            return Polled()
        if not self._started:
            self._started = True
            # As if committed: nothing before it is to be reported again.
            starts = {p: StartOffset(first, first) for p, first in self._committed.items()}
            return Polled(starts=starts)
        self._leave_gone()
        clock = asyncio.get_running_loop().time
        deadline = clock() + timeout
        while True:
            polled = await self._step(set(partitions), max_records, max(deadline - clock(), 0))
            if polled.records or polled.gaps or polled.failed or clock() >= deadline:
                passed = {partition: self.position(partition) for partition in partitions}
                return replace(polled, passed=passed)

    def seek(self, partition: TopicPartition, offset: int) -> None:
        self._reading.seek(partition, offset)

    async def commit(self, offsets: Offsets, holds: Holds = NO_HOLDS) -> None:
        """See ``Source``. Nothing is held here."""
        del holds
        self._committed.update(offsets)
        self._on_progress()

    async def committed(self, partitions: Partitions) -> Mapping[TopicPartition, int | None]:
        positions = self.positions
        return {partition: positions.get(partition) for partition in partitions}

    def position(self, partition: TopicPartition) -> int:
        """Return where reading goes on: it passes over what is not wanted, too."""
        return self._reading.left.get(partition, self.ends[partition])

    async def end_offsets(self, partitions: Partitions) -> Offsets:
        """See ``Source``: a range ends where it ends."""
        return {partition: self.ends[partition] for partition in partitions}

    def highwater(self, partition: TopicPartition) -> int | None:
        """See ``Source``: reading ends at the range's end, so that is where it lags behind."""
        return self.ends.get(partition)

    # --- how ------------------------------------------------------------------

    async def _step(self, idle: Partitions, max_records: int, seconds: float) -> Polled:
        """Fetch once; wait at most ``seconds`` where there is nothing to fetch."""
        now = asyncio.get_running_loop().time()
        ready = [partition for partition in self._reading.ready(now) if partition in idle]
        delay = self._rate_limiter.delay(now)
        if delay or not ready:
            await asyncio.sleep(min(delay or seconds, seconds))
            return Polled()
        wanted = [partition for partition in ready if self._seek_next_match(partition)]
        if not wanted:
            return Polled()
        limit = self._rate_limiter.batch_size(max_records)
        try:
            fetched, passed = await self._reading.fetch(wanted, limit, seconds)
        except PartitionsError as error:
            return self._failed(error.failed)
        taken, passed = self._take(fetched, passed)
        self._rate_limiter.take(sum(map(len, taken.values())), now)
        if not taken:
            # Where nothing is wanted for long, the event loop must have its turn all the same.
            # Never between taking and handing out: the end would seem to be reached too early.
            await asyncio.sleep(0)
        return Polled(taken, gaps=self._advance(passed))

    def _take(self, fetched: Records, passed: Passed) -> tuple[Records, Passed]:
        """Return what is wanted of a fetch, and how far it reaches; the rest is fetched again."""
        wanted = {p: filter(self._record_filter.matches, records) for p, records in fetched.items()}
        taken, rest = within_bytes(wanted, self._max_batch_bytes)
        for partition, offset in rest.items():
            self._client.seek(partition, offset)
        self._handed_out |= {p: records[-1].offset + 1 for p, records in taken.items()}
        return taken, replace(passed, reached={**passed.reached, **rest})

    def _advance(self, passed: Passed) -> list[OffsetRange]:
        """Follow a fetch; return what was deleted of the wanted before it could be read."""
        _, unread = self._reading.moved(passed, asyncio.get_running_loop().time())
        gaps: list[OffsetRange] = []
        for part in unread:
            if part.cause == DELETED:
                wanted = self._record_filter.next_match(part.partition, part.first)
                if wanted is None or wanted >= part.end:
                    continue
                gaps.append(OffsetRange(part.partition, part.first, part.end))
            self.unread.append(part)
        return gaps

    def _failed(self, failed: Mapping[TopicPartition, TransientError]) -> Polled:
        """Give up what cannot be read; tell which partitions are to be tried again."""
        given_up = self._reading.failed(failed, asyncio.get_running_loop().time())
        self.unread += given_up
        over = {part.partition for part in given_up}
        return Polled(failed={p: error for p, error in failed.items() if p not in over})

    def _leave_gone(self) -> None:
        for partition, position in list(self._reading.left.items()):
            cause = self._gone.get(partition.topic)
            if cause is not None:
                end = self.ends[partition]
                self.unread.append(UnreadRange(partition, position, end, cause))
                self._reading.advance(partition, end)

    def _seek_next_match(self, partition: TopicPartition) -> bool:
        """Seek over what is certainly not wanted; tell whether anything else is left."""
        position, end = self._reading.left[partition], self.ends[partition]
        wanted = self._record_filter.next_match(partition, position)
        if wanted is None or wanted >= end:
            self._reading.advance(partition, end)
            return False
        if wanted - position >= WORTH_A_SEEK:
            self._reading.seek(partition, wanted)
        return True
