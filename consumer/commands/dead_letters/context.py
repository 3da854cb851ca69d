"""What every command on dead letters opens: their topic, a reader, and what became of them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from consumer.commands.common.scratch import scratch_database
from consumer.commands.dead_letters.dead_letter_record import AnyDeadLetter, read_dead_letter
from consumer.commands.dead_letters.dead_letter_selection import (
    DeadLetterRequest,
    DeadLetterSelection,
    OffsetSelector,
)
from consumer.commands.dead_letters.dead_letter_status import (
    StatusIndex,
    parse_status,
)
from consumer.contract.record import OffsetRange
from consumer.errors import ExitCode
from consumer.kafka.admin import (
    TopicDescription,
    alter_command,
    create_topic,
    describe_topics,
)
from consumer.kafka.connection import BrokersError, broker_errors
from consumer.kafka.dead_letter_topic import max_dead_letter_bytes
from consumer.kafka.producer import NO_LIMIT, RECORD_OVERHEAD, Producer, open_producer
from consumer.kafka.range_reader import RangeReader, open_range_reader
from consumer.kafka.ranges import EVERYTHING, Bounds, offsets_of
from consumer.kafka.topic_ids import Operation
from consumer.settings.model import DeadLetterSettings, KafkaSettings
from consumer.terminal import print_error, progress

READ_AT_ONCE: Final = 500
CLOCKS_APART: Final = timedelta(hours=1)
"""How far a dead letter's timestamp may lie before the failure it tells of: by another clock."""

STATUS_TOPIC_CONFIGS: Final = {"cleanup.policy": "compact"}
"""One status a dead letter is kept, and for ever."""


def warn(text: str) -> None:
    """Tell people something that is no result."""
    print_error(f"consumer: {text}")


@dataclass(frozen=True, slots=True)
class DeadLetterContext:
    """A topic of dead letters, opened. ``topics``: what exists of all that the settings name."""

    request: DeadLetterRequest
    topics: dict[str, TopicDescription]
    reader: RangeReader
    statuses: StatusIndex

    def exit_code(self, otherwise: ExitCode = ExitCode.DONE) -> ExitCode:
        """Name what could not be read: where there is any, the command ends with ``FOUND``."""
        for part in self.reader.unreadable:
            warn(str(part))
        return ExitCode.FOUND if self.reader.unreadable else otherwise

    def require_all_statuses(self) -> None:
        """Refuse to go on where some of the statuses cannot be read. Raises ``BrokersError``."""
        topic = self.request.status_topic
        missing = [part for part in self.reader.unreadable if part.partition.topic == topic]
        if missing:
            raise BrokersError(
                f"{'; '.join(map(str, missing))}: which dead letters have been dealt with is not "
                "known, and they would be sent once more; --again sends them all the same"
            )

    async def batches(
        self, what: str, *, quiet: bool = False
    ) -> AsyncGenerator[Sequence[AnyDeadLetter], None]:
        """Yield the selected dead letters that are there now, not those that still come.

        Close the generator, so that its progress ends before anything else is written. ``what``
        names it; ``quiet``: without it, as it would get between lines that are being written.
        """
        selection = self.request.selection
        ranges = await dead_letter_ranges(self.reader, self.request.topic, selection)
        with progress(what, offsets_of(ranges), quiet=quiet) as advance:
            async for _, records in self.reader.read(ranges, max_records=READ_AT_ONCE):
                read = map(read_dead_letter, records)
                yield [one for one in read if selection.selects(one)]
                advance(len(records))

    async def create_topic(self, name: str, configs: Mapping[str, str]) -> None:
        """Create a topic with as many partitions as the dead letters', unless it exists.

        Raises ``BrokersError`` with the command for who may.
        """
        if name in self.topics:
            return
        kafka, like = self.request.settings.kafka, self.topics[self.request.topic]
        if await create_topic(kafka, name, like.partitions, configs):
            options = ", ".join(f"{option}={value}" for option, value in configs.items())
            warn(f"created the topic {name} ({like.partitions} partitions, {options})")
        self.topics[name] = replace(like, name=name, configs=configs)

    async def create_parking_topic(self) -> None:
        """Create the topic that dead letters are parked in, unless it exists."""
        settings = self.request.settings.dead_letters
        configs = parking_configs(self.topics[self.request.topic], settings)
        await self.create_topic(settings.parking_topic, configs)

    @asynccontextmanager
    async def open_producer(self, *, dry_run: bool) -> AsyncIterator[Producer | None]:
        """Open what sends, with a status topic; nothing of either in a dry run."""
        if dry_run:
            yield None
            return
        settings, topic = self.request.settings, self.request.status_topic
        await self.create_topic(topic, STATUS_TOPIC_CONFIGS)
        if topic in self.topics and "cleanup.policy" not in self.topics[topic].configs:
            warn(
                f"the brokers do not tell whether {topic} is compacted (no grant for "
                "DESCRIBE_CONFIGS?): one that deletes would forget what was done"
            )
        max_bytes = settings.dead_letters.max_request_bytes or NO_LIMIT
        idempotent = settings.dead_letters.idempotent
        async with open_producer(settings.kafka, max_bytes, warn, idempotent=idempotent) as opened:
            yield opened


def parking_configs(topic: TopicDescription, settings: DeadLetterSettings) -> Mapping[str, str]:
    """Return the settings of a topic that takes every dead letter of ``topic``, and keeps it.

    Parked ones wait for people, however long that takes. Where the brokers do not tell how
    large one may be, it is the most that the consumer sends.
    """
    most = max_dead_letter_bytes(settings, None) + RECORD_OVERHEAD
    return {"retention.ms": "-1", "max.message.bytes": str(topic.max_message_bytes or most)}


@asynccontextmanager
async def open_context(
    request: DeadLetterRequest, targets: Iterable[str] = (), *, writes: bool = False
) -> AsyncIterator[DeadLetterContext]:
    """Open the dead letters and read what became of them.

    ``targets``: the topics that records may be sent to; ``writes``: they will be, and statuses.

    Raises ``BrokersError``, also for what the brokers refuse while the body runs.
    """
    kafka, status_topic = request.settings.kafka, request.status_topic
    with broker_errors(kafka):
        topics = {
            **await describe_topics(kafka, (request.topic, status_topic), Operation.READ),
            **await describe_topics(
                kafka, (status_topic, *targets), Operation.WRITE if writes else None
            ),
        }
        if request.topic not in topics:
            fix = "(dead_letters.topic); fix: consumer init"
            if request.parked:
                fix = "(dead_letters.parking_topic); the first redrive that parks creates it"
            servers = ",".join(kafka.bootstrap_servers)
            raise BrokersError(f"Kafka at {servers} has no topic {request.topic} {fix}")
        with scratch_database() as database:
            statuses = StatusIndex(database)
            async with open_range_reader(kafka) as reader:
                if status_topic in topics:
                    require_compacted(kafka, topics[status_topic])
                    with progress("reading what was done before") as advance:
                        await load_statuses(reader, status_topic, statuses, advance)
                yield DeadLetterContext(request, topics, reader, statuses)


def require_compacted(kafka: KafkaSettings, topic: TopicDescription) -> None:
    """Refuse a status topic that forgets: what it forgot would be sent again.

    A broker that does not tell how it cleans up is believed. Raises ``BrokersError``.
    """
    policy = topic.configs.get("cleanup.policy")
    if policy is not None and policy != "compact":
        raise BrokersError(
            f"topic {topic.name} has cleanup.policy={policy} and would forget what was redriven; "
            f"fix: {alter_command(kafka, topic.name, 'cleanup.policy=compact')}"
        )


async def load_statuses(
    reader: RangeReader, topic: str, statuses: StatusIndex, advance: Callable[[int], None]
) -> None:
    """Read the status topic into the index."""
    ranges = await reader.ranges([topic])
    async for _, records in reader.read(ranges, max_records=READ_AT_ONCE):
        statuses.add(
            (record.key, None if record.value is None else parse_status(record.value))
            for record in records
            if record.key is not None
        )
        advance(len(records))


async def dead_letter_ranges(
    reader: RangeReader, topic: str, selection: DeadLetterSelection
) -> list[OffsetRange]:
    """Return where the selected dead letters lie: at least there, perhaps others among them."""
    bounds = EVERYTHING
    if selection.since is not None:
        earliest = selection.since.timestamp() - CLOCKS_APART.total_seconds()
        bounds = Bounds(from_ms=max(0, int(earliest * 1000)))
    ranges = await reader.ranges([topic], bounds)
    if not selection.offsets:
        return ranges
    spans = (_span(part, selection.offsets) for part in ranges)
    return [part for part in spans if part is not None]


def _span(part: OffsetRange, selected: Sequence[OffsetSelector]) -> OffsetRange | None:
    """Cut the range to what spans the offsets of its partition; None where there are none."""
    here = [offsets for offsets in selected if offsets.partition == part.partition.partition]
    if not here:
        return None
    first = min(offsets.first for offsets in here)
    end = max(part.end if offsets.last is None else offsets.last + 1 for offsets in here)
    return replace(part, first=max(part.first, first), end=min(part.end, end))
