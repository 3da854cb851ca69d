"""An instance in trouble, as the status page sees it, at a moment that does not pass."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime

from consumer.contract.record import TopicPartition
from consumer.contract.rejection import Reason
from consumer.observability.health import STARTING, Health
from consumer.observability.incidents import RecentIncidents
from consumer.observability.instance_status import InstanceStatus, StatusReader
from consumer.observability.metrics import Metrics
from consumer.settings.model import Settings
from consumer.state.outcomes import Outcome

EVENTS = [TopicPartition("conversation.events", number) for number in range(3)]
SESSIONS = [TopicPartition("conversation.sessions", number) for number in range(3)]
ALL = [*EVENTS, *SESSIONS]
START = datetime(2026, 3, 4, 9, 48, 30, tzinfo=UTC).timestamp()


@dataclass
class Instance:
    """What a status is read from. ``now`` and the monotonic clock stand still."""

    settings: Settings = field(default_factory=Settings)
    now: float = START
    metrics: Metrics = field(default_factory=Metrics)
    incidents: RecentIncidents = field(default_factory=RecentIncidents)

    def __post_init__(self) -> None:
        self.health = Health(lambda: self.now, lambda: self.now)
        self.reader = StatusReader(
            self.settings, self.health, self.metrics, self.incidents,
            lambda: self.now, lambda: self.now,
        )  # fmt: skip

    def status(self) -> InstanceStatus:
        return self.reader.read()

    def read_all(self) -> None:
        """Be assigned everything, and work."""
        self.health.ready(STARTING)
        self.health.beat()
        self.metrics.assigned(ALL)
        self.metrics.kafka_up.set(1)
        self.metrics.mongodb_up.set(1)
        for number, partition in enumerate(ALL):
            self.metrics.lags(partition, 4021 * number, 3.5 * number)
            margin = 604_800 - 3.5 * number if number else None
            self.metrics.retention_margin(partition, margin, 604_800)

    def settle(self, seconds: int, partitions: Collection[TopicPartition] = ALL) -> None:
        """Let so much time pass, in which records of these are settled."""
        for _ in range(seconds):
            self.now += 1
            self.health.beat()
            for partition in partitions:
                number = ALL.index(partition)
                self.metrics.records.labels(*partition, Outcome.APPLIED).inc(1207 + 211 * number)
                self.metrics.records.labels(*partition, Outcome.DUPLICATE).inc(3)
            self.reader.sample()

    def log(self, level: str, event: str, **facts: object) -> None:
        at = datetime.fromtimestamp(self.now, UTC).isoformat()
        self.incidents.add({"timestamp": at, "level": level, "event": event, **facts})


def instance_in_trouble() -> Instance:
    """Return one that holds a partition, has lost records and waits for its database."""
    instance = Instance()
    instance.log(
        "warning", "precondition", subject="topic conversation.events",
        message="message.timestamp.type is CreateTime; fix: set it to LogAppendTime",
    )  # fmt: skip
    instance.read_all()
    instance.settle(400)
    lost, held = SESSIONS[2], EVENTS[1]
    instance.metrics.lost.labels(*lost).inc(120)
    instance.log("error", "records_deleted_unread", partition=lost.name, first=1200, end=1320)
    instance.settle(60)
    for reason, count in ((Reason.INVALID, 412), (Reason.UNDECODABLE, 3)):
        instance.metrics.dead_letters.labels(reason).inc(count)
        instance.metrics.records.labels(*held, Outcome.DEAD_LETTERED).inc(count)
    instance.log(
        "warning", "record_rejected", partition=held.name, offset=48_120, reason=Reason.INVALID,
        detail="sender: must be user, agent or system", repeated=409,
    )  # fmt: skip
    instance.metrics.held(held, instance.now)
    reasons = {Reason.INVALID: 410, Reason.UNDECODABLE: 2}
    instance.log(
        "error", "partition_held", partition=held.name, offset=48_120, share=0.62, reasons=reasons
    )
    instance.health.not_ready(
        f"held:{held.name}",
        "at offset 48120: 62% of its latest records would be dead-lettered "
        "(invalid 410, undecodable 2)",
    )
    instance.settle(190, [partition for partition in ALL if partition != held])
    instance.metrics.mongodb_up.set(0)
    for attempt in range(1, 8):
        said = f"MongoDB: NetworkTimeout: db:27017: timed out, attempt {attempt}"
        instance.health.not_ready("apply", said)
        instance.log(
            "warning",
            "retrying",
            stage="apply",
            cause="NetworkTimeout",
            detail="db:27017: timed out",
            attempt=attempt,
            delay=0.9,
        )
        instance.settle(1, [])
    return instance
