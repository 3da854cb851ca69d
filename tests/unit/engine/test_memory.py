"""What the process keeps of the records that it has applied: nothing, and that at once."""

from __future__ import annotations

import asyncio
import gc
import logging
import tracemalloc
from collections import Counter
from collections.abc import Collection, Sequence

import pytest
import structlog
from structlog.typing import FilteringBoundLogger

from consumer.aio import Backoff
from consumer.contract.record import Record, TopicPartition
from consumer.contract.rejection import KeyPolicy
from consumer.engine.pipeline import RecordPlanner
from consumer.errors import TransientError
from consumer.mongo.collections import BulkReply, WriteFailure
from consumer.mongo.store import MongoStore
from consumer.observability.health import Health
from consumer.observability.metrics import Metrics
from consumer.observability.observer import EngineObserver
from consumer.ports import Polled
from consumer.settings.model import KafkaSettings
from consumer.state.guards import Upsert
from tests import builders
from tests.fakes.collections import MemoryCollections
from tests.memory import no_collector
from tests.unit.engine.scripted import HELD_AT, P0, P1, Engine

TEXT = "x" * 10_000
SESSIONS = 10
WARM, LATER = 200, 600
"""Batches after which memory is looked at."""

SILENT: FilteringBoundLogger = structlog.wrap_logger(
    structlog.ReturnLogger(),
    wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL),
)
TIMED_OUT = 50


class Forgetful(MemoryCollections):
    """Acknowledges every write and keeps nothing. Each ``trouble``-th insert goes wrong."""

    def __init__(self, trouble: int) -> None:
        super().__init__()
        self.trouble = trouble
        self.inserts = self.awaited = 0
        self.reached = asyncio.Event()

    async def insert(self, collection: str, documents: Sequence[bytes]) -> BulkReply:
        self.inserts += 1
        if self.inserts == self.awaited:
            self.reached.set()
        if self.trouble and self.inserts % self.trouble == 0:
            if self.inserts // self.trouble % 2:
                raise TransientError("AutoReconnect")
            return BulkReply({0: WriteFailure(TIMED_OUT, None)})
        return BulkReply({})

    async def upsert(self, collection: str, upserts: Sequence[Upsert]) -> BulkReply:
        return BulkReply({})


def spoken(partition: TopicPartition, offset: int) -> Record:
    topic, number = partition
    said = builders.event(f"s{offset % SESSIONS}", f"e{offset % SESSIONS}", payload={"text": TEXT})
    return builders.record(said, offset, topic=topic, partition=number)


class Run:
    """An engine with a source that never ends. It keeps nothing, as the store."""

    def __init__(self, trouble: int) -> None:
        self.collections = Forgetful(trouble)
        observer = EngineObserver(Metrics(), Health(), KafkaSettings(), log=SILENT)
        self.engine = Engine(told=observer)
        self.engine.pipeline.store = MongoStore(self.collections)
        self.engine.pipeline.planner = RecordPlanner(KeyPolicy.WARN, None, lambda: HELD_AT)
        self.engine.pipeline.backoff = Backoff(initial=0.001, maximum=0.001)
        self._offsets = Counter[TopicPartition]()
        self._begin = self.engine.source.poll
        self.engine.source.poll = self._poll  # type: ignore[method-assign]
        self.engine.source.commit = self._commit  # type: ignore[method-assign,assignment]

    async def _poll(
        self, partitions: Collection[TopicPartition], max_records: int, timeout: float
    ) -> Polled:
        if self.engine.source.scripts:  # where the partitions begin
            return await self._begin(partitions, max_records, timeout)
        await asyncio.sleep(0)
        records = {}
        for partition in partitions:
            offset = self._offsets[partition]
            self._offsets[partition] = offset + 2
            records[partition] = [spoken(partition, one) for one in (offset, offset + 1)]
        return Polled(records)

    async def _commit(self, *_: object) -> None:
        pass

    async def batches(self, number: int) -> None:
        """Wait until there have been so many in all."""
        self.collections.awaited, self.collections.reached = number, asyncio.Event()
        await self.collections.reached.wait()


@pytest.mark.reliability("F110")
@pytest.mark.parametrize("trouble", [0, 7], ids=["all goes well", "with trouble"])
async def test_what_was_applied_is_freed_at_once_and_not_by_the_collector(trouble: int) -> None:
    run = Run(trouble)
    with no_collector():
        await run.engine.start(P0, P1)
        await run.batches(WARM)
        gc.collect()
        await run.batches(2 * WARM)
        left = gc.collect()
    await run.engine.end()
    # A refused batch leaves a few small objects of the event loop; not its records.
    assert left < WARM


@pytest.mark.reliability("F110")
async def test_memory_is_the_same_after_many_batches() -> None:
    run = Run(trouble=0)
    tracemalloc.start()
    try:
        with no_collector():
            await run.engine.start(P0, P1)
            await run.batches(WARM)
            before, _ = tracemalloc.get_traced_memory()
            await run.batches(LATER)
            grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    await run.engine.end()
    assert grown < 20 * len(TEXT), f"{grown / (LATER - WARM):.0f} bytes a batch are kept"
