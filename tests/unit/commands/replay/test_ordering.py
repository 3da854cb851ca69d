"""Batches that touch one session are applied in the order in which they were begun."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from consumer.aio import Backoff
from consumer.commands.replay.observer import ReplayObserver
from consumer.commands.replay.ordering import OrderedPipeline, OrderedStore
from consumer.commands.replay.tally import Tally
from consumer.contract.record import Record, TopicPartition
from consumer.engine.breaker import Breaker, BreakerLimits
from consumer.engine.pipeline import Batch
from consumer.state.batch import APPLIED
from consumer.state.outcomes import NO_MARK, Mark, Outcome, Result
from consumer.state.writes import Write
from tests.unit.state.builders import event, write


class Held:
    """An application that is done when the test says so."""

    def __init__(self, store: HeldStore, writes: Sequence[Write]) -> None:
        self.store = store
        self.writes = writes

    async def execute(self) -> Sequence[Result]:
        offset = self.writes[0].position.offset
        self.store.begun.append(offset)
        self.store.changed.set()
        await self.store.go[offset].wait()
        return [APPLIED] * len(self.writes)


class HeldStore:
    """Knows which batches have begun to write."""

    def __init__(self, batches: int) -> None:
        self.go = [asyncio.Event() for _ in range(batches)]
        self.begun: list[int] = []
        self.changed = asyncio.Event()

    def prepare(self, writes: Sequence[Write]) -> Held:
        return Held(self, writes)

    def forget(self) -> None:
        pass

    async def begun_are(self, *offsets: int) -> None:
        async with asyncio.timeout(5):
            while sorted(self.begun) != sorted(offsets):
                self.changed.clear()
                await self.changed.wait()
        for _ in range(20):
            await asyncio.sleep(0)
        assert sorted(self.begun) == sorted(offsets)


class Letters:
    async def send(self, letters: Sequence[object]) -> None:
        pass


def planned(record: Record) -> tuple[Write | Result, Mark]:
    """The key says which session the record is of; without one it is skipped."""
    if record.key is None:
        return Result(Outcome.SKIPPED), NO_MARK
    return write(event(record.key.decode(), f"e{record.offset}"), record), NO_MARK


def pipeline(store: HeldStore) -> OrderedPipeline:
    return OrderedPipeline(
        planner=planned,
        store=OrderedStore(store),
        dead_letters=Letters(),
        letter=lambda _record, _rejected: (_ for _ in ()).throw(AssertionError),
        breaker=Breaker(BreakerLimits(1.0, 1, 1)),
        backoff=Backoff(0.01, 0.01),
        chance=lambda: 0.0,
        observer=ReplayObserver(Tally()),
    )


def start(
    line: OrderedPipeline, offset: int, *sessions: str | None, size: int = 1
) -> asyncio.Task[object]:
    keys = [None if session is None else session.encode() for session in sessions] * size
    records = [Record("t", offset, offset, 0, key, b"") for key in keys]
    batch = Batch({TopicPartition("t", offset): records}, asyncio.Event())
    return asyncio.ensure_future(line.process(batch))


async def test_batches_of_different_sessions_run_side_by_side() -> None:
    store = HeldStore(3)
    line = pipeline(store)
    tasks = [start(line, offset, f"s{offset}") for offset in range(3)]
    await store.begun_are(0, 1, 2)
    for go in store.go:
        go.set()
    await asyncio.gather(*tasks)


async def test_a_batch_waits_for_an_earlier_one_with_a_session_of_its_own() -> None:
    store = HeldStore(3)
    line = pipeline(store)
    tasks = [start(line, 0, "a", "b"), start(line, 1, "c"), start(line, 2, "b")]
    await store.begun_are(0, 1)
    store.go[1].set()
    await store.begun_are(0, 1)
    store.go[0].set()
    await store.begun_are(0, 1, 2)
    store.go[2].set()
    await asyncio.gather(*tasks)


async def test_a_small_batch_does_not_overtake_a_large_one_that_is_still_decoded() -> None:
    store = HeldStore(2)
    line = pipeline(store)
    tasks = [start(line, 0, "a", size=2_000), start(line, 1, "a")]
    await store.begun_are(0)
    store.go[0].set()
    await store.begun_are(0, 1)
    store.go[1].set()
    await asyncio.gather(*tasks)


async def test_nobody_waits_for_a_batch_without_writes() -> None:
    store = HeldStore(2)
    line = pipeline(store)
    tasks = [start(line, 0, None), start(line, 1, "a")]
    await store.begun_are(1)
    store.go[1].set()
    await asyncio.gather(*tasks)


async def test_nobody_waits_for_a_batch_that_died() -> None:
    store = HeldStore(2)
    line = pipeline(store)
    died, lives = start(line, 0, "a"), start(line, 1, "a")
    await store.begun_are(0)
    died.cancel()
    await store.begun_are(0, 1)
    store.go[1].set()
    await lives
