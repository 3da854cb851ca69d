"""``consumer replay``: reads what is selected through the engine, and reports."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace

from consumer import signals
from consumer.aio import RateLimiter, run_unless_stopped, supervise
from consumer.commands.common.record_selection import MessageFilter
from consumer.commands.replay.open_replay import ReplayOpening, ReplayResources
from consumer.commands.replay.replay_report import (
    ListCounts,
    OutcomeCounts,
    ReplayReport,
    print_replay,
)
from consumer.commands.replay.replay_request import ReplayProgress, ReplayRequest, check_request
from consumer.contract.record import OffsetRange, Record, TopicPartition
from consumer.contract.rejection import Rejected
from consumer.engine.breaker import BreakerLimits
from consumer.engine.runner import Runner, StopReason
from consumer.errors import ExitCode, TransientError
from consumer.kafka.decompression import check_codecs
from consumer.kafka.range_source import RangeSource
from consumer.kafka.ranges import BEGAN_ANEW, TOPIC_GONE, UnreadRange, offsets_of
from consumer.observability.health import Health
from consumer.observability.logs import configure_logging, get_logger
from consumer.observability.metrics import Metrics
from consumer.observability.observer import EngineObserver
from consumer.ports import BatchReport
from consumer.settings.model import KafkaSettings, Settings
from consumer.terminal import Advance, print_error, progress
from consumer.wiring import (
    ask_retention,
    build_engine,
    build_planner,
    dead_letter_builder,
    engine_config,
)

TOPICS_INTERVAL = 10.0
"""Seconds between two looks whether the topics are still the same."""

NEVER_HOLDS = BreakerLimits(share=1.0, window=1, minimum=1)
"""Whoever asks for a range gets all of it: old conflicts are met again, however many."""


async def show_replay(settings: Settings, request: ReplayRequest) -> ExitCode:
    """Replay what is asked for, and print how it ended.

    ``FOUND`` as exit code where part of the ranges could not be read, listed records are gone,
    or no record of the sessions asked for is there; ``DEADLINE`` where it was interrupted.
    Raises a ``ConsumerError`` that carries its exit code.
    """
    check_request(request, settings)
    configure_logging(settings)
    stop = asyncio.Event()
    signals.stop_on_signal(stop)
    report = await run_replay(settings, request, stop)
    if report is None:
        print_error("consumer: interrupted before anything was replayed")
        return ExitCode.DEADLINE
    print_replay(report, as_json=request.as_json)
    return report.exit_code


async def run_replay(
    settings: Settings, request: ReplayRequest, stop: asyncio.Event
) -> ReplayReport | None:
    """Replay until everything is done or ``stop`` is set; None where it had not begun by then.

    Raises ``SettingsError``, ``PreconditionError`` or ``IncidentError``.
    """
    check_codecs()
    async with AsyncExitStack() as stack:
        opened = await run_unless_stopped(stop, ReplayOpening(settings, request, stack).open())
        if opened is None:
            return None
        return await _Replay(settings, request, opened).run(stop)


class _Replay:
    _advance: Advance

    def __init__(self, settings: Settings, request: ReplayRequest, opened: ReplayResources) -> None:
        self._settings = settings
        self._request = request
        self._opened = opened
        self._begun_with = progress = opened.progress
        self._left = [
            OffsetRange(part.partition, progress.position(part), part.end)
            for part in progress.ranges
        ]
        self._messages = MessageFilter(
            settings.kafka.max_value_bytes, request.sessions, request.kinds, progress.bounds
        )
        self._counts: dict[TopicPartition, OutcomeCounts] = {}
        self._topics = _ReplayTopics(opened)
        self._shown = 0
        self._source = RangeSource(
            opened.reader,
            self._left,
            max_batch_bytes=settings.engine.max_batch_bytes,
            record_filter=opened.listed or self._messages,
            rate_limiter=RateLimiter(request.rate),
            on_progress=self._save,
        )

    async def run(self, stop: asyncio.Event) -> ReplayReport:
        begun = asyncio.get_running_loop().time()
        self._announce()
        end = StopReason.CAUGHT_UP
        if self._source.ends:
            runner = await self._runner()
            what = "dry run" if self._request.dry_run else "replay"
            left = offsets_of(self._left)
            with progress(what, left, log=get_logger().info) as self._advance:
                watches = {"topics": self._topics.watch(self._source)}
                end = await supervise(runner.run(stop, self._source.ends), watches)
            get_logger().info("replay_ended", end=end.value)
        made_again = await self._topics.unread(self._left)
        seconds = asyncio.get_running_loop().time() - begun
        return self._report(made_again, seconds, drained=end is not StopReason.DEADLINE)

    def _announce(self) -> None:
        left = [part for part in self._left if part.offsets]
        get_logger().info(
            "replay_begins",
            dry_run=self._request.dry_run,
            database=self._settings.mongo.database,
            partitions=[part.partition.name for part in left],
            offsets=offsets_of(left),
        )

    async def _runner(self) -> Runner:
        settings = self._settings
        config = replace(engine_config(settings, {}), breaker=NEVER_HOLDS)
        return build_engine(
            source=self._source,
            store=self._opened.store,
            dead_letters=self._opened.dead_letters,
            planner=build_planner(settings, await ask_retention(settings)),
            build_dead_letter=dead_letter_builder(settings),
            observer=_ReplayObserver(self._settings.kafka, self._counts),
            config=config,
        ).runner

    def _progress(self) -> ReplayProgress:
        whole = self._begun_with
        return ReplayProgress(
            whole.ranges,
            {**whole.positions, **self._source.positions},
            [*whole.unread, *self._source.unread],
            whole.bounds,
        )

    def _save(self) -> None:
        progress = self._progress()
        if self._opened.state is not None:
            self._opened.state.save(progress)
        done = sum(progress.position(part) - part.first for part in self._left)
        self._advance(done - self._shown)
        self._shown = done

    def _report(
        self, made_again: Collection[UnreadRange], seconds: float, *, drained: bool
    ) -> ReplayReport:
        opened, progress = self._opened, self._progress()
        finished = drained and all(progress.position(part) >= part.end for part in progress.ranges)
        sends = self._request.sends_dead_letters
        of_another = {part.partition for part in made_again}
        unread = [
            *self._begun_with.unread,
            *(part for part in self._source.unread if part.partition not in of_another),
            *made_again,
        ]
        return ReplayReport(
            dry_run=self._request.dry_run,
            finished=finished,
            progress=replace(progress, unread=unread),
            counts=self._counts,
            seconds=seconds,
            dead_letters=self._settings.dead_letters.topic if sends else None,
            of_list=self._of_list(finished=finished),
            left_out=replace(opened.selected.left_out, outside_times=self._messages.outside),
            nothing_found=self._nothing_found(),
            contradictions=opened.dry_run.contradictions if opened.dry_run else 0,
        )

    def _of_list(self, *, finished: bool) -> ListCounts:
        """Count also how many did not come: out of the logs, or in a hole of them."""
        listed, repairing = self._opened.listed, self._opened.repairing
        if listed is None:
            return ListCounts()

        def wanted_in(ranges: Iterable[OffsetRange]) -> int:
            return sum(map(listed.wanted_in, ranges))

        gone = wanted_in(listed.ranges()) - wanted_in(self._begun_with.ranges)
        if finished:
            gone += wanted_in(self._left) - self._records()
        repaired = repairing.repaired if repairing else 0
        return ListCounts(repaired, listed.left_out, listed.repeated, gone)

    def _nothing_found(self) -> bool:
        """Tell whether there is no record of the sessions asked for, now or in an earlier run."""
        return (
            bool(self._request.sessions)
            and not self._records()
            and offsets_of(self._left) == offsets_of(self._begun_with.ranges)
        )

    def _records(self) -> int:
        return sum(counts.records for counts in self._counts.values())


class _ReplayObserver(EngineObserver):
    """Counts instead of logging each batch; nobody asks for its metrics and its health."""

    def __init__(self, kafka: KafkaSettings, counts: dict[TopicPartition, OutcomeCounts]) -> None:
        super().__init__(Metrics(), Health(), kafka)
        self._counts = counts

    def settled(self, report: BatchReport) -> None:
        """See ``Observer``."""
        for partition, part in report.partitions.items():
            self._counts.setdefault(partition, OutcomeCounts()).add(part)

    def rejected(self, record: Record, rejected: Rejected) -> None:
        """See ``Observer``: the report has the reasons, the dead letters have the rest."""

    def assigned(self, partitions: Collection[TopicPartition], epoch: int) -> None:
        """See ``Observer``: there is no group."""

    def committed(self, offsets: Mapping[TopicPartition, int], seconds: float) -> None:
        """See ``Observer``: no offset of a group is moved."""


class _ReplayTopics:
    """Whether the topics are still those that they were when the replay began."""

    def __init__(self, opened: ReplayResources) -> None:
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

    async def unread(self, left: Iterable[OffsetRange]) -> list[UnreadRange]:
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
