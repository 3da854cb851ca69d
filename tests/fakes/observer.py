"""An observer that keeps what it is told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping

from consumer.contract.record import OffsetRange, Record, Records, TopicPartition
from consumer.contract.rejection import Rejected
from consumer.errors import TransientError
from consumer.ports import BatchReport, Hold, LogReset, Stage
from consumer.state.outcomes import Outcome


class RecordingObserver:
    """Implements ``Observer``."""

    def __init__(self) -> None:
        self.started = 0
        self.ended: list[BaseException | None] = []
        self.reports: list[BatchReport] = []
        self.rejections: list[tuple[Record, Rejected]] = []
        self.consumed_records: Counter[TopicPartition] = Counter()
        self.abandoned_records: Counter[TopicPartition] = Counter()
        self.retries: list[tuple[Stage, TransientError, int, float]] = []
        self.recoveries: list[tuple[Stage, int]] = []
        self.assignments: list[tuple[frozenset[TopicPartition], int]] = []
        self.revocations: list[tuple[bool, bool]] = []
        """Pairs of drained and lost."""
        self.commits: list[dict[TopicPartition, int]] = []
        self.gaps: list[OffsetRange] = []
        self.resets: list[LogReset] = []
        self.unreadables: list[tuple[TopicPartition, TransientError, int]] = []
        self.readables: list[TopicPartition] = []
        self.holds: list[tuple[TopicPartition, Hold]] = []
        self.held_records: Counter[TopicPartition] = Counter()
        self.resumptions: list[frozenset[TopicPartition]] = []
        self.lags: dict[TopicPartition, int] = {}
        self.lag_seconds: dict[TopicPartition, float] = {}
        self.unreachables: list[dict[TopicPartition, str]] = []
        self.missing: tuple[str, ...] = ()
        """The topics that were said to be missing last."""
        self.behind_transactions: dict[TopicPartition, int] = {}
        self.hanging_transactions: list[tuple[TopicPartition, int]] = []
        """Pairs of partition and first offset."""
        self.stalls: list[float] = []
        self.progresses = 0
        self.margins: list[tuple[TopicPartition, float | None]] = []
        self.loop_lags: list[float] = []
        self.batches_in_flight: list[int] = []

    @property
    def outcomes(self) -> Counter[Outcome]:
        """All outcomes together."""
        return sum(self.outcomes_by_partition().values(), Counter())

    def outcomes_by_partition(self) -> dict[TopicPartition, Counter[Outcome]]:
        """The outcomes that were reported, by partition."""
        counted: dict[TopicPartition, Counter[Outcome]] = {}
        for report in self.reports:
            for partition, part in report.partitions.items():
                counted.setdefault(partition, Counter()).update(part.outcomes)
        return counted

    def consumed(self, partition: TopicPartition, records: int) -> None:
        self.consumed_records[partition] += records

    def batch_started(self, records: Records) -> None:
        self.started += 1

    def batch_ended(self, error: BaseException | None) -> None:
        self.ended.append(error)

    def settled(self, report: BatchReport) -> None:
        self.reports.append(report)

    def rejected(self, record: Record, rejected: Rejected) -> None:
        self.rejections.append((record, rejected))

    def abandoned(self, partition: TopicPartition, records: int) -> None:
        self.abandoned_records[partition] += records

    def retrying(
        self,
        stage: Stage,
        error: TransientError,
        attempt: int,
        delay: float,
        partitions: Collection[TopicPartition] = (),
    ) -> None:
        self.retries.append((stage, error, attempt, delay))

    def recovered(
        self, stage: Stage, attempts: int, partitions: Collection[TopicPartition] = ()
    ) -> None:
        self.recoveries.append((stage, attempts))

    def assigned(self, partitions: Collection[TopicPartition], epoch: int) -> None:
        self.assignments.append((frozenset(partitions), epoch))

    def revoked(self, *, drained: bool, lost: bool) -> None:
        self.revocations.append((drained, lost))

    def committed(self, offsets: Mapping[TopicPartition, int], seconds: float) -> None:
        self.commits.append(dict(offsets))

    def gap(self, gap: OffsetRange) -> None:
        self.gaps.append(gap)

    def reset(self, reset: LogReset) -> None:
        self.resets.append(reset)

    def unreadable(self, partition: TopicPartition, error: TransientError, attempt: int) -> None:
        self.unreadables.append((partition, error, attempt))

    def readable(self, partition: TopicPartition) -> None:
        self.readables.append(partition)

    def held(self, partition: TopicPartition, hold: Hold, records: int) -> None:
        self.holds.append((partition, hold))
        self.held_records[partition] += records

    def resumed(self, partitions: Collection[TopicPartition]) -> None:
        self.resumptions.append(frozenset(partitions))

    def lag(self, partition: TopicPartition, records: int, seconds: float) -> None:
        self.lags[partition] = records
        self.lag_seconds[partition] = seconds

    def stalled(self, seconds: float) -> None:
        self.stalls.append(seconds)

    def unreachable(self, partitions: Mapping[TopicPartition, str]) -> None:
        self.unreachables.append(dict(partitions))

    def missing_topics(self, topics: Collection[str]) -> None:
        self.missing = tuple(topics)

    def behind_transaction(self, partition: TopicPartition, records: int) -> None:
        self.behind_transactions[partition] = records

    def transaction_hangs(self, partition: TopicPartition, offset: int, seconds: float) -> None:
        self.hanging_transactions.append((partition, offset))

    def retention_margin(
        self, partition: TopicPartition, seconds: float | None, kept: float
    ) -> None:
        self.margins.append((partition, seconds))

    def progressing(self) -> None:
        self.progresses += 1

    def loop_lag(self, seconds: float) -> None:
        self.loop_lags.append(seconds)

    def in_flight(self, batches: int) -> None:
        self.batches_in_flight.append(batches)
