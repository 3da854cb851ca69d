"""What a replay needs before its first record: open, checked, and selected."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from consumer.commands.common.record_list import ListedRecords, open_record_list
from consumer.commands.common.scratch import scratch_database
from consumer.commands.common.selected_ranges import SelectedRanges, select_ranges
from consumer.commands.replay.request import ReplayRequest, selection_facts
from consumer.commands.replay.state_file import Progress, StateFile
from consumer.contract.dead_letter import DeadLetter
from consumer.contract.record import TopicPartition
from consumer.errors import PreconditionError
from consumer.kafka.admin import TopicDescription, open_admin
from consumer.kafka.range_reader import RangeReader, open_range_reader
from consumer.kafka.ranges import OffsetRange
from consumer.kafka.topic_ids import Operation, TopicIds
from consumer.mongo.driver import MongoCollections
from consumer.mongo.dry_run import DryRunState, DryStore
from consumer.mongo.repair import MongoRepairer, Repairer, RepairingStore
from consumer.mongo.session_reader import open_session_reader
from consumer.mongo.store import open_store
from consumer.ports import DeadLetters, Store
from consumer.settings import Settings
from consumer.wiring import build_dead_letters, retry_until, startup_policy

LISTED_FETCH_BYTES = 256 * 1024
"""What one fetch brings of a partition when single records are looked for."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """Everything open, and what is to be read."""

    reader: RangeReader
    topic_ids: TopicIds
    whole: Progress
    selected: SelectedRanges
    listed: ListedRecords | None
    store: Store
    repairing: RepairingStore | None
    dry_run: DryRunState | None
    dead_letters: DeadLetters
    state: StateFile | None


async def prepared(settings: Settings, request: ReplayRequest, stack: AsyncExitStack) -> Prepared:
    """Open everything on ``stack``, after its preconditions, and find out what is to be read.

    Raises ``SettingsError`` or ``PreconditionError``.
    """
    listed = _load_list(request, stack) if request.file is not None else None
    kafka = settings.kafka
    if listed is not None:
        kafka = kafka.model_copy(update={"max_partition_fetch_bytes": LISTED_FETCH_BYTES})
    reader = await retry_until(
        "Kafka",
        lambda: stack.enter_async_context(open_range_reader(kafka)),
        startup_policy(settings),
    )
    now = datetime.now(UTC)
    came_from = await _came_from(settings, request)
    selected = await retry_until(
        "Kafka",
        lambda: _select(settings, request, reader, listed, now, came_from),
        startup_policy(settings),
    )
    whole = Progress(
        selected.ranges,
        {part.partition: part.first for part in selected.ranges},
        bounds=selected.bounds,
    )
    topics = sorted({part.partition.topic for part in selected.ranges})
    ids = await retry_until("Kafka", lambda: reader.topic_ids(topics), startup_policy(settings))
    state = None
    if request.state is not None:
        facts = selection_facts(request, settings, listed.digest if listed else None, ids)
        state = StateFile(Path(request.state), facts, ids)
        whole = state.load() or whole
        # At once: that it cannot be written must not turn out after the first hour.
        state.save(whole)
    letters = await _letters(settings, request, stack)
    store, repairing, dry_run = await _store(settings, request, listed, stack)
    return Prepared(reader, ids, whole, selected, listed, store, repairing, dry_run, letters, state)


def _load_list(request: ReplayRequest, stack: AsyncExitStack) -> ListedRecords:
    listed = ListedRecords(stack.enter_context(scratch_database()), repair=request.repair)
    with open_record_list(request.file or "") as file:
        listed.load(file, request.file or "")
    return listed


async def _came_from(settings: Settings, request: ReplayRequest) -> Collection[TopicPartition]:
    """Return where the documents of the sessions asked for say that they came from."""
    if not request.sessions:
        return ()
    async with open_session_reader(settings.mongo) as sessions:
        return await retry_until(
            "MongoDB", lambda: sessions.came_from(request.sessions), startup_policy(settings)
        )


async def _select(
    settings: Settings,
    request: ReplayRequest,
    reader: RangeReader,
    listed: ListedRecords | None,
    now: datetime,
    came_from: Collection[TopicPartition],
) -> SelectedRanges:
    if listed is not None:
        return await _select_listed(reader, listed)
    topics = request.topics or settings.kafka.topics
    return await select_ranges(reader, request, topics, now, came_from)


async def _select_listed(reader: RangeReader, listed: ListedRecords) -> SelectedRanges:
    """Return what listed records span, as far as the logs reach.

    Raises as ``select_ranges`` does.
    """
    existing = set(await reader.partitions_of(listed.topics))
    spans = {part.partition: part for part in listed.ranges()}
    logs = await reader.ranges([partition for partition in spans if partition in existing])
    ranges = [
        OffsetRange(
            log.partition,
            max(log.first, spans[log.partition].first),
            min(log.end, spans[log.partition].end),
        )
        for log in logs
    ]
    return SelectedRanges(ranges)


async def _letters(
    settings: Settings, request: ReplayRequest, stack: AsyncExitStack
) -> DeadLetters:
    if request.dry_run or not request.letters:
        return _NoLetters()
    topic = settings.dead_letters.topic
    described = await retry_until(
        "Kafka", lambda: _writable(settings, topic), startup_policy(settings)
    )
    letters = build_dead_letters(settings, described)
    stack.push_async_callback(letters.close)
    return letters


async def _writable(settings: Settings, topic: str) -> Mapping[str, TopicDescription]:
    async with open_admin(settings.kafka) as admin:
        described = await admin.describe([topic], Operation.WRITE)
    if topic not in described:
        raise PreconditionError(f"no such topic: {topic}")
    return described


class _NoLetters:
    """``DeadLetters`` that go nowhere: the report counts them."""

    async def send(self, pending: list[DeadLetter]) -> None:
        """See ``DeadLetters``."""


async def _reached(collections: MongoCollections) -> None:
    """Return once the database answers. Raises ``TransientError``."""
    async for _ in collections.find_sessions(()):
        pass


async def _store(
    settings: Settings, request: ReplayRequest, listed: ListedRecords | None, stack: AsyncExitStack
) -> tuple[Store, RepairingStore | None, DryRunState | None]:
    opened = await stack.enter_async_context(open_store(settings.mongo))
    store: Store = opened
    repairer: Repairer = MongoRepairer(opened.client, settings.mongo)
    state: DryRunState | None = None
    if request.dry_run:
        # No index is made or asked for: a database may be tried that is not there yet.
        collections = MongoCollections(opened.client, settings.mongo)
        await retry_until("MongoDB", lambda: _reached(collections), startup_policy(settings))
        state = DryRunState(stack.enter_context(scratch_database()))
        store = repairer = DryStore(collections, state)
    else:
        await retry_until("MongoDB", opened.run_preflight, startup_policy(settings))
    if listed is None or not request.repair:
        return store, None, state
    repairing = RepairingStore(store, repairer, listed.altered)
    return repairing, repairing, state
