"""``consumer replay``: builds, opens, runs and closes what a replay needs, and reports."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from consumer import signals
from consumer.app import (
    REFUSED_LETTER_BYTES,
    letter_builder,
    planner_of,
    unless_stopped,
    until_answered,
)
from consumer.contract.dead_letter import DeadLetter, shortened
from consumer.contract.record import TopicPartition
from consumer.engine.breaker import Breaker, BreakerLimits
from consumer.engine.retry import Backoff
from consumer.engine.runner import Limits, RunEnd, Runner
from consumer.errors import ExitCode
from consumer.observe.logging import configure_logging, get_logger
from consumer.operations.replay.listed import ListedRecords, opened_list
from consumer.operations.replay.observer import ReplayObserver
from consumer.operations.replay.on_disk import scratch_database
from consumer.operations.replay.ordering import OrderedPipeline, OrderedStore
from consumer.operations.replay.progress import shown_progress
from consumer.operations.replay.remembered import Remembered
from consumer.operations.replay.report import Report, print_report
from consumer.operations.replay.request import Request, check_request, selection_facts
from consumer.operations.replay.selection import Selected, select, select_listed, selector_of
from consumer.operations.replay.state_file import Progress, StateFile
from consumer.operations.replay.tally import Tally
from consumer.ports import DeadLetters, Store
from consumer.settings import OnGap, Settings
from consumer.store.dry_run import DryStore
from consumer.store.mongo import MongoCollections
from consumer.store.opening import open_store
from consumer.store.restoring import DryRestorer, MongoRestorer, RestoringStore
from consumer.stream.codecs import check_codecs
from consumer.stream.dead_letters import KafkaDeadLetters, open_producer
from consumer.stream.range_reader import RangeReader, open_range_reader
from consumer.stream.range_source import RangeSource
from consumer.stream.ranges import OffsetRange, offsets_of
from consumer.stream.throttle import Throttle

LISTED_FETCH_BYTES = 256 * 1024
"""What one fetch brings of a partition when single records are looked for."""

NEVER_HOLDS = BreakerLimits(share=1.0, window=1, minimum=1)
"""Whoever asks for a range gets all of it: old conflicts are met again, however many."""


async def replay(settings: Settings, request: Request) -> ExitCode:
    """Replay what is asked for, and print how it ended.

    ``FOUND`` as exit code where listed records are gone, ``DEADLINE`` where it was
    interrupted. Raises a ``ConsumerError`` that carries its exit code.
    """
    check_request(request, settings)
    configure_logging(settings)
    stop = asyncio.Event()
    signals.stop_on_signal(stop)
    report = await carried_out(settings, request, stop)
    if report is None:
        return ExitCode.DEADLINE
    print_report(report, as_json=request.as_json)
    if not report.complete:
        return ExitCode.DEADLINE
    return ExitCode.FOUND if report.not_found else ExitCode.DONE


async def carried_out(settings: Settings, request: Request, stop: asyncio.Event) -> Report | None:
    """Replay until everything is done or ``stop`` is set; None where it had not begun by then.

    Raises ``SettingsError``, ``PreconditionError`` or ``IncidentError``.
    """
    check_codecs()
    async with AsyncExitStack() as stack:
        prepared = await unless_stopped(stop, _prepared(settings, request, stack))
        if prepared is None:
            return None
        return await _run(settings, request, prepared, stop)


@dataclass(frozen=True, slots=True)
class _Prepared:
    """Everything open, and what is to be read."""

    reader: RangeReader
    whole: Progress
    gone: int
    listed: ListedRecords | None
    store: Store
    restoring: RestoringStore | None
    dead_letters: DeadLetters
    state: StateFile | None


async def _prepared(settings: Settings, request: Request, stack: AsyncExitStack) -> _Prepared:
    listed = _load_list(request, stack) if request.file is not None else None
    kafka = settings.kafka
    if listed is not None:
        kafka = kafka.model_copy(update={"max_partition_fetch_bytes": LISTED_FETCH_BYTES})
    reader = await until_answered(
        "Kafka", lambda: stack.enter_async_context(open_range_reader(kafka)), settings
    )
    now = datetime.now(UTC)
    selected = await until_answered(
        "Kafka", lambda: _select(settings, request, reader, listed, now), settings
    )
    whole = Progress(selected.ranges, {part.partition: part.first for part in selected.ranges})
    state = None
    if request.state is not None:
        facts = selection_facts(request, settings, listed.digest if listed else None)
        state = StateFile(Path(request.state), facts)
        whole = state.load() or whole
        # At once: that it cannot be written must not turn out after the first hour.
        state.save(whole)
    letters = await _letters(settings, request, reader, stack)
    store, restoring = await _store(settings, request, listed, stack)
    return _Prepared(reader, whole, selected.gone, listed, store, restoring, letters, state)


def _load_list(request: Request, stack: AsyncExitStack) -> ListedRecords:
    listed = ListedRecords(stack.enter_context(scratch_database()), repair=request.repair)
    with opened_list(request.file or "") as file:
        listed.load(file, request.file or "")
    return listed


async def _select(
    settings: Settings,
    request: Request,
    reader: RangeReader,
    listed: ListedRecords | None,
    now: datetime,
) -> Selected:
    if listed is not None:
        return await select_listed(reader, listed)
    return await select(reader, request, request.topics or settings.kafka.topics, now)


async def _letters(
    settings: Settings, request: Request, reader: RangeReader, stack: AsyncExitStack
) -> DeadLetters:
    if request.dry_run or not request.letters:
        return _NoLetters()
    topic = settings.dead_letters.topic
    await until_answered("Kafka", lambda: reader.partitions_of([topic]), settings)
    letters = KafkaDeadLetters(
        partial(open_producer, settings.kafka, settings.dead_letters),
        topic,
        lambda letter: shortened(letter, REFUSED_LETTER_BYTES),
        timeout=settings.kafka.request_timeout,
    )
    stack.push_async_callback(letters.close)
    return letters


class _NoLetters:
    """``DeadLetters`` that go nowhere: the report counts them."""

    async def send(self, letters: Sequence[DeadLetter]) -> None:
        """See ``DeadLetters``."""


async def _store(
    settings: Settings, request: Request, listed: ListedRecords | None, stack: AsyncExitStack
) -> tuple[Store, RestoringStore | None]:
    opened = await stack.enter_async_context(open_store(settings.mongo))
    store: Store = opened
    if request.dry_run:
        # No index is made or asked for: a database may be tried that is not there yet.
        collections = MongoCollections(opened.client, settings.mongo)
        await until_answered("MongoDB", lambda: collections.find_sessions(()), settings)
        memory = Remembered(stack.enter_context(scratch_database()))
        store = DryStore(collections, memory)
    else:
        await until_answered("MongoDB", opened.prepare, settings)
    if listed is None or not request.repair:
        return store, None
    restoring = RestoringStore(
        store,
        DryRestorer(collections, memory)
        if request.dry_run
        else MongoRestorer(opened.client, settings.mongo),
        listed.altered,
    )
    return restoring, restoring


async def _run(
    settings: Settings, request: Request, prepared: _Prepared, stop: asyncio.Event
) -> Report:
    tally = Tally()
    whole = prepared.whole
    left = [
        OffsetRange(part.partition, whole.positions[part.partition], part.end)
        for part in whole.ranges
    ]
    source = _source(settings, request, prepared, left)
    begun = asyncio.get_running_loop().time()
    get_logger().info(
        "replay_begins",
        dry_run=request.dry_run,
        database=settings.mongo.database,
        partitions=[
            f"{part.partition.topic}-{part.partition.partition}" for part in left if part.offsets
        ],
        offsets=offsets_of(left),
    )
    end = RunEnd.CAUGHT_UP
    if source.ends:
        runner = _runner(settings, prepared, source, tally)
        async with shown_progress(
            "dry run" if request.dry_run else "replay",
            offsets_of(whole.ranges),
            lambda: _done(whole.ranges, dict(whole.positions) | dict(source.positions)),
        ):
            end = await runner.run(stop, source.ends)
            source.keep()
    positions = dict(whole.positions) | dict(source.positions)
    complete = end is not RunEnd.DEADLINE and all(
        positions[part.partition] >= part.end for part in whole.ranges
    )
    return Report(
        dry_run=request.dry_run,
        complete=complete,
        ranges=whole.ranges,
        positions=positions,
        tally=tally,
        seconds=asyncio.get_running_loop().time() - begun,
        dead_letters=(
            settings.dead_letters.topic if request.letters and not request.dry_run else None
        ),
        restored=prepared.restoring.restored if prepared.restoring else 0,
        left_out=prepared.listed.left_out if prepared.listed else 0,
        not_found=_not_found(prepared, left, tally, complete=complete),
    )


def _source(
    settings: Settings, request: Request, prepared: _Prepared, left: Sequence[OffsetRange]
) -> RangeSource:
    state, whole = prepared.state, prepared.whole

    def keep(positions: Mapping[TopicPartition, int]) -> None:
        if state is not None:
            state.save(Progress(whole.ranges, dict(whole.positions) | dict(positions)))

    return RangeSource(
        prepared.reader.client,
        left,
        lanes=request.workers or settings.engine.batches_in_flight,
        max_batch_bytes=settings.engine.max_batch_bytes,
        selector=selector_of(request, prepared.listed),
        throttle=Throttle(request.rate),
        keep=keep,
    )


def _runner(settings: Settings, prepared: _Prepared, source: RangeSource, tally: Tally) -> Runner:
    engine = settings.engine
    observer = ReplayObserver(tally)
    breaker = Breaker(NEVER_HOLDS)
    backoff = Backoff(engine.backoff_initial, engine.backoff_max)
    store = OrderedStore(prepared.store)
    pipeline = OrderedPipeline(
        planner=planner_of(settings),
        store=store,
        dead_letters=prepared.dead_letters,
        letter=letter_builder(settings),
        breaker=breaker,
        backoff=backoff,
        chance=random.random,
        observer=observer,
    )
    return Runner(
        source=source,
        store=store,
        pipeline=pipeline,
        breaker=breaker,
        backoff=backoff,
        chance=random.random,
        observer=observer,
        limits=Limits(
            max_poll_records=engine.max_poll_records,
            batches_in_flight=source.lanes,
            commit_interval=engine.commit_interval,
            drain_deadline=engine.drain_deadline,
            rebalance_timeout=settings.kafka.rebalance_timeout,
            stop_on_gap=settings.kafka.on_gap is OnGap.STOP,
        ),
    )


def _done(ranges: Sequence[OffsetRange], positions: Mapping[TopicPartition, int]) -> int:
    return sum(positions[part.partition] - part.first for part in ranges)


def _not_found(
    prepared: _Prepared, left: Sequence[OffsetRange], tally: Tally, *, complete: bool
) -> int:
    """Return how many listed records did not come: out of the logs, or in a hole of them."""
    if prepared.listed is None or not complete:
        return prepared.gone
    return prepared.gone + sum(map(prepared.listed.wanted_in, left)) - tally.total.records
