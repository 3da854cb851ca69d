"""``consumer replay``: builds, opens, runs and closes what a replay needs, and reports."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AsyncExitStack

from consumer import signals
from consumer.aio import Backoff, run_unless_stopped, supervise
from consumer.commands.common.output import show_progress
from consumer.commands.common.record_list import ListedRecords
from consumer.commands.common.record_selection import MessageFilter, filter_of
from consumer.commands.replay.observer import ReplayObserver
from consumer.commands.replay.preparation import Prepared, prepared
from consumer.commands.replay.report import Report, print_report
from consumer.commands.replay.request import ReplayRequest, check_request
from consumer.commands.replay.state_file import Progress
from consumer.commands.replay.tally import Tally
from consumer.contract.record import TopicPartition
from consumer.engine.breaker import Breaker, BreakerLimits
from consumer.engine.pipeline import Pipeline, Planner
from consumer.engine.runner import EngineConfig, Runner, StopReason
from consumer.errors import ExitCode, TransientError
from consumer.kafka.codecs import check_codecs
from consumer.kafka.range_source import RangeSource
from consumer.kafka.ranges import (
    BEGAN_ANEW,
    TOPIC_GONE,
    OffsetRange,
    RecordFilter,
    UnreadRange,
    offsets_of,
)
from consumer.kafka.rate_limit import RateLimiter
from consumer.observability.logs import configure_logging, get_logger
from consumer.settings import OnGap, Settings
from consumer.wiring import (
    ask_retention,
    build_planner,
    dead_letter_builder,
)

TOPICS_INTERVAL = 10.0
"""Seconds between two looks whether the topics are still the same."""

NEVER_HOLDS = BreakerLimits(share=1.0, window=1, minimum=1)
"""Whoever asks for a range gets all of it: old conflicts are met again, however many."""


async def replay(settings: Settings, request: ReplayRequest) -> ExitCode:
    """Replay what is asked for, and print how it ended.

    ``FOUND`` as exit code where part of the ranges could not be read, listed records are gone,
    or no record of the sessions asked for is there; ``DEADLINE`` where it was interrupted.
    Raises a ``ConsumerError`` that carries its exit code.
    """
    check_request(request, settings)
    configure_logging(settings)
    stop = asyncio.Event()
    signals.stop_on_signal(stop)
    report = await carried_out(settings, request, stop)
    if report is None:
        return ExitCode.DEADLINE
    print_report(report, as_json=request.as_json)
    return report.exit_code


async def carried_out(
    settings: Settings, request: ReplayRequest, stop: asyncio.Event
) -> Report | None:
    """Replay until everything is done or ``stop`` is set; None where it had not begun by then.

    Raises ``SettingsError``, ``PreconditionError`` or ``IncidentError``.
    """
    check_codecs()
    async with AsyncExitStack() as stack:
        opened = await run_unless_stopped(stop, prepared(settings, request, stack))
        if opened is None:
            return None
        return await _run(settings, request, opened, stop)


async def _run(
    settings: Settings, request: ReplayRequest, opened: Prepared, stop: asyncio.Event
) -> Report:
    tally = Tally()
    whole = opened.whole
    left = [
        OffsetRange(part.partition, whole.positions[part.partition], part.end)
        for part in whole.ranges
    ]
    topics = _Topics(opened)
    record_filter = opened.listed or filter_of(request, whole.bounds)
    source = _source(settings, request, opened, left, record_filter)
    begun = asyncio.get_running_loop().time()
    _announce(settings, request, left)
    drained = True
    if source.ends:
        planner = build_planner(settings, await ask_retention(settings))
        runner = _runner(settings, request, opened, source, tally, planner)
        async with show_progress(
            "dry run" if request.dry_run else "replay",
            offsets_of(whole.ranges),
            lambda: _done(whole.ranges, dict(whole.positions) | dict(source.positions)),
        ):
            end = await supervise(runner.run(stop, source.ends), {"topics": topics.watch(source)})
        get_logger().info("replay_ended", end=end.value)
        drained = end is not StopReason.DEADLINE
    positions = dict(whole.positions) | dict(source.positions)
    finished = drained and all(positions[part.partition] >= part.end for part in whole.ranges)
    letters = settings.dead_letters.topic if request.letters and not request.dry_run else None
    made_again = await topics.unread(left)
    of_another = {part.partition for part in made_again}
    return Report(
        dry_run=request.dry_run,
        finished=finished,
        ranges=whole.ranges,
        positions=positions,
        tally=tally,
        seconds=asyncio.get_running_loop().time() - begun,
        dead_letters=letters,
        restored=opened.repairing.repaired if opened.repairing else 0,
        left_out=opened.listed.left_out if opened.listed else 0,
        repeated=opened.listed.repeated if opened.listed else 0,
        not_found=_not_found(opened, left, tally, finished=finished),
        elsewhere=len(opened.selected.elsewhere),
        nothing_found=bool(request.sessions)
        and not tally.total.records
        and all(part.first == whole.positions[part.partition] for part in whole.ranges),
        unread=[
            *whole.unread,
            *(part for part in source.unread if part.partition not in of_another),
            *made_again,
        ],
        outside=record_filter.outside if isinstance(record_filter, MessageFilter) else 0,
        before=opened.selected.before,
        contradictions=opened.dry_run.contradictions if opened.dry_run else 0,
    )


class _Topics:
    """Whether the topics are still those that they were when the replay began."""

    def __init__(self, opened: Prepared) -> None:
        self._client = opened.reader
        self._ids = {topic: known for topic, known in opened.topic_ids.items() if known}
        self._gone: set[str] = set()

    async def watch(self, source: RangeSource) -> None:
        """Let the source wait for nothing that cannot come any more; for ever."""
        while True:
            await asyncio.sleep(TOPICS_INTERVAL)
            made_again, gone = await self._look()
            for topic in made_again:
                source.abandon(topic, BEGAN_ANEW)
            # Once is not enough: a broker that has just started does not know every topic yet.
            for topic in self._gone & gone:
                source.abandon(topic, TOPIC_GONE)
            self._gone = gone

    async def unread(self, left: Sequence[OffsetRange]) -> list[UnreadRange]:
        """Return what was read of topics made again meanwhile: nobody knows of which log it is."""
        made_again, _ = await self._look()
        return [
            UnreadRange(part.partition, part.first, part.end, BEGAN_ANEW)
            for part in left
            if part.offsets and part.partition.topic in made_again
        ]

    async def _look(self) -> tuple[set[str], set[str]]:
        """Return the topics that have another id, and those that are not there."""
        try:
            ids = await self._client.topic_ids(list(self._ids)) if self._ids else {}
        except TransientError:
            return set(), set()
        return (
            {topic for topic, known in ids.items() if known and known != self._ids[topic]},
            self._ids.keys() - ids.keys(),
        )


def _announce(settings: Settings, request: ReplayRequest, left: Sequence[OffsetRange]) -> None:
    names = [f"{part.partition.topic}-{part.partition.partition}" for part in left if part.offsets]
    get_logger().info(
        "replay_begins",
        dry_run=request.dry_run,
        database=settings.mongo.database,
        partitions=names,
        offsets=offsets_of(left),
    )


def _source(
    settings: Settings,
    request: ReplayRequest,
    opened: Prepared,
    left: Sequence[OffsetRange],
    record_filter: RecordFilter,
) -> RangeSource:
    state, whole = opened.state, opened.whole

    def on_progress(positions: Mapping[TopicPartition, int]) -> None:
        if state is not None:
            unread = [*whole.unread, *source.unread]
            reached = dict(whole.positions) | dict(positions)
            state.save(Progress(whole.ranges, reached, unread, whole.bounds))

    source = RangeSource(
        opened.reader,
        left,
        max_batch_bytes=settings.engine.max_batch_bytes,
        record_filter=record_filter,
        rate_limiter=RateLimiter(request.rate),
        on_progress=on_progress,
    )
    return source


def _workers(settings: Settings, request: ReplayRequest) -> int:
    """Return how many batches are written at once."""
    return request.workers or settings.engine.batches_in_flight


def _runner(
    settings: Settings,
    request: ReplayRequest,
    opened: Prepared,
    source: RangeSource,
    tally: Tally,
    planner: Planner,
) -> Runner:
    engine = settings.engine
    observer = ReplayObserver(tally)
    breaker = Breaker(NEVER_HOLDS)
    backoff = Backoff(engine.backoff_initial, engine.backoff_max)
    pipeline = Pipeline(
        planner=planner,
        store=opened.store,
        dead_letters=opened.dead_letters,
        letter=dead_letter_builder(settings),
        breaker=breaker,
        backoff=backoff,
        chance=random.random,
        observer=observer,
    )
    return Runner(
        source=source,
        store=opened.store,
        pipeline=pipeline,
        breaker=breaker,
        backoff=backoff,
        chance=random.random,
        observer=observer,
        limits=EngineConfig(
            max_poll_records=engine.max_poll_records,
            batches_in_flight=_workers(settings, request),
            commit_interval=engine.commit_interval,
            drain_deadline=engine.drain_deadline,
            rebalance_timeout=settings.kafka.rebalance_timeout,
            stop_on_gap=settings.kafka.on_gap is OnGap.STOP,
        ),
    )


def _done(ranges: Sequence[OffsetRange], positions: Mapping[TopicPartition, int]) -> int:
    return sum(positions[part.partition] - part.first for part in ranges)


def _not_found(
    opened: Prepared, left: Sequence[OffsetRange], tally: Tally, *, finished: bool
) -> int:
    """Return how many listed records did not come: out of the logs, or in a hole of them."""
    listed = opened.listed
    if listed is None:
        return 0
    if finished:
        met = tally.total.records + _wanted(listed, opened.whole.ranges) - _wanted(listed, left)
    else:
        met = _wanted(listed, opened.whole.ranges)
    return _wanted(listed, listed.ranges()) - met


def _wanted(listed: ListedRecords, ranges: Iterable[OffsetRange]) -> int:
    return sum(map(listed.wanted_in, ranges))
