"""What ``/status.json`` says of this instance, and the status page shows."""

from __future__ import annotations

import os
import platform
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from prometheus_client.metrics import MetricWrapperBase

from consumer import __version__
from consumer.contract.record import TopicPartition
from consumer.contract.times import format_time
from consumer.observability.health import Health, Obstacle
from consumer.observability.incidents import Incident, RecentIncidents
from consumer.observability.metrics import Metrics
from consumer.observability.redaction import HIDDEN
from consumer.ports import Stage
from consumer.printable import printable_line
from consumer.settings.model import Settings
from consumer.settings.sources import CATALOGUE
from consumer.settings.values import LogLevel, shown

NUMBERS_OLD = 10.0
"""Seconds without a beat of the event loop after which its numbers are told to be old."""

SAMPLE_INTERVAL = 2.0
"""Seconds between two samples, and the shortest time over which a rate is measured."""

SAMPLES = 6
"""Samples that are kept: a rate is of the last ten seconds or so."""


class InstanceState(StrEnum):
    """What the instance is, by what ``/livez`` and ``/readyz`` answer."""

    READY = "ready"
    NOT_READY = "not ready"
    RESTART_HELPS = "not alive"


class ReadingState(StrEnum):
    """What the instance does with a partition that it is assigned."""

    READING = "reading"
    WAITING = "waiting"
    """Its records cannot be stored, or their dead letters not be sent, for now."""
    HELD = "held"
    UNREADABLE = "cannot be read"


@dataclass(frozen=True, slots=True)
class AssignedPartition:
    """One partition, in the words of ``consumer status``. None: not known, or none unread."""

    topic: str
    partition: int
    state: ReadingState
    lag: int | None
    behind: float | None
    rate: float | None
    retention_margin: float | None
    lost: int


@dataclass(frozen=True, slots=True)
class WaitingFor:
    """A reason of ``/readyz``, and since when it has been there. ``seconds``: how long that is."""

    name: str
    detail: str
    since: str
    seconds: float
    restart_helps: bool


@dataclass(frozen=True, slots=True)
class RecordCount:
    """How many records ended so: ``name`` is an outcome, or a dead letter's reason."""

    name: str
    records: int


@dataclass(frozen=True, slots=True)
class EffectiveSetting:
    """A setting as it is in force; a secret's value is hidden."""

    name: str
    value: str
    changed: bool
    """Whether it is other than the default."""


@dataclass(frozen=True, slots=True)
class InstanceStatus:
    """Everything. Durations in seconds, times RFC 3339, counts since the instance started.

    ``numbers_old``: how long the event loop has been stuck; all numbers are of before. ``lag``,
    ``rate`` and ``behind`` (the longest of any partition): None where they are not known of each.
    """

    title: str
    group: str
    host: str
    process: int
    version: str
    time: str
    started: str
    running: float
    state: InstanceState
    numbers_old: float | None
    waiting_for: Sequence[WaitingFor]
    kafka_up: bool
    mongodb_up: bool
    lag: int | None
    behind: float | None
    rate: float | None
    seconds_left: float | None
    records: int
    dead_letters: int
    partitions: Sequence[AssignedPartition]
    outcomes: Sequence[RecordCount]
    dead_letters_by_reason: Sequence[RecordCount]
    incidents_from: str
    """The least severe level of which incidents are kept."""
    incidents: Sequence[Incident]
    settings: Sequence[EffectiveSetting]


class StatusReader:
    """Reads the status from metrics, health and incidents. Safe from any thread."""

    def __init__(
        self,
        settings: Settings,
        health: Health,
        metrics: Metrics,
        incidents: RecentIncidents,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``now`` returns Unix time, ``clock`` is monotonic, in seconds."""
        self._health, self._metrics, self._incidents = health, metrics, incidents
        self._now, self._clock = now, clock
        self._started = now()
        self._group = settings.kafka.group_id
        # Errors alone where the log has no warnings.
        only_errors = settings.log.level is LogLevel.ERROR
        self._incidents_from = LogLevel.ERROR if only_errors else LogLevel.WARNING
        self._settings = list(effective_settings(settings))
        self._guard = threading.Lock()
        self._settled: deque[tuple[float, Mapping[TopicPartition, float]]] = deque(maxlen=SAMPLES)

    def sample(self) -> None:
        """Take a sample of what is settled in all, where one is due; to be called often."""
        with self._guard:
            now = self._clock()
            if not self._settled or now - self._settled[-1][0] >= SAMPLE_INTERVAL:
                self._settled.append((now, _by_partition(self._metrics.records)))

    def _rates(self) -> Mapping[TopicPartition, float] | None:
        """Return records per second of each partition; None where it is too early to say."""
        with self._guard:
            if len(self._settled) < 2:  # noqa: PLR2004 -- the two ends of a time
                return None
            (since, before), (until, after) = self._settled[0], self._settled[-1]
        return {
            partition: (count - before.get(partition, 0.0)) / (until - since)
            for partition, count in after.items()
        }

    def read(self) -> InstanceStatus:
        """Return the status of this moment."""
        now, metrics = self._now(), self._metrics
        obstacles, silence = self._health.obstacles(), self._health.silence()
        storing = {one.name for one in obstacles}.isdisjoint({Stage.APPLY, Stage.DEAD_LETTERS})
        partitions = self._partitions(storing=storing)
        lag = _sum(part.lag for part in partitions) if partitions else None
        behind = [part.behind for part in partitions if part.behind is not None]
        rate = _sum(part.rate for part in partitions) if partitions else None
        state = _state(obstacles)
        outcomes = _by_label(metrics.records, "outcome")
        reasons = _by_label(metrics.dead_letters, "reason")
        return InstanceStatus(
            title=f"{state}: {self._group}",
            group=self._group,
            host=platform.node(),
            process=os.getpid(),
            version=__version__,
            time=_time(now),
            started=_time(self._started),
            running=now - self._started,
            state=state,
            numbers_old=silence if silence >= NUMBERS_OLD else None,
            waiting_for=[
                WaitingFor(o.name, o.detail, _time(o.since), max(now - o.since, 0), o.restart_helps)
                for o in obstacles
            ],
            kafka_up=_value(metrics.kafka_up) == 1,
            mongodb_up=_value(metrics.mongodb_up) == 1,
            lag=lag,
            behind=max(behind, default=None),
            rate=rate,
            seconds_left=lag / rate if lag and rate else None,
            records=sum(outcomes.values()),
            dead_letters=sum(reasons.values()),
            partitions=partitions,
            outcomes=[RecordCount(name, count) for name, count in outcomes.items()],
            dead_letters_by_reason=[RecordCount(n, count) for n, count in reasons.items() if count],
            incidents_from=self._incidents_from,
            incidents=self._incidents.latest(),
            settings=self._settings,
        )

    def _partitions(self, *, storing: bool) -> list[AssignedPartition]:
        metrics = self._metrics
        held, unreadable = map(
            _by_partition, (metrics.partition_held, metrics.partition_unreadable)
        )
        lags, behind = _by_partition(metrics.lag), _by_partition(metrics.lag_seconds)
        margins, lost = _by_partition(metrics.margin), _by_partition(metrics.lost)
        rates, in_flight = self._rates(), _by_partition(metrics.records_in_flight)

        def state(partition: TopicPartition) -> ReadingState:
            if held[partition]:
                return ReadingState.HELD
            if unreadable.get(partition):
                return ReadingState.UNREADABLE
            if not storing and (lags.get(partition) or in_flight.get(partition)):
                return ReadingState.WAITING
            return ReadingState.READING

        def read(partition: TopicPartition) -> AssignedPartition:
            lag = lags.get(partition)
            return AssignedPartition(
                *partition,
                state=state(partition),
                lag=None if lag is None else int(lag),
                behind=behind.get(partition) if lag else None,
                rate=None if rates is None else rates.get(partition),
                retention_margin=margins.get(partition),
                lost=int(lost.get(partition, 0)),
            )

        # There from its assignment on, until that ends.
        return [read(partition) for partition in sorted(held)]


# --- from parts to the whole ----------------------------------------------------------


def _state(obstacles: Sequence[Obstacle]) -> InstanceState:
    if any(one.restart_helps for one in obstacles):
        return InstanceState.RESTART_HELPS
    return InstanceState.NOT_READY if obstacles else InstanceState.READY


def _time(seconds: float) -> str:
    return format_time(datetime.fromtimestamp(seconds, UTC))


def _sum(numbers: Iterable[float | None]) -> Any:  # noqa: ANN401 -- of the numbers' type
    """Add up what is known of each; None where anything is not."""
    known = list(numbers)
    return None if None in known else sum(number for number in known if number is not None)


# --- reading metrics ------------------------------------------------------------------


def _samples(metric: MetricWrapperBase) -> Iterable[tuple[dict[str, str], float]]:
    for family in metric.collect():
        for sample in family.samples:
            yield sample.labels, sample.value


def _by_partition(metric: MetricWrapperBase) -> dict[TopicPartition, float]:
    """Add up the samples of each partition."""
    sums: defaultdict[TopicPartition, float] = defaultdict(float)
    for labels, value in _samples(metric):
        sums[TopicPartition(labels["topic"], int(labels["partition"]))] += value
    return dict(sums)


def _by_label(metric: MetricWrapperBase, label: str) -> dict[str, int]:
    sums: Counter[str] = Counter()
    for labels, value in _samples(metric):
        sums[labels[label]] += int(value)
    return dict(sums)


def _value(metric: MetricWrapperBase) -> float:
    return sum(value for _, value in _samples(metric))


# --- settings -------------------------------------------------------------------------


def effective_settings(settings: Settings) -> Iterable[EffectiveSetting]:
    """Return every setting as it is in force. Of a secret only whether there is one."""
    for row in CATALOGUE.values():
        value: object = settings
        for name in row.name.split("."):
            value = getattr(value, name)
        text = shown(value)
        hidden = HIDDEN if row.secret and text else text
        yield EffectiveSetting(row.name, hidden, text != row.default)


# --- as JSON --------------------------------------------------------------------------


def as_document(value: Any) -> Any:  # noqa: ANN401 -- whatever a status is made of
    """Return a status as JSON has it. Text from outside is made safe to print."""
    if is_dataclass(value):
        return {one.name: as_document(getattr(value, one.name)) for one in fields(value)}
    match value:
        case str():
            return printable_line(str(value))
        case list() | tuple():
            return [as_document(inner) for inner in value]
        case _:
            return value
