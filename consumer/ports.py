"""What the engine asks of the world. Adapters and simulations implement these, nothing more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

from consumer.contract.dead_letter import DeadLetter
from consumer.contract.record import (
    OffsetRange,
    Offsets,
    Partitions,
    Record,
    Records,
    TopicPartition,
)
from consumer.contract.rejection import Reason, Rejected
from consumer.errors import TransientError

if TYPE_CHECKING:
    # Types alone: whoever only publishes loads no BSON, and so nothing of a database's driver.
    from consumer.state.outcomes import Mark, Outcome, Result
    from consumer.state.writes import Write


WriteBatch = Callable[[], Awaitable["Sequence[Result]"]]
"""Applies the whole batch once; returns one result for each write, in their order.

It remembers across calls what each index met first. Raises ``TransientError``: nothing of the
batch counts as done, call again after a pause. Raises ``PreconditionError``: a unique index is
not the one the design relies on.
"""


class Store(Protocol):
    """The documents."""

    def prepare(self, writes: Sequence[Write]) -> WriteBatch:
        """Return what applies ``writes``, in offset order within each partition. No I/O yet."""

    def forget(self) -> None:
        """Forget what is remembered of sessions; called at every assignment."""


class DeadLetters(Protocol):
    """The topic of last resort."""

    async def send(self, pending: list[DeadLetter]) -> None:
        """Return when the broker has acknowledged every letter.

        Raises ``TransientError``; then ``pending`` holds those that were not acknowledged, which
        are to be sent again.
        """


class PartitionProgress(Protocol):
    """How far the engine is with a partition."""

    @property
    def position(self) -> int | None:
        """The offset behind what was handed out; None where there is no start yet."""

    @property
    def committable(self) -> int:
        """The offset below which all that was handed out has ended."""

    @property
    def stable_end(self) -> int | None:
        """Where the log ends, as brokers have told beside the fetches."""


class AssignmentListener(Protocol):
    """Told about every rebalance, before the group goes on; the one who knows the positions."""

    def progress(self, partition: TopicPartition) -> PartitionProgress | None:
        """How far a partition is; None where it is not assigned."""

    async def on_revoked(self) -> None:
        """The group takes every partition back: drain, commit, forget."""

    async def on_assigned(self, partitions: Partitions) -> None:
        """These, and only these, are ours from now on, in a new epoch."""

    def on_lost(self) -> None:
        """Every partition may have another owner already: forget, commit nothing."""


@dataclass(frozen=True, slots=True)
class StartOffset:
    """Where reading a partition begins: the committed offset, or the log's start where none is.

    ``held``: a hold is committed beside it, which ended with the assignment that it was of.
    """

    offset: int
    committed: int | None
    held: bool = False


@dataclass(frozen=True, slots=True)
class LogReset:
    """The log began anew (topic made again, or truncated): ``expected`` fell to ``found``.

    ``unread``: at most so many known records of the old log were not read, or still in flight;
    None where nobody knows of any, since the log was another one already when reading began.
    """

    partition: TopicPartition
    expected: int
    found: int
    unread: int | None = 0


@dataclass(frozen=True, slots=True)
class Polled:
    """What one poll brought. Gaps and resets take effect before the records beside them."""

    records: Records = field(default_factory=dict)
    starts: Mapping[TopicPartition, StartOffset] = field(default_factory=dict)
    passed: Offsets = field(default_factory=dict)
    """Where reading goes on without a record: over markers and aborted records."""
    gaps: Sequence[OffsetRange] = ()
    """Of which unread records were deleted by the brokers' retention."""
    resets: Sequence[LogReset] = ()
    failed: Mapping[TopicPartition, TransientError] = field(default_factory=dict)
    gone: Partitions = ()
    """Nothing of them may be committed: their log is no more, or not the one it was. What there
    is of them now is told with their next start."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where documents go. ``key`` is what is compared, ``name`` is for people. No secrets."""

    key: str
    name: str

    def __str__(self) -> str:
        """As messages print it."""
        return f"{self.name} [{self.key}]"


@dataclass(frozen=True, slots=True)
class Hold:
    """Why the breaker holds a partition: nothing from ``offset`` on is settled.

    ``share`` of its latest records would be dead-lettered; ``reasons`` counts those of the batch
    that tripped the breaker, at ``since``.
    """

    offset: int
    share: float
    reasons: Mapping[Reason, int]
    since: datetime


Holds = Mapping[TopicPartition, Hold]

NO_HOLDS: Holds = MappingProxyType({})


class GoneError(TransientError):
    """Partitions were to be committed whose log is no more. The others can be."""

    def __init__(self, partitions: Partitions) -> None:
        """Name them."""
        super().__init__("log_gone", ", ".join(f"{t}-{p}" for t, p in sorted(partitions)))
        self.partitions = partitions


class Source(Protocol):
    """The topics, read by a group."""

    async def poll(self, partitions: Partitions, max_records: int, timeout: float) -> Polled:
        """Return what is there for ``partitions``, waiting at most about ``timeout`` seconds.

        With no partitions it only keeps the membership alive. Raises ``TransientError``;
        nothing has been lost then: the next poll begins where the last good one ended.
        """

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Let the next poll of the partition begin at ``offset``, its position by now."""

    async def commit(self, offsets: Offsets, holds: Holds = NO_HOLDS) -> None:
        """Commit the offsets of the next records to read, and why nobody reads on, if so.

        A hold that is not among ``holds`` is taken back by the commit of its partition.
        Raises ``TransientError`` when refused, ``GoneError`` where the rest may be tried at once.
        """

    async def committed(self, partitions: Partitions) -> Mapping[TopicPartition, int | None]:
        """What the group has committed, whoever did it. Raises ``TransientError``."""

    async def end_offsets(self, partitions: Partitions) -> Offsets:
        """Return the offsets behind the last stable records. Raises ``TransientError``."""

    def highwater(self, partition: TopicPartition) -> int | None:
        """Return the end of an assigned partition as of its last fetch, None before it."""

    def last_stable_offset(self, partition: TopicPartition) -> int | None:
        """Return where its oldest open transaction begins, else its end; None before a fetch."""
        return self.highwater(partition)

    def unreachable(self) -> Mapping[TopicPartition, str]:
        """Return the partitions whose leaders have not answered for some time, and why."""
        return {}

    def missing_topics(self) -> Collection[str]:
        """Return the subscribed topics that are not there, or of which nothing is read yet."""
        return ()

    def listen(self, listener: AssignmentListener) -> None:
        """Name who is told of rebalances; before the first poll."""


class Stage(StrEnum):
    """The steps of the engine that wait for the world, as logs and metrics name them."""

    POLL = "poll"
    DECODE = "decode"
    APPLY = "apply"
    DEAD_LETTERS = "dead_letters"
    COMMIT = "commit"


@dataclass(slots=True)
class PartitionReport:
    """What became of one partition's records in one batch."""

    first: int
    end: int
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    reasons: Counter[Reason] = field(default_factory=Counter)
    late: int = 0
    marks: Counter[Mark] = field(default_factory=Counter)
    latencies: Sequence[float] = ()
    """Of a sample of its applied records: seconds from their timestamps until they were."""


@dataclass(slots=True)
class BatchReport:
    """What became of one batch. Durations in seconds. ``value_bytes``: all its records' values."""

    partitions: dict[TopicPartition, PartitionReport] = field(default_factory=dict)
    held: dict[TopicPartition, Hold] = field(default_factory=dict)
    seconds: dict[Stage, float] = field(default_factory=dict)
    value_bytes: int = 0


class Observer(Protocol):
    """Told what happens; decides nothing. Logs, metrics and health hang on it."""

    def consumed(self, partition: TopicPartition, records: int) -> None:
        """So many records were taken into a batch; each is settled or abandoned later."""

    def batch_started(self, records: Records) -> None:
        """A batch begins. What is told of it until it ends is told in one context (contextvars)."""

    def batch_ended(self, error: BaseException | None) -> None:
        """The batch of this context has ended; ``error`` is what it raised, if it did."""

    def settled(self, report: BatchReport) -> None:
        """The records of these partitions have ended, each in one counted outcome."""

    def rejected(self, record: Record, rejected: Rejected) -> None:
        """A record is about to be dead-lettered, or would be if its partition were not held."""

    def abandoned(self, partition: TopicPartition, records: int) -> None:
        """A batch of an older assignment was dropped; whoever owns its records reads them.

        Those of a partition that is held are told by ``held``.
        """

    def retrying(
        self,
        stage: Stage,
        error: TransientError,
        attempt: int,
        delay: float,
        partitions: Partitions = (),
    ) -> None:
        """Trouble that passes: the same step is done again after ``delay`` seconds.

        ``partitions``: whose it is, since other batches may be in the same stage.
        """

    def recovered(self, stage: Stage, attempts: int, partitions: Partitions = ()) -> None:
        """The step of these ``partitions`` succeeded after so many failures."""

    def assigned(self, partitions: Partitions, epoch: int) -> None:
        """A rebalance gave us these partitions."""

    def revoked(self, *, drained: bool, lost: bool) -> None:
        """A rebalance took every partition; ``drained``: nothing was left in flight."""

    def committed(self, offsets: Offsets, seconds: float) -> None:
        """The brokers have acknowledged these offsets."""

    def gap(self, gap: OffsetRange) -> None:
        """Records were deleted before this group had read them."""

    def reset(self, reset: LogReset) -> None:
        """A partition's log began anew."""

    def unreadable(self, partition: TopicPartition, error: TransientError, attempt: int) -> None:
        """One partition cannot be read; the others go on."""

    def readable(self, partition: TopicPartition) -> None:
        """The partition can be read again."""

    def held(self, partition: TopicPartition, hold: Hold, records: int) -> None:
        """The dead-letter breaker holds the partition until an operator lets it go on.

        ``records``: as many of the batch as are not settled, and will be consumed again.
        """

    def resumed(self, partitions: Partitions) -> None:
        """An operator let held partitions go on."""

    def lag(self, partition: TopicPartition, records: int, seconds: float) -> None:
        """How many records of the partition are not settled, and for how long the oldest waits."""

    def unreachable(self, partitions: Mapping[TopicPartition, str]) -> None:
        """The leaders of these partitions, told again and again, do not answer; none: all do."""

    def missing_topics(self, topics: Collection[str]) -> None:
        """Say, again and again, which topics are not there or not read by this group; none: all."""

    def behind_transaction(self, partition: TopicPartition, records: int) -> None:
        """How many offsets cannot be read because a transaction before them is open."""

    def transaction_hangs(self, partition: TopicPartition, offset: int, seconds: float) -> None:
        """The transaction that begins at ``offset`` has been open for so long; told once."""

    def retention_margin(
        self, partition: TopicPartition, seconds: float | None, kept: float
    ) -> None:
        """The oldest unread record is deleted in ``seconds``; records are kept for ``kept``.

        None: nothing is unread any more.
        """

    def stalled(self, seconds: float) -> None:
        """There is work and none of it has moved for so long."""

    def progressing(self) -> None:
        """Work moves, or there is none."""

    def loop_lag(self, seconds: float) -> None:
        """How late the event loop wakes a task that is due."""

    def in_flight(self, batches: int) -> None:
        """How many batches are being applied."""
