"""The composition root: builds, opens, runs, closes. Only here all rooms meet."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TypeVar, assert_never

from consumer import __version__, signals
from consumer.checks import CheckResult, CheckStatus, raise_if_failed
from consumer.contract.dead_letter import DeadLetter, dead_letter, min_dead_letter_bytes
from consumer.contract.record import Record, TopicPartition
from consumer.contract.rejection import Rejected
from consumer.engine.breaker import Breaker, BreakerLimits
from consumer.engine.pipeline import Pipeline, RecordPlanner
from consumer.engine.retention_watch import RetentionWatch
from consumer.engine.retry import Backoff
from consumer.engine.runner import Limits, RunEnd, Runner
from consumer.engine.supervise import TaskDiedError, supervise
from consumer.engine.watchdog import Watchdog
from consumer.errors import ConsumerError, ExitCode, PreconditionError, TransientError
from consumer.kafka.client import open_client
from consumer.kafka.codecs import check_codecs
from consumer.kafka.committed import AcceptedTarget
from consumer.kafka.dead_letters import (
    KafkaDeadLetters,
    asked_letter_limit,
    letter_limit,
    open_producer,
)
from consumer.kafka.group_grants import check_kafka
from consumer.kafka.groups import describe_group
from consumer.kafka.range_reader import keep_ends_told, open_range_reader
from consumer.kafka.source import KafkaSource
from consumer.kafka.topics import TopicDescription, open_admin
from consumer.mongo.store import OpenStore, open_store
from consumer.observability.health import Health, serve
from consumer.observability.log_writer import LogWriter
from consumer.observability.logs import configure_logging, get_logger, tell_end
from consumer.observability.metrics import Metrics
from consumer.observability.observer import EngineObserver
from consumer.settings import OnGap, Settings, exposed_files
from consumer.state.retention import Retention

T = TypeVar("T")

CLOSE_SHARE = 0.2
"""The part of the drain deadline that each connection may take to close."""


def dead_letter_builder(settings: Settings) -> Callable[[Record, Rejected], DeadLetter]:
    """Return what turns a rejected record into its dead letter, stamped with the present."""

    def build(record: Record, rejected: Rejected) -> DeadLetter:
        return dead_letter(
            record,
            rejected,
            group=settings.kafka.group_id,
            failed_at=datetime.now(UTC),
            consumer_version=__version__,
        )

    return build


def dead_letters_of(settings: Settings, topics: Mapping[str, TopicDescription]) -> KafkaDeadLetters:
    """Return what sends dead letters as large as their topic takes them."""
    kafka, letters = settings.kafka, settings.dead_letters
    described = topics.get(letters.topic)
    return KafkaDeadLetters(
        partial(open_producer, kafka, letters),
        letters.topic,
        limit=letter_limit(letters, None if described is None else described.max_message_bytes),
        smallest=min_dead_letter_bytes(kafka.topics, kafka.group_id, __version__),
        ask_limit=partial(asked_letter_limit, kafka, letters),
        timeout=kafka.request_timeout,
    )


def retention_of(settings: Settings, topics: Mapping[str, TopicDescription]) -> Retention | None:
    """Return how long documents are kept, None for ever."""
    days = settings.mongo.retention_days
    if days is None:
        return None
    oldest = {name: topic.oldest_possible for name, topic in topics.items()}
    told = {name: age for name, age in oldest.items() if age is not None}
    return Retention(timedelta(days=days), told)


async def asked_retention(settings: Settings) -> Retention | None:
    """Return how long documents are kept; where that is limited, the brokers are asked.

    Raises ``PreconditionError`` where they do not answer in time.
    """
    if settings.mongo.retention_days is None:
        return None
    topics, _ = await until_answered("Kafka", lambda: surveyed(settings), settings)
    return retention_of(settings, topics)


def planner_of(settings: Settings, retention: Retention | None) -> RecordPlanner:
    """Return what decodes and plans a record under the policies of the settings."""
    return RecordPlanner(
        settings.kafka.key_policy,
        retention,
        lambda: datetime.now(UTC),
        settings.kafka.max_value_bytes,
    )


def patience_of(settings: Settings) -> float:
    """Return until when, by the loop's clock, a start that begins now waits for all its servers."""
    return asyncio.get_running_loop().time() + settings.engine.startup_timeout


async def until_answered(
    what: str,
    ask: Callable[[], Awaitable[T]],
    settings: Settings,
    deadline: float | None = None,
    *,
    cut: bool = True,
    why: Callable[[], str] = str,
) -> T:
    """Ask until there is an answer or the ``deadline``, see ``patience_of``, has come.

    ``cut``: also in the middle of an attempt; ``why``: what may be known then of the reason.
    Raises ``PreconditionError`` when the time is over.
    """
    backoff = Backoff(settings.engine.backoff_initial, min(settings.engine.backoff_max, 2.0))
    clock = asyncio.get_running_loop().time
    until = patience_of(settings) if deadline is None else deadline
    attempt, said = 0, "it says nothing"
    while clock() < until or not attempt:
        try:
            async with asyncio.timeout_at(until if cut else None):
                return await ask()
        except TransientError as error:
            attempt, said = attempt + 1, str(error)
            get_logger().warning(
                "waiting_for_server", server=what, cause=error.cause, detail=error.detail
            )
        except TimeoutError:
            break
        pause = backoff.delay(attempt, random.random())  # noqa: S311 -- jitter
        await asyncio.sleep(max(min(pause, until - clock()), 0.0))
    raise PreconditionError(
        f"{what} did not answer within {settings.engine.startup_timeout:g} s "
        f"({why() or said}); consumer check says more"
    )


def accept(results: Collection[CheckResult]) -> None:
    """Log each warning; raise ``PreconditionError`` where a result failed."""
    for found in results:
        if found.status is CheckStatus.WARNING:
            said = f"{found.detail}; fix: {found.fix}"
            get_logger().warning("precondition", subject=found.name, message=said)
    raise_if_failed(results)


async def surveyed(settings: Settings) -> tuple[dict[str, TopicDescription], list[CheckResult]]:
    """Return the topics that the settings name, as the brokers describe them, and what to say.

    Raises ``TransientError`` while no broker answers, ``PreconditionError`` where one refuses us.
    """
    async with open_admin(settings.kafka) as admin:
        topics = await admin.describe([*settings.kafka.topics, settings.dead_letters.topic], None)
        return topics, await check_kafka(settings, admin, topics)


async def refuse_other_target(settings: Settings, accepted: AcceptedTarget) -> None:
    """Raise ``PreconditionError`` where the group's offsets speak of records stored elsewhere.

    Where the group does not answer that is found out at the first assignment.
    """
    try:
        async with open_admin(settings.kafka) as admin:
            committed = (await describe_group(admin, settings.kafka.group_id)).committed
    except TransientError:
        return
    accepted.check({p: kept for p, kept in committed.items() if p.topic in settings.kafka.topics})


@dataclass(frozen=True, slots=True)
class Parts:
    """What a run needs of the world, open and checked."""

    topics: Mapping[str, TopicDescription]
    store: OpenStore
    source: KafkaSource
    dead_letters: KafkaDeadLetters


@asynccontextmanager
async def opened(settings: Settings, observer: EngineObserver) -> AsyncIterator[Parts]:
    """Open what a run needs, after its preconditions; close it in the opposite order.

    Raises ``PreconditionError`` naming each precondition that fails, with its fix.
    """
    check_codecs()
    deadline = patience_of(settings)
    closing = settings.engine.drain_deadline * CLOSE_SHARE
    async with AsyncExitStack() as stack:
        # Connects at its first command: a URI that cannot be used is told before a server is asked.
        store = await stack.enter_async_context(
            open_store(settings.mongo, observer.activity_refused)
        )
        topics, results = await until_answered(
            "Kafka", lambda: surveyed(settings), settings, deadline
        )
        accept(results)
        await until_answered("MongoDB", store.answer, settings, deadline, why=store.trouble)
        # Not cut short: an index over many documents takes longer to build than any start.
        accept(await until_answered("MongoDB", store.run_preflight, settings, deadline, cut=False))
        target = await until_answered("MongoDB", store.target, settings, deadline)
        accepted = AcceptedTarget(target, settings.mongo.moved_from)
        await refuse_other_target(settings, accepted)
        letters = dead_letters_of(settings, topics)
        stack.push_async_callback(letters.close, closing)
        source = KafkaSource(
            partial(open_client, settings.kafka),
            request_timeout=settings.kafka.request_timeout,
            max_batch_bytes=settings.engine.max_batch_bytes,
            topics=settings.kafka.topics,
            metadata_max_age=settings.kafka.metadata_max_age,
            accepted=accepted,
        )
        stack.push_async_callback(source.close, closing)
        yield Parts(topics, store, source, letters)


def build_runner(settings: Settings, parts: Parts, observer: EngineObserver) -> Runner:
    """Wire the engine by hand, from the settings."""
    engine, letters = settings.engine, settings.dead_letters
    breaker = Breaker(
        BreakerLimits(letters.breaker_share, letters.breaker_window, letters.breaker_minimum)
    )
    backoff = Backoff(engine.backoff_initial, engine.backoff_max)
    chance = random.random
    pipeline = Pipeline(
        planner=planner_of(settings, retention_of(settings, parts.topics)),
        store=parts.store,
        dead_letters=parts.dead_letters,
        letter=dead_letter_builder(settings),
        breaker=breaker,
        backoff=backoff,
        chance=chance,
        observer=observer,
    )
    return Runner(
        source=parts.source,
        store=parts.store,
        pipeline=pipeline,
        breaker=breaker,
        backoff=backoff,
        chance=chance,
        observer=observer,
        limits=Limits(
            max_poll_records=engine.max_poll_records,
            batches_in_flight=engine.batches_in_flight,
            commit_interval=engine.commit_interval,
            drain_deadline=engine.drain_deadline,
            rebalance_timeout=settings.kafka.rebalance_timeout,
            stop_on_gap=settings.kafka.on_gap is OnGap.STOP,
        ),
    )


async def ends_of(settings: Settings) -> Mapping[TopicPartition, int]:
    """Return where every subscribed partition ends now."""
    async with open_range_reader(settings.kafka) as reader:
        return await reader.ends(await reader.partitions_of(settings.kafka.topics))


async def run_consumer(settings: Settings, *, until_caught_up: bool) -> ExitCode:
    """Consume until a signal, or until the ends found at start are committed.

    Returns how the process ends; raises a ``ConsumerError`` that carries its exit code, where
    it has not been logged.
    """
    writer = configure_logging(settings)
    try:
        return await _run(settings, writer, until_caught_up=until_caught_up)
    except TaskDiedError as error:
        get_logger().critical("died", exc_info=True)
        return tell_end(error, settings.log)
    except ConsumerError as error:
        return tell_end(error, settings.log)
    except Exception as error:  # noqa: BLE001 -- see below
        # A defect. Python's own traceback would quote data, and its exit code be that of a check.
        get_logger().critical("died", exc_info=True)
        died = TaskDiedError(f"ended by {type(error).__name__}; the log says where")
        return tell_end(died, settings.log)


async def _run(settings: Settings, writer: LogWriter, *, until_caught_up: bool) -> ExitCode:
    health, metrics = Health(), Metrics()
    metrics.watch(ready=lambda: health.readiness().good, log_lines_dropped=lambda: writer.dropped)
    observer = EngineObserver(metrics, health)
    stop = asyncio.Event()
    signals.stop_on_signal(stop, lambda number: get_logger().info("stopping", signal=number.name))
    runner: Runner | None = None

    def resume() -> None:
        if runner is None:
            get_logger().warning("nothing_to_resume")
        else:
            runner.resume()

    signals.resume_on_signal(resume)
    get_logger().info("starting", version=__version__, group=settings.kafka.group_id)
    for variable in exposed_files():
        get_logger().warning("secret_readable_by_all", variable=variable)
    async with AsyncExitStack() as stack:
        stack.enter_context(serve(settings.http, health, metrics))
        parts = await unless_stopped(stop, stack.enter_async_context(opened(settings, observer)))
        if parts is None:
            return ExitCode.DONE
        ends = None
        if until_caught_up:
            asked = until_answered("Kafka", lambda: ends_of(settings), settings)
            ends = await unless_stopped(stop, asked)
            if ends is None:
                return ExitCode.DONE
        runner = build_runner(settings, parts, observer)
        watchdog = Watchdog(
            source=parts.source,
            ledger=runner.ledger,
            observer=observer,
            stall_after=settings.engine.stall_after,
        )
        retention = RetentionWatch(
            logs=parts.source,
            unread=runner.unread,
            observer=observer,
            retention_ms={
                name: topic.retention_ms
                for name, topic in parts.topics.items()
                if topic.retention_ms is not None
            },
            now=time.time,
        )
        end = await supervise(
            runner.run(stop, ends),
            {
                "watchdog": watchdog.run(),
                "retention": retention.run(),
                "ends": keep_ends_told(
                    settings.kafka, lambda: list(runner.ledger), watchdog.learn_ends
                ),
                "indexes": parts.store.watch_indexes(
                    lambda error: get_logger().warning("indexes_not_verified", cause=error.cause)
                ),
            },
        )
        observer.tell_sums(final=True)
        get_logger().info("ended", end=end.value)
    return exit_code_of(end)


async def unless_stopped(stop: asyncio.Event, work: Coroutine[Any, Any, T]) -> T | None:
    """Await ``work``, or give it up and return None when ``stop`` is set first."""
    opening = asyncio.ensure_future(work)
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait([opening, stopping], return_when=asyncio.FIRST_COMPLETED)
        return opening.result() if opening.done() else None
    finally:
        for task in (opening, stopping):
            task.cancel()
        await asyncio.gather(opening, stopping, return_exceptions=True)


def exit_code_of(end: RunEnd) -> ExitCode:
    """Return the exit code of a run that ended by itself."""
    match end:
        case RunEnd.STOPPED | RunEnd.CAUGHT_UP:
            return ExitCode.DONE
        case RunEnd.DEADLINE:
            return ExitCode.DEADLINE
        case _:
            assert_never(end)
