"""A source, a store and a dead-letter topic that do what a test says, and an engine over them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

from consumer.aio import Backoff
from consumer.contract.dead_letter import DeadLetter
from consumer.contract.record import Record, TopicPartition
from consumer.contract.rejection import Reason, Rejected
from consumer.engine.breaker import BreakerLimits
from consumer.engine.runner import EngineConfig, StopReason
from consumer.errors import ConsumerError, TransientError
from consumer.ports import (
    NO_HOLDS,
    AssignmentListener,
    Holds,
    Observer,
    Polled,
    StartOffset,
    WriteBatch,
)
from consumer.state.outcomes import NO_MARK, Mark, Outcome, Result
from consumer.state.writes import Write
from consumer.wiring import build_engine
from tests import builders
from tests.fakes.observer import RecordingObserver
from tests.unit.state.builders import event, event_write

P0 = TopicPartition(builders.EVENTS, 0)
P1 = TopicPartition(builders.EVENTS, 1)
P2 = TopicPartition(builders.EVENTS, 2)

GOOD, BAD, DIFFERENT_KEY = b"good", b"bad", b"different key"
APPLIED = Result(Outcome.APPLIED)
OUTAGE = TransientError("AutoReconnect")
UNREADABLE = TransientError("CorruptRecordException")
HELD_AT = datetime(2026, 3, 4, 10, tzinfo=UTC)


def now() -> float:
    return asyncio.get_running_loop().time()


def records(
    partition: TopicPartition, first: int, count: int = 1, value: bytes = GOOD
) -> list[Record]:
    topic, number = partition
    return [
        builders.record(value, offset, topic=topic, partition=number)
        for offset in range(first, first + count)
    ]


def brought(partition: TopicPartition, first: int, count: int = 1, value: bytes = GOOD) -> Polled:
    return Polled({partition: records(partition, first, count, value)})


def planned(record: Record) -> tuple[Write | Result, Mark]:
    """Implements ``Planner`` without a contract: the value says what becomes of the record."""
    if record.value == BAD:
        return Result(Outcome.DEAD_LETTERED, Rejected(Reason.INVALID, "bad")), NO_MARK
    write = event_write(event(event_id=f"{record.partition}-{record.offset}"), record)
    return write, Mark.KEY_MISMATCH if record.value == DIFFERENT_KEY else NO_MARK


def letter(record: Record, rejected: Rejected) -> DeadLetter:
    return DeadLetter(record.key, record.value, record.headers, record.position)


Script = Polled | Exception | Callable[[], Polled]


class ScriptedSource:
    """Implements ``Source``. Without a script a poll waits for its timeout and brings nothing."""

    def __init__(self) -> None:
        self.scripts: deque[Script] = deque()
        self.asked: list[tuple[tuple[TopicPartition, ...], float]] = []
        """The partitions and the timeout of each poll."""
        self.sought: list[tuple[TopicPartition, int]] = []
        self.commits: list[dict[TopicPartition, int]] = []
        self.told: list[tuple[Mapping[TopicPartition, int], Holds]] = []
        """The ``commits`` again, each with the holds beside it."""
        self.commit_errors: deque[TransientError] = deque()
        self.commit_gate = opened_gate()
        self.group_offsets: dict[TopicPartition, int | None] = {}
        self.committed_errors: deque[TransientError] = deque()
        self.reached: dict[TopicPartition, int] = {}
        """Where reading goes on without a record."""
        self.log_ends: dict[TopicPartition, int] = {}
        self.highwaters: dict[TopicPartition, int] = {}
        self.stables: dict[TopicPartition, int] = {}
        self.gone: Collection[TopicPartition] = ()
        """What the next poll without a script says is no more."""
        self.hangs = False
        """Whether a poll never returns."""
        self.listener: AssignmentListener | None = None

    async def poll(
        self, partitions: Collection[TopicPartition], max_records: int, timeout: float
    ) -> Polled:
        self.asked.append((tuple(partitions), timeout))
        if self.hangs:
            await asyncio.Event().wait()
        # Not in no time: what polls again at once must not stop the clock.
        await asyncio.sleep(0.001)
        if partitions and self.scripts:
            script = self.scripts.popleft()
            if isinstance(script, Exception):
                raise script
            return self._passing(script() if callable(script) else script, partitions)
        await asyncio.sleep(timeout)
        gone, self.gone = self.gone, ()
        return self._passing(Polled(gone=gone), partitions)

    def _passing(self, polled: Polled, partitions: Collection[TopicPartition]) -> Polled:
        return replace(polled, passed={p: self.reached[p] for p in partitions if p in self.reached})

    def seek(self, partition: TopicPartition, offset: int) -> None:
        self.sought.append((partition, offset))

    async def commit(self, offsets: Mapping[TopicPartition, int], holds: Holds = NO_HOLDS) -> None:
        await self.commit_gate.wait()
        if self.commit_errors:
            raise self.commit_errors.popleft()
        self.commits.append(dict(offsets))
        self.told.append((dict(offsets), holds))
        self.group_offsets.update(offsets)

    async def committed(
        self, partitions: Collection[TopicPartition]
    ) -> Mapping[TopicPartition, int | None]:
        if self.committed_errors:
            raise self.committed_errors.popleft()
        return {partition: self.group_offsets.get(partition) for partition in partitions}

    async def end_offsets(
        self, partitions: Collection[TopicPartition]
    ) -> Mapping[TopicPartition, int]:
        return {partition: self.log_ends.get(partition, 10**9) for partition in partitions}

    def missing_topics(self) -> Collection[str]:
        return ()

    def highwater(self, partition: TopicPartition) -> int | None:
        return self.highwaters.get(partition)

    def last_stable_offset(self, partition: TopicPartition) -> int | None:
        return self.stables.get(partition, self.highwaters.get(partition))

    def unreachable(self) -> Mapping[TopicPartition, str]:
        return {}

    def listen(self, listener: AssignmentListener) -> None:
        self.listener = listener


class ScriptedStore:
    """Implements ``Store``: everything is applied, when the gate is open."""

    def __init__(self) -> None:
        self.gate = opened_gate()
        self.errors: deque[ConsumerError] = deque()
        self.attempts: list[list[Write]] = []
        self.result = APPLIED
        self.forgotten = 0
        self.forget_error: Exception | None = None

    def prepare(self, writes: Sequence[Write]) -> WriteBatch:
        return partial(self._execute, list(writes))

    async def _execute(self, writes: list[Write]) -> Sequence[Result]:
        self.attempts.append(writes)
        await self.gate.wait()
        if self.errors:
            raise self.errors.popleft()
        return [self.result] * len(writes)

    def forget(self) -> None:
        self.forgotten += 1
        if self.forget_error is not None:
            raise self.forget_error

    @property
    def offsets(self) -> list[tuple[int, int]]:
        """Partition and offset of every record that was attempted, in that order."""
        return [(w.position.partition, w.position.offset) for a in self.attempts for w in a]


class ScriptedLetters:
    """Implements ``DeadLetters``."""

    def __init__(self) -> None:
        self.gate = opened_gate()
        self.errors: deque[TransientError] = deque()
        self.attempts = 0
        self.sent: list[DeadLetter] = []

    async def send(self, pending: list[DeadLetter]) -> None:
        self.attempts += 1
        await self.gate.wait()
        if self.errors:
            raise self.errors.popleft()
        self.sent += pending


def opened_gate() -> asyncio.Event:
    gate = asyncio.Event()
    gate.set()
    return gate


class Engine:
    """A runner over scripted parts. ``breaker_share`` of 1 never holds.

    ``told`` is the observer to tell instead of one that keeps what it is told.
    """

    def __init__(
        self,
        *,
        batches_in_flight: int = 3,
        stop_on_gap: bool = False,
        breaker_share: float = 1.0,
        told: Observer | None = None,
    ) -> None:
        self.source = ScriptedSource()
        self.store = ScriptedStore()
        self.letters = ScriptedLetters()
        self.observer = RecordingObserver()
        self.stop = asyncio.Event()
        engine = build_engine(
            source=self.source,
            store=self.store,
            dead_letters=self.letters,
            planner=planned,
            build_dead_letter=letter,
            observer=self.observer if told is None else told,
            config=EngineConfig(
                max_poll_records=100,
                batches_in_flight=batches_in_flight,
                commit_interval=1.0,
                drain_deadline=20.0,
                rebalance_timeout=20.0,
                stop_on_gap=stop_on_gap,
                backoff=Backoff(initial=1.0, maximum=8.0),
                breaker=BreakerLimits(breaker_share, window=10, minimum=2),
            ),
            jitter=lambda: 0.5,
            now=lambda: HELD_AT,
        )
        self.runner, self.watchdog = engine.runner, engine.watchdog
        self.pipeline = engine.runner._batches.pipeline
        self.running: asyncio.Task[StopReason] | None = None

    async def start(
        self,
        *partitions: TopicPartition,
        until: Mapping[TopicPartition, int] | None = None,
        offset: int = 0,
    ) -> None:
        """Run, with these partitions assigned and to be read from ``offset`` on."""
        self.running = asyncio.ensure_future(self.runner.run(self.stop, until))
        await asyncio.sleep(0)
        await self.assign(*partitions, offset=offset)

    async def assign(self, *partitions: TopicPartition, offset: int = 0) -> None:
        """Let a rebalance give these partitions."""
        await self.runner.on_assigned(partitions)
        starts = {partition: StartOffset(offset, offset) for partition in partitions}
        self.source.scripts.appendleft(Polled(starts=starts))

    async def end(self) -> StopReason:
        """Stop, and return how it ended."""
        self.stop.set()
        assert self.running is not None
        return await self.running

    def polled(self, partition: TopicPartition) -> int:
        """How often the partition has been asked for."""
        return sum(partition in partitions for partitions, _ in self.source.asked)
