"""How the parts are put together, and how long each command waits for its servers."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain, repeat
from typing import TypeVar

from consumer import __version__
from consumer.aio import Backoff
from consumer.checks import CheckResult
from consumer.contract.dead_letter import DeadLetter, dead_letter
from consumer.contract.record import Record
from consumer.contract.rejection import Rejected
from consumer.engine.breaker import Breaker, BreakerLimits
from consumer.engine.pipeline import Pipeline, Planner, RecordPlanner
from consumer.engine.runner import EngineConfig, Runner
from consumer.engine.watchdog import Watchdog
from consumer.errors import PreconditionError, TransientError
from consumer.kafka.admin import GroupDescription, TopicDescription, open_admin
from consumer.kafka.committed import AcceptedTarget
from consumer.kafka.kafka_preflight import check_kafka
from consumer.mongo.store import OpenStore
from consumer.observability.logs import get_logger
from consumer.ports import DeadLetters, Observer, Source, Store, Target
from consumer.settings.model import Settings
from consumer.settings.values import OnGap
from consumer.state.retention import Retention

T = TypeVar("T")

STARTUP_PAUSE = 2.0
"""Seconds between two attempts of a start at most: somebody waits for it."""

SOON = 5.0
"""Seconds after which a start says first that the database does not answer, and asks again."""


def utc_now() -> datetime:
    """Return the wall clock's time, as brokers and people know it."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long a server is waited for: until ``deadline``, by the loop's clock; else for ever.

    ``timeout``: how many seconds that were when the waiting began. ``waiting`` is told what is
    waited for, and why there was no answer yet.
    """

    backoff: Backoff
    deadline: float = math.inf
    timeout: float = math.inf
    waiting: Callable[[str], object] = str


def startup_policy(settings: Settings, waiting: Callable[[str], object] = str) -> RetryPolicy:
    """Return how long a start that begins now waits for all its servers together.

    ``waiting``: see ``RetryPolicy``.
    """
    engine = settings.engine
    return RetryPolicy(
        Backoff(engine.backoff_initial, min(engine.backoff_max, STARTUP_PAUSE)),
        asyncio.get_running_loop().time() + engine.startup_timeout,
        engine.startup_timeout,
        waiting,
    )


async def retry_until(
    server: str,
    ask: Callable[[], Awaitable[T]],
    policy: RetryPolicy,
    *,
    to: str = "answer",
    cancel: bool = True,
    reason: Callable[[], str] = str,
) -> T:
    """Ask until there is an answer, or the policy's deadline has come; once at least.

    ``to``: what the server is to do; ``cancel``: the deadline also ends an attempt that is under
    way; ``reason``: what may be known then of why there was no answer. Raises
    ``PreconditionError`` when the time is over.
    """
    waits = f"waits for {server} to {to}"
    policy.waiting(waits)
    clock = asyncio.get_running_loop().time
    until = None if policy.deadline == math.inf else policy.deadline
    attempt, said = 0, "it says nothing"
    while clock() < policy.deadline or not attempt:
        try:
            async with asyncio.timeout_at(until if cancel else None):
                return await ask()
        except TransientError as error:
            attempt, said = attempt + 1, str(error)
            policy.waiting(f"{waits}: {said}, attempt {attempt}")
            get_logger().warning(
                "waiting_for_server", server=server, cause=error.cause, detail=error.detail
            )
        except TimeoutError:
            break
        delay = policy.backoff.delay(attempt, random.random())  # noqa: S311 -- jitter
        await asyncio.sleep(max(min(delay, policy.deadline - clock()), 0.0))
    raise PreconditionError(
        f"{server} did not answer within {policy.timeout:g} s "
        f"({reason() or said}); consumer check says more"
    )


async def retry_at_start(settings: Settings, server: str, ask: Callable[[], Awaitable[T]]) -> T:
    """Ask until there is an answer, as long as a start that begins now may wait."""
    return await retry_until(server, ask, startup_policy(settings))


async def await_database(store: OpenStore, policy: RetryPolicy) -> None:
    """Ask until the database answers. Raises ``PreconditionError`` where it does not in time."""
    # The later attempts take their time, or a connection that needs longer would never be made.
    within = chain([SOON], repeat(math.inf))
    await retry_until("MongoDB", lambda: store.answer(next(within)), policy, reason=store.trouble)


async def preflight_kafka(
    settings: Settings,
) -> tuple[dict[str, TopicDescription], list[CheckResult]]:
    """Return the topics that the settings name, as the brokers describe them, and the checks.

    Raises ``TransientError`` while no broker answers, ``PreconditionError`` where one refuses us.
    """
    async with open_admin(settings.kafka) as admin:
        topics = await admin.describe([*settings.kafka.topics, settings.dead_letters.topic], None)
        return topics, await check_kafka(settings, admin, topics)


async def describe_own_group(
    settings: Settings, ask_target: Callable[[], Awaitable[Target]]
) -> GroupDescription:
    """Return the group, whose records must not have been stored elsewhere than in the target.

    That is asked for behind the group, whose first instance may just be making the collections.
    Raises ``PreconditionError`` where its offsets say they were, ``TransientError`` while no broker
    answers.
    """
    async with open_admin(settings.kafka) as admin:
        group = await admin.describe_group(settings.kafka.group_id)
    AcceptedTarget(await ask_target(), settings.mongo.moved_from).check(
        {p: kept for p, kept in group.committed.items() if p.topic in settings.kafka.topics}
    )
    return group


def dead_letter_builder(settings: Settings) -> Callable[[Record, Rejected], DeadLetter]:
    """Return what turns a rejected record into its dead letter, stamped with the present."""

    def build(record: Record, rejected: Rejected) -> DeadLetter:
        return dead_letter(
            record,
            rejected,
            group=settings.kafka.group_id,
            failed_at=utc_now(),
            consumer_version=__version__,
        )

    return build


def build_retention(settings: Settings, topics: Mapping[str, TopicDescription]) -> Retention | None:
    """Return how long documents are kept, None for ever."""
    days = settings.mongo.retention_days
    if days is None:
        return None
    oldest = {name: topic.oldest_possible for name, topic in topics.items()}
    told = {name: age for name, age in oldest.items() if age is not None}
    return Retention(timedelta(days=days), told)


async def ask_retention(settings: Settings) -> Retention | None:
    """Return how long documents are kept; where that is limited, the brokers are asked.

    Raises ``PreconditionError`` where they do not answer in time.
    """
    if settings.mongo.retention_days is None:
        return None

    async def describe() -> dict[str, TopicDescription]:
        async with open_admin(settings.kafka) as admin:
            return await admin.describe(settings.kafka.topics, None)

    topics = await retry_at_start(settings, "Kafka", describe)
    return build_retention(settings, topics)


def build_planner(settings: Settings, retention: Retention | None) -> RecordPlanner:
    """Return what decodes and plans a record under the policies of the settings."""
    return RecordPlanner(
        settings.kafka.key_policy,
        retention,
        utc_now,
        settings.kafka.max_value_bytes,
    )


@dataclass(frozen=True, slots=True)
class Engine:
    """The drive over a source and a store, and what is to run beside it, as long as it does."""

    runner: Runner
    watchdog: Watchdog


def engine_config(settings: Settings, topics: Mapping[str, TopicDescription]) -> EngineConfig:
    """Return what the settings say of the engine."""
    engine, letters = settings.engine, settings.dead_letters
    kept = {name: topic.retention_ms for name, topic in topics.items()}
    return EngineConfig(
        max_poll_records=engine.max_poll_records,
        batches_in_flight=engine.batches_in_flight,
        commit_interval=engine.commit_interval,
        drain_deadline=engine.drain_deadline,
        rebalance_timeout=settings.kafka.rebalance_timeout,
        stop_on_gap=settings.kafka.on_gap is OnGap.STOP,
        backoff=Backoff(engine.backoff_initial, engine.backoff_max),
        breaker=BreakerLimits(
            letters.breaker_share, letters.breaker_window, letters.breaker_minimum
        ),
        stall_after=engine.stall_after,
        retention_ms={name: ms for name, ms in kept.items() if ms is not None},
    )


def build_engine(  # noqa: PLR0913 -- each part is named once, here
    *,
    source: Source,
    store: Store,
    dead_letters: DeadLetters,
    planner: Planner,
    build_dead_letter: Callable[[Record, Rejected], DeadLetter],
    observer: Observer,
    config: EngineConfig,
    jitter: Callable[[], float] = random.random,
    now: Callable[[], datetime] = utc_now,
) -> Engine:
    """Put the engine together; needs a running event loop.

    ``jitter`` returns a number in [0, 1) for waits; ``now`` is the wall clock.
    """
    pipeline = Pipeline(
        planner=planner,
        store=store,
        dead_letters=dead_letters,
        build_dead_letter=build_dead_letter,
        breaker=Breaker(config.breaker),
        backoff=config.backoff,
        observer=observer,
        jitter=jitter,
        now=now,
    )
    runner = Runner(source=source, pipeline=pipeline, observer=observer, config=config)

    def wall_clock() -> float:
        return now().timestamp()

    watchdog = Watchdog(
        source, runner.ledger, observer, config.stall_after, wall_clock, config.retention_ms
    )
    return Engine(runner, watchdog)
