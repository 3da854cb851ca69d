"""What a replay needs before its first record: open, checked, and selected."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from consumer.commands.common.record_list import ListedRecords, open_record_list
from consumer.commands.common.scratch import scratch_database
from consumer.commands.common.selected_ranges import SelectedRanges, select_ranges
from consumer.commands.replay.replay_request import (
    ReplayProgress,
    ReplayRequest,
    StateFile,
    selection_facts,
)
from consumer.contract.dead_letter import DeadLetter
from consumer.contract.kinds import SESSIONS
from consumer.contract.record import OffsetRange
from consumer.errors import PreconditionError
from consumer.kafka.admin import TopicDescription, open_admin
from consumer.kafka.dead_letter_topic import dead_letters_to
from consumer.kafka.range_reader import RangeReader, open_range_reader
from consumer.kafka.topic_ids import Operation, TopicIds
from consumer.mongo.collections import Collections
from consumer.mongo.dry_run import DryStore
from consumer.mongo.repair import Repair, RepairingStore, put_back
from consumer.mongo.session_reader import open_session_reader
from consumer.mongo.store import open_store
from consumer.ports import DeadLetters, Store
from consumer.settings.model import Settings
from consumer.wiring import await_database, retry_at_start, startup_policy

LISTED_FETCH_BYTES = 256 * 1024
"""What one fetch brings of a partition when single records are looked for."""


@dataclass(frozen=True, slots=True)
class ReplayResources:
    """Everything open, and what is to be read.

    ``listed``, ``repairing``, ``dry_run`` and ``state`` are None where nothing asks for them.
    """

    reader: RangeReader
    topic_ids: TopicIds
    selected: SelectedRanges
    progress: ReplayProgress
    store: Store
    dead_letters: DeadLetters
    listed: ListedRecords | None
    repairing: RepairingStore | None
    dry_run: DryStore | None
    state: StateFile | None


@dataclass(frozen=True, slots=True)
class ReplayOpening:
    """Opens everything on ``stack``, after its preconditions."""

    settings: Settings
    request: ReplayRequest
    stack: AsyncExitStack

    async def open(self) -> ReplayResources:
        """Open, and find out what is to be read.

        Raises ``SettingsError`` or ``PreconditionError``.
        """
        listed = self._load_list()
        kafka = self.settings.kafka
        if listed is not None:
            kafka = kafka.model_copy(update={"max_partition_fetch_bytes": LISTED_FETCH_BYTES})
        reader = await retry_at_start(
            self.settings, "Kafka", lambda: self.stack.enter_async_context(open_range_reader(kafka))
        )
        selected = await self._select(reader, listed)
        topics = sorted({part.partition.topic for part in selected.ranges})
        ids = await retry_at_start(self.settings, "Kafka", lambda: reader.topic_ids(topics))
        positions = {part.partition: part.first for part in selected.ranges}
        progress = ReplayProgress(selected.ranges, positions, bounds=selected.bounds)
        state = self._state_file(listed, ids)
        if state is not None:
            progress = state.load() or progress
            # At once: that it cannot be written must not turn out after the first hour.
            state.save(progress)
        dead_letters = await self._dead_letters()
        store, repairing, dry_run = await self._store(listed)
        return ReplayResources(
            reader,
            ids,
            selected,
            progress,
            store,
            dead_letters,
            listed=listed,
            repairing=repairing,
            dry_run=dry_run,
            state=state,
        )

    def _load_list(self) -> ListedRecords | None:
        name = self.request.file
        if name is None:
            return None
        database = self.stack.enter_context(scratch_database())
        listed = ListedRecords(database, repair=self.request.repair)
        with open_record_list(name) as file:
            listed.load(file, name)
        return listed

    async def _select(self, reader: RangeReader, listed: ListedRecords | None) -> SelectedRanges:
        if listed is not None:
            return await retry_at_start(
                self.settings, "Kafka", lambda: _select_listed(reader, listed)
            )
        request = self.request
        topics, now = request.topics or self.settings.kafka.topics, datetime.now(UTC)
        came_from = set()
        if request.sessions:
            async with open_session_reader(self.settings.mongo) as sessions:
                came_from = await retry_at_start(
                    self.settings, "MongoDB", lambda: sessions.came_from(request.sessions)
                )
        return await retry_at_start(
            self.settings, "Kafka", lambda: select_ranges(reader, request, topics, now, came_from)
        )

    def _state_file(self, listed: ListedRecords | None, ids: TopicIds) -> StateFile | None:
        if self.request.state is None:
            return None
        digest = None if listed is None else listed.digest
        facts = selection_facts(self.request, self.settings, digest, ids)
        return StateFile(Path(self.request.state), facts, ids)

    async def _dead_letters(self) -> DeadLetters:
        if not self.request.sends_dead_letters:
            return _NoDeadLetters()
        topic = self.settings.dead_letters.topic
        described = await retry_at_start(
            self.settings, "Kafka", lambda: _describe(self.settings, topic)
        )
        if topic not in described:
            raise PreconditionError(f"no such topic: {topic}")
        letters = dead_letters_to(self.settings.kafka, self.settings.dead_letters, described[topic])
        self.stack.push_async_callback(letters.close)
        return letters

    async def _store(
        self, listed: ListedRecords | None
    ) -> tuple[Store, RepairingStore | None, DryStore | None]:
        opened = await self.stack.enter_async_context(open_store(self.settings.mongo))
        store: Store = opened
        await await_database(opened, startup_policy(self.settings))
        repair: Repair = partial(put_back, opened.client, self.settings.mongo)
        dry_run: DryStore | None = None
        if self.request.dry_run:
            # No index is made or asked for: a database may be tried that is not there yet.
            await retry_at_start(self.settings, "MongoDB", lambda: _reach(opened.collections))
            store = dry_run = DryStore(
                opened.collections, self.stack.enter_context(scratch_database())
            )
            repair = dry_run.repair
        else:
            await retry_at_start(self.settings, "MongoDB", opened.run_preflight)
        if listed is None or not self.request.repair:
            return store, None, dry_run
        repairing = RepairingStore(store, repair, listed.altered)
        return repairing, repairing, dry_run


class _NoDeadLetters:
    """``DeadLetters`` that go nowhere: the report counts them."""

    async def send(self, pending: list[DeadLetter]) -> None:
        """See ``DeadLetters``."""


async def _describe(settings: Settings, topic: str) -> dict[str, TopicDescription]:
    async with open_admin(settings.kafka) as admin:
        return await admin.describe([topic], Operation.WRITE)


async def _reach(collections: Collections) -> None:
    """Return once the database answers. Raises ``TransientError``."""
    async for _ in collections.find(SESSIONS, ()):
        pass


async def _select_listed(reader: RangeReader, listed: ListedRecords) -> SelectedRanges:
    """Return what listed records span, as far as the logs reach.

    Raises as ``select_ranges`` does.
    """
    spans = {part.partition: part for part in listed.ranges()}
    ranges = [
        OffsetRange(log.partition, max(log.first, span.first), min(log.end, span.end))
        for log in await reader.ranges({partition.topic for partition in spans})
        if (span := spans.get(log.partition)) is not None
    ]
    return SelectedRanges(ranges)
