"""What the engine reports, turned into log lines, metrics and health."""

from __future__ import annotations

import math
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping

from structlog.typing import FilteringBoundLogger

from consumer.contract.record import OffsetRange, Record, Records, TopicPartition
from consumer.contract.rejection import Reason, Rejected
from consumer.contract.times import format_time
from consumer.errors import TransientError
from consumer.observability.health import STARTING, Health
from consumer.observability.logs import Repeats, get_logger
from consumer.observability.metrics import Metrics
from consumer.ports import BatchReport, Hold, LogReset, Stage
from consumer.settings.model import KafkaSettings
from consumer.state.outcomes import MARK_NAMES, Mark, Outcome

REJECTED_INTERVAL = 1.0
"""Seconds in which the rejections of a partition for one reason are one line: the dead-letter
topic has them all, and a flood of them must not become a flood of lines."""

SETTLED_INTERVAL = 1.0
"""Seconds that one line of what was settled stands for: batches may be of one record."""

ACTIVITY_INTERVAL = 10.0
"""Seconds in which refused activity writes of one cause are one line."""

SHORT_MARGIN = 0.1
"""The share of the topic's retention below which unread records are in danger."""

ASSIGNMENT = "assignment"
STALLED = "stalled"
HELD = "held:"
UNREADABLE = "unreadable:"
UNREACHABLE = "unreachable"
MISSING = "topics_missing"


class EngineObserver:
    """Implements ``consumer.ports.Observer``. Decides nothing, and never raises."""

    def __init__(
        self,
        metrics: Metrics,
        health: Health,
        kafka: KafkaSettings,
        *,
        log: FilteringBoundLogger | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``kafka`` names the brokers; ``clock`` is monotonic, in seconds."""
        self._kafka = f"Kafka at {', '.join(kafka.bootstrap_servers)}"
        self._metrics = metrics
        metrics.ready.set_function(lambda: not health.unready_reasons())
        self._health = health
        self._log = get_logger() if log is None else log
        self._clock = clock
        self._rejections: Repeats[tuple[TopicPartition, Reason], None] = Repeats(REJECTED_INTERVAL)
        self._activities: Repeats[str, None] = Repeats(ACTIVITY_INTERVAL)
        self._told: dict[str, frozenset[object]] = {}
        self._failing: defaultdict[Stage, dict[frozenset[TopicPartition], str]] = defaultdict(dict)
        self._totals = Counter[str]()
        self._totals_logged_at = -math.inf
        self._stalled = False
        self._mongodb_answers = False

    # --- records --------------------------------------------------------------

    def consumed(self, partition: TopicPartition, records: int) -> None:
        self._metrics.consumed(partition, records)

    def batch_started(self, records: Records) -> None:
        """See ``Observer``: the batch itself matters to traces only, see ``TracingObserver``."""

    def batch_ended(self, error: BaseException | None) -> None:
        """See ``Observer``: likewise."""

    def settled(self, report: BatchReport) -> None:
        """See ``Observer``: counts, a line of the batch from DEBUG on, and one of the sums."""
        self._metrics.settled(report)
        outcomes, late, marks = Counter[Outcome](), 0, Counter[Mark]()
        for part in report.partitions.values():
            outcomes.update(part.outcomes)
            late += part.late
            marks.update(part.marks)
        if outcomes[Outcome.APPLIED]:
            self.mongodb_answers(True)  # noqa: FBT003 -- a write was acknowledged just now
        if not report.partitions:
            return
        counts = {
            "records": outcomes.total(),
            **{outcome.value: count for outcome, count in outcomes.items() if count},
            **({"late": late} if late else {}),
            **{name: marks[mark] for mark, name in MARK_NAMES.items() if marks[mark]},
        }
        self._log.debug(
            "batch_settled",
            **counts,
            seconds={stage.value: round(s, 4) for stage, s in report.seconds.items()},
            offsets={p.name: [part.first, part.end] for p, part in report.partitions.items()},
        )
        self._totals.update({"batches": 1, **counts})
        self.log_totals()

    def log_totals(self, *, final: bool = False) -> None:
        """Log what was settled, at most once a second unless it is the ``final`` word."""
        waits = self._clock() - self._totals_logged_at < SETTLED_INTERVAL
        if not self._totals or (waits and not final):
            return
        self._log.info("settled", **self._totals)
        self._totals.clear()
        self._totals_logged_at = self._clock()

    def rejected(self, record: Record, rejected: Rejected) -> None:
        partition = record.topic_partition
        held_back = self._rejections.admit((partition, rejected.reason), None, self._clock())
        if held_back is not None:
            self._log.warning(
                "record_rejected",
                partition=partition.name,
                offset=record.offset,
                reason=rejected.reason,
                detail=rejected.detail,
                **_repeated(held_back),
            )

    def abandoned(self, partition: TopicPartition, records: int) -> None:
        self._metrics.not_settled(partition, records)
        self._log.warning("batch_abandoned", partition=partition.name, records=records)

    def activity_refused(self, cause: str) -> None:
        """Count that a session could not be marked active; its events are stored all the same.

        The store calls this: such a write belongs to no record, so no report of a batch has it.
        """
        self._metrics.activities_refused.inc()
        held_back = self._activities.admit(cause, None, self._clock())
        if held_back is not None:
            self._log.error("activity_refused", cause=cause, **_repeated(held_back))

    # --- errors that pass ----------------------------------------------------

    def retrying(
        self,
        stage: Stage,
        error: TransientError,
        attempt: int,
        delay: float,
        partitions: Collection[TopicPartition] = (),
    ) -> None:
        self._metrics.retries.labels(stage, error.cause).inc()
        if stage is Stage.COMMIT:
            self._metrics.commits.labels("failed").inc()
        # MongoDB's driver names its servers itself; aiokafka's errors name none.
        server = "MongoDB" if stage is Stage.APPLY else self._kafka
        self._failing[stage][frozenset(partitions)] = f"{server}: {error}, attempt {attempt}"
        self._update_health(stage)
        said = {"cause": error.cause} | ({"detail": error.detail} if error.detail else {})
        self._log.warning("retrying", stage=stage, **said, attempt=attempt, delay=round(delay, 3))

    def recovered(
        self, stage: Stage, attempts: int, partitions: Collection[TopicPartition] = ()
    ) -> None:
        self._failing[stage].pop(frozenset(partitions), None)
        self._update_health(stage)
        self._log.info("recovered", stage=stage, attempts=attempts)

    def _update_health(self, stage: Stage) -> None:
        """Keep a stage among the reasons for as long as any batch fails in it."""
        failing = self._failing[stage]
        self._metrics.failing.labels(stage).set(bool(failing))
        self._update_mongodb_up()
        if not failing:
            self._health.ready(stage)
            return
        others = f" (and {len(failing) - 1} more)" if len(failing) > 1 else ""
        self._health.not_ready(stage, next(iter(failing.values())) + others)

    def committed(self, offsets: Mapping[TopicPartition, int], seconds: float) -> None:
        self._metrics.commits.labels("ok").inc()
        self._metrics.stage_seconds.labels(Stage.COMMIT).observe(seconds)
        self._failing[Stage.COMMIT].clear()
        self._update_health(Stage.COMMIT)
        self._log.debug(
            "committed",
            offsets={partition.name: offset for partition, offset in offsets.items()},
            seconds=round(seconds, 4),
        )

    # --- the group ------------------------------------------------------------

    def assigned(self, partitions: Collection[TopicPartition], epoch: int) -> None:
        self._forget_partitions()
        self._metrics.assigned(partitions)
        # Batches of the assignment before ended without reporting that they recovered.
        self._failing.clear()
        for name in (STARTING, ASSIGNMENT):
            self._health.ready(name)
        for stage in Stage:
            self._update_health(stage)
        self._log.info(
            "partitions_assigned",
            partitions=sorted(partition.name for partition in partitions),
            epoch=epoch,
        )

    def starting(self, waits: str) -> None:
        """Take what the start waits for, until there is an assignment."""
        self._health.not_ready(STARTING, waits)

    def revoked(self, *, drained: bool, lost: bool) -> None:
        self._forget_partitions()
        self._metrics.revoked(lost=lost)
        self.log_totals(final=True)
        self._health.not_ready(ASSIGNMENT, "the group rebalances")
        self._log.info("partitions_revoked", drained=drained, lost=lost)

    def _forget_partitions(self) -> None:
        self._health.ready_where(HELD)
        self._health.ready_where(UNREADABLE)

    # --- incidents ------------------------------------------------------------

    def gap(self, gap: OffsetRange) -> None:
        self._metrics.lost.labels(*gap.partition).inc(gap.offsets)
        self._log.error(
            "records_deleted_unread",
            partition=gap.partition.name,
            first=gap.first,
            end=gap.end,
            records=gap.offsets,
            # There may have been markers and aborted records among the offsets.
            at_most=True,
        )

    def reset(self, reset: LogReset) -> None:
        self._metrics.resets.labels(*reset.partition).inc()
        if reset.unread:
            self._metrics.lost.labels(*reset.partition).inc(reset.unread)
        self._log.error(
            "log_began_anew",
            partition=reset.partition.name,
            expected=reset.expected,
            found=reset.found,
            unread_at_most=reset.unread,
        )

    def unreadable(self, partition: TopicPartition, error: TransientError, attempt: int) -> None:
        name = partition.name
        self._metrics.partition_unreadable.labels(*partition).set(1)
        self._metrics.retries.labels(Stage.POLL, error.cause).inc()
        self._health.not_ready(UNREADABLE + name, f"{error.cause}, attempt {attempt}")
        self._log.error(
            "partition_unreadable",
            partition=name,
            cause=error.cause,
            detail=error.detail,
            attempt=attempt,
        )

    def readable(self, partition: TopicPartition) -> None:
        self._metrics.partition_unreadable.labels(*partition).set(0)
        self._health.ready(UNREADABLE + partition.name)
        self._log.info("partition_readable", partition=partition.name)

    def held(self, partition: TopicPartition, hold: Hold, records: int) -> None:
        name, since = partition.name, hold.since
        self._metrics.not_settled(partition, records)
        self._metrics.held(partition, since.timestamp())
        reasons = ", ".join(f"{reason} {count}" for reason, count in hold.reasons.items())
        self._health.not_ready(
            HELD + name,
            f"since {format_time(since)} at offset {hold.offset}: {hold.share:.0%} of its latest "
            f"records would be dead-lettered ({reasons})",
        )
        self._log.error(
            "partition_held",
            partition=name,
            offset=hold.offset,
            share=round(hold.share, 3),
            reasons=dict(hold.reasons),
        )

    def resumed(self, partitions: Collection[TopicPartition]) -> None:
        self._metrics.resumed(partitions)
        for partition in partitions:
            self._health.ready(HELD + partition.name)
        self._log.warning(
            "partitions_resumed", partitions=sorted(partition.name for partition in partitions)
        )

    # --- watching -------------------------------------------------------------

    def mongodb_answers(self, answers: bool) -> None:  # noqa: FBT001 -- it is all there is to say
        """Take whether MongoDB has just answered; the applications tell whether it takes writes."""
        self._mongodb_answers = answers
        self._update_mongodb_up()

    def _update_mongodb_up(self) -> None:
        self._metrics.mongodb_up.set(self._mongodb_answers and not self._failing[Stage.APPLY])

    def kafka_answers(self, answers: bool) -> None:  # noqa: FBT001 -- likewise
        """Take whether the brokers have just said where the partitions end."""
        self._metrics.kafka_up.set(answers)

    def lag(self, partition: TopicPartition, records: int, seconds: float) -> None:
        self._metrics.lags(partition, records, seconds)

    def unreachable(self, partitions: Mapping[TopicPartition, str]) -> None:
        """See ``Observer``: a line for each change."""
        causes = sorted(set(partitions.values()))
        for cause in causes:
            # The client goes on trying, and says nothing of it.
            self._metrics.retries.labels(Stage.POLL, cause).inc()
        said = f"{self._kafka}: {len(partitions)} partitions: {', '.join(causes)}"
        if self._has_changed(UNREACHABLE, partitions, said):
            if partitions:
                named = {partition.name: cause for partition, cause in partitions.items()}
                self._log.error("leaders_unreachable", partitions=named)
            else:
                self._log.info("leaders_reachable")

    def missing_topics(self, topics: Collection[str]) -> None:
        """See ``Observer``: a line for each change."""
        self._metrics.topics_missing.set(len(topics))
        if self._has_changed(MISSING, topics, ", ".join(topics)):
            if topics:
                self._log.error("topics_missing", topics=list(topics))
            else:
                self._log.info("topics_there")

    def _has_changed(self, reason: str, what: Collection[object], detail: str) -> bool:
        """Give the reason for as long as there is anything; tell whether it was not so before."""
        if what:
            self._health.not_ready(reason, detail)
        else:
            self._health.ready(reason)
        before, self._told[reason] = self._told.get(reason, frozenset()), frozenset(what)
        return before != self._told[reason]

    def behind_transaction(self, partition: TopicPartition, records: int) -> None:
        self._metrics.behind_transaction.labels(*partition).set(records)

    def transaction_hangs(self, partition: TopicPartition, offset: int, seconds: float) -> None:
        """See ``Observer``. No restart and no other instance would help, so health says nothing."""
        self._log.error(
            "transaction_hangs",
            partition=partition.name,
            offset=offset,
            seconds=round(seconds, 1),
        )

    def retention_margin(
        self, partition: TopicPartition, seconds: float | None, kept: float
    ) -> None:
        """See ``Observer``. Below a tenth of the time that records are kept it is a warning."""
        self._metrics.retention_margin(partition, seconds, kept)
        if seconds is not None and seconds < kept * SHORT_MARGIN:
            self._log.warning(
                "unread_records_expire_soon",
                partition=partition.name,
                seconds=round(seconds),
            )

    def stalled(self, seconds: float) -> None:
        """See ``Observer``. Where its cause is known a restart would not help, and only harm."""
        self._health.ready(STALLED)
        causes = sorted(self._health.unready_reasons())
        if not self._stalled:
            self._log.error("stalled", seconds=round(seconds, 1), causes=causes)
        self._stalled = True
        if not causes:
            said = f"lag and no progress for {seconds:.0f} s"
            self._health.not_ready(STALLED, said, restart_helps=True)

    def progressing(self) -> None:
        self._stalled = False
        self._health.ready(STALLED)
        self._log.info("progressing")

    def loop_lag(self, seconds: float) -> None:
        """See ``Observer``. That it is called at all shows that the event loop turns."""
        self._metrics.loop_lag.set(seconds)
        self.log_totals()
        self._health.beat()

    def in_flight(self, batches: int) -> None:
        self._metrics.in_flight.set(batches)


def _repeated(held_back: int) -> dict[str, int]:
    return {"repeated": held_back} if held_back else {}
