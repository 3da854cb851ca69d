"""The composition root: builds, opens, runs, closes. Only here all rooms meet."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import assert_never

from consumer import __version__, signals, wiring
from consumer.aio import run_unless_stopped, supervise
from consumer.checks import CheckResult, CheckStatus, raise_if_failed
from consumer.contract.record import Offsets, TopicPartition
from consumer.engine.runner import StopReason
from consumer.errors import ConsumerError, ExitCode, SettingsError, TaskDiedError, TransientError
from consumer.kafka.admin import TopicDescription, open_admin
from consumer.kafka.client import open_group_client
from consumer.kafka.committed import AcceptedTarget
from consumer.kafka.dead_letter_topic import KafkaDeadLetters, dead_letters_to
from consumer.kafka.decompression import check_codecs
from consumer.kafka.end_offsets import watch_end_offsets
from consumer.kafka.range_reader import open_range_reader
from consumer.kafka.source import KafkaSource
from consumer.mongo.store import OpenStore, open_store
from consumer.observability.health import Health
from consumer.observability.http_server import serve
from consumer.observability.incidents import RecentIncidents
from consumer.observability.instance_status import StatusReader
from consumer.observability.logs import configure_logging, get_logger, log_ended, log_exit
from consumer.observability.metrics import Metrics
from consumer.observability.observer import EngineObserver
from consumer.settings.model import KafkaSettings, Settings
from consumer.settings.sources import exposed_files

CLOSE_SHARE = 0.2
"""The part of the drain deadline that each connection may take to close."""


def accept(results: Collection[CheckResult]) -> None:
    """Log each warning; raise ``PreconditionError`` where a result failed."""
    for found in results:
        if found.status is CheckStatus.WARNING:
            said = f"{found.detail}; fix: {found.fix}"
            get_logger().warning("precondition", subject=found.name, message=said)
    raise_if_failed(results)


@dataclass(frozen=True, slots=True)
class Resources:
    """What a run needs of the world, open and checked."""

    topics: Mapping[str, TopicDescription]
    store: OpenStore
    source: KafkaSource
    dead_letters: KafkaDeadLetters


@asynccontextmanager
async def open_resources(settings: Settings, observer: EngineObserver) -> AsyncIterator[Resources]:
    """Open what a run needs, after its preconditions; close it in the opposite order.

    Raises ``PreconditionError`` naming each precondition that fails, with its fix.
    """
    check_codecs()
    policy = wiring.startup_policy(settings, observer.starting)
    closing = settings.engine.drain_deadline * CLOSE_SHARE
    async with AsyncExitStack() as stack:
        # Connects at its first command: a URI that cannot be used is told before a server is asked.
        store = await stack.enter_async_context(
            open_store(settings.mongo, observer.activity_refused)
        )
        topics, results = await wiring.retry_until(
            "Kafka", lambda: wiring.preflight_kafka(settings), policy, to="describe its topics"
        )
        observer.kafka_answers(True)  # noqa: FBT003 -- it is all there is to say
        accept(results)
        await wiring.await_database(store, policy)
        observer.mongodb_answers(True)  # noqa: FBT003 -- likewise
        # Before anything is made: of collections that are not there yet nobody has stored any.
        ask_target = partial(wiring.retry_until, "MongoDB", store.target, policy)
        with suppress(TransientError):  # then it is found out at the first assignment
            await wiring.describe_own_group(settings, ask_target)
        # Not cut short: an index over many documents takes longer to build than any start.
        made = wiring.retry_until(
            "MongoDB", store.run_preflight, policy, to="make collections and indexes", cancel=False
        )
        accept(await made)
        target = await ask_target()
        described = topics.get(settings.dead_letters.topic)
        letters = dead_letters_to(settings.kafka, settings.dead_letters, described)
        stack.push_async_callback(letters.close, closing)
        source = KafkaSource(
            partial(open_group_client, settings.kafka),
            request_timeout=settings.kafka.request_timeout,
            max_batch_bytes=settings.engine.max_batch_bytes,
            topics=settings.kafka.topics,
            metadata_max_age=settings.kafka.metadata_max_age,
            accepted=AcceptedTarget(target, settings.mongo.moved_from),
        )
        stack.push_async_callback(source.close, closing)
        yield Resources(topics, store, source, letters)


def build_observer(settings: Settings, metrics: Metrics, health: Health) -> EngineObserver:
    """Return whom the engine tells what happens.

    Raises ``SettingsError`` where spans are asked for and nothing could take them.
    """
    if not settings.tracing.enabled:
        return EngineObserver(metrics, health, settings.kafka)
    try:
        # Loads OpenTelemetry, which need not be installed.
        from consumer.observability.tracing import open_tracing  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"tracing.enabled is true, and {error.name} is not installed: "
            "pip install 'conversation-consumer[otel]'"
        ) from None
    return open_tracing(settings.kafka, metrics, health)


@dataclass(frozen=True, slots=True)
class LogEnds:
    """Where the subscribed partitions ended at the start.

    ``stable``: up to where each could be read. ``held_back``: where those end of which an open
    transaction kept more from being read.
    """

    stable: Offsets
    held_back: Offsets


async def fetch_ends(settings: Settings) -> LogEnds:
    """Return where every subscribed partition ends now."""
    async with open_range_reader(settings.kafka) as reader:
        partitions = await reader.partitions_of(settings.kafka.topics)
        ahead = await reader.high_watermarks(partitions)
        stable = await reader.end_offsets(partitions)
        return LogEnds(stable, {p: end for p, end in ahead.items() if end > stable[p]})


async def warn_of_open_transactions(kafka: KafkaSettings, ends: LogEnds) -> None:
    """Say which offsets of the start are still not read, now that the group has caught up."""
    if not ends.held_back:
        return
    committed: Offsets = {}
    with suppress(ConsumerError, TimeoutError):
        async with asyncio.timeout(kafka.request_timeout), open_admin(kafka) as admin:
            committed = (await admin.describe_group(kafka.group_id)).offsets
    left = {
        partition.name: end - max(ends.stable[partition], committed.get(partition, 0))
        for partition, end in ends.held_back.items()
    }
    if offsets := {name: count for name, count in left.items() if count > 0}:
        get_logger().warning("open_transactions_not_awaited", offsets=offsets)


async def run_consumer(settings: Settings, *, until_caught_up: bool) -> ExitCode:
    """Consume until a signal, or until the ends found at start are committed.

    Returns how the process ends; raises a ``ConsumerError`` that carries its exit code, where
    it has not been logged.
    """
    metrics, incidents = Metrics(), RecentIncidents()
    configure_logging(settings, incidents=incidents, on_dropped=metrics.log_lines_dropped.inc)
    try:
        reason = await _run(settings, metrics, incidents, until_caught_up=until_caught_up)
    except TaskDiedError as error:
        get_logger().critical("died", exc_info=True)
        return log_exit(error, settings.log)
    except ConsumerError as error:
        return log_exit(error, settings.log)
    except Exception as error:  # noqa: BLE001 -- see below
        # A defect. Python's own traceback would quote data, and its exit code be that of a check.
        get_logger().critical("died", exc_info=True)
        died = TaskDiedError(f"ended by {type(error).__name__}; the log says where")
        return log_exit(died, settings.log)
    log_ended("info", end=reason.value)
    match reason:
        case StopReason.STOPPED | StopReason.CAUGHT_UP:
            return ExitCode.DONE
        case StopReason.DEADLINE:
            return ExitCode.DEADLINE
        case _:
            assert_never(reason)


async def _run(
    settings: Settings, metrics: Metrics, incidents: RecentIncidents, *, until_caught_up: bool
) -> StopReason:
    health = Health()
    observer = build_observer(settings, metrics, health)
    stop = asyncio.Event()
    signals.stop_on_signal(stop, lambda number: get_logger().info("stopping", signal=number.name))
    signals.resume_on_signal(lambda: get_logger().warning("nothing_to_resume"))
    get_logger().info("starting", version=__version__, group=settings.kafka.group_id)
    for variable in exposed_files():
        get_logger().warning("secret_readable_by_all", variable=variable)
    async with AsyncExitStack() as stack:
        status = StatusReader(settings, health, metrics, incidents)
        stack.enter_context(serve(settings.http, health, metrics, status))
        opening = stack.enter_async_context(open_resources(settings, observer))
        resources = await run_unless_stopped(stop, opening)
        if resources is None:
            return StopReason.STOPPED
        ends = None
        if until_caught_up:
            policy = wiring.startup_policy(settings, observer.starting)
            asking = wiring.retry_until(
                "Kafka", lambda: fetch_ends(settings), policy, to="tell where the topics end"
            )
            ends = await run_unless_stopped(stop, asking)
            if ends is None:
                return StopReason.STOPPED
        engine = wiring.build_engine(
            source=resources.source,
            store=resources.store,
            dead_letters=resources.dead_letters,
            planner=wiring.build_planner(
                settings, wiring.build_retention(settings, resources.topics)
            ),
            build_dead_letter=wiring.dead_letter_builder(settings),
            observer=observer,
            config=wiring.engine_config(settings, resources.topics),
        )
        signals.resume_on_signal(engine.runner.resume)
        get_logger().info("joining", topics=list(settings.kafka.topics))
        observer.starting(f"waits for group {settings.kafka.group_id} to assign partitions")
        running = engine.runner.run(stop, None if ends is None else ends.stable)
        reason = await _supervise(settings, resources, engine, observer, running)
        if ends is not None and reason is StopReason.CAUGHT_UP:
            await warn_of_open_transactions(settings.kafka, ends)
    return reason


async def _supervise(
    settings: Settings,
    resources: Resources,
    engine: wiring.Engine,
    observer: EngineObserver,
    running: Awaitable[StopReason],
) -> StopReason:
    """Await the run with everything beside it that must not end before it."""

    def assigned() -> list[TopicPartition]:
        return [state.partition for state in engine.runner.ledger]

    ends = watch_end_offsets(
        settings.kafka, assigned, engine.watchdog.learn_ends, observer.kafka_answers
    )
    mongodb = resources.store.watch_answers(observer.mongodb_answers)
    indexes = resources.store.watch_indexes(
        lambda error: get_logger().warning("indexes_not_verified", cause=error.cause)
    )
    background = {"watchdog": engine.watchdog.run(), "ends": ends}
    try:
        return await supervise(running, {**background, "indexes": indexes, "mongodb": mongodb})
    finally:
        observer.log_totals(final=True)
