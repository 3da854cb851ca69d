"""The engine as the service wires it, with a store in memory and everything it says kept."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any, cast
from unittest.mock import patch

import structlog
from structlog.testing import LogCapture

from consumer.aio import Backoff
from consumer.contract.dead_letter import DeadLetter, dead_letter
from consumer.contract.record import Record, TopicPartition
from consumer.contract.rejection import KeyPolicy, Rejected
from consumer.engine import runner, watchdog
from consumer.engine.breaker import BreakerLimits
from consumer.engine.pipeline import RecordPlanner
from consumer.engine.runner import EngineConfig, StopReason
from consumer.kafka.client import GroupClient, RebalanceCallbacks, open_group_client
from consumer.kafka.source import KafkaSource
from consumer.mongo.store import MongoStore
from consumer.observability.health import Health
from consumer.observability.metrics import Metrics
from consumer.observability.observer import EngineObserver
from consumer.ports import DeadLetters, Observer, WriteBatch
from consumer.settings.model import KafkaSettings
from consumer.state.outcomes import Result
from consumer.state.writes import Write
from consumer.wiring import build_engine, utc_now
from tests import builders
from tests.fakes.collections import MemoryCollections
from tests.fakes.observer import RecordingObserver
from tests.faults.kafka.reading import publish

EventKey = tuple[str, str]


def event_value(partition: TopicPartition, number: int) -> bytes:
    """The n-th event of a partition; all of one partition are of one session."""
    return builders.encoded(builders.event(session_of(partition), f"e-{number}"))


def session_of(partition: TopicPartition) -> str:
    return f"{partition.topic}-{partition.partition}"


async def publish_events(
    bootstrap_servers: str, counts: Mapping[TopicPartition, int], *, first: int = 0
) -> None:
    """Send so many events to each partition, numbered from ``first`` on."""
    await publish(
        bootstrap_servers, counts, value=lambda where, number: event_value(where, first + number)
    )


def event_keys(counts: Mapping[TopicPartition, int]) -> set[EventKey]:
    """What must be stored in the end."""
    return {
        (session_of(p), f"e-{number}") for p, count in counts.items() for number in range(count)
    }


class WatchedStore:
    """A store in memory that can be made to wait. ``applied``: how often each event was sent."""

    def __init__(self) -> None:
        self.collections = MemoryCollections()
        self._store = MongoStore(self.collections)
        self.applied: Counter[EventKey] = Counter()
        self.open = asyncio.Event()
        self.open.set()
        self.entered = asyncio.Event()

    def prepare(self, writes: Sequence[Write]) -> WriteBatch:
        return partial(self._execute, self._store.prepare(writes), writes)

    async def _execute(self, batch: WriteBatch, writes: Sequence[Write]) -> Sequence[Result]:
        self.entered.set()
        await self.open.wait()
        results = await batch()
        self.applied.update(cast("EventKey", write.identity[-2:]) for write in writes)
        return results

    def forget(self) -> None:
        self._store.forget()

    @property
    def events(self) -> set[EventKey]:
        return set(self.collections.events)


class Letters:
    """Takes dead letters and keeps them."""

    def __init__(self) -> None:
        self.sent: list[DeadLetter] = []

    async def send(self, letters: Sequence[DeadLetter]) -> None:
        self.sent += letters


class _Told:
    """Hands what happens to several observers, then wakes who waits for news."""

    def __init__(self, observers: Sequence[Observer], news: asyncio.Event) -> None:
        self._observers = observers
        self._news = news

    def __getattr__(self, name: str) -> Callable[..., None]:
        def tell(*facts: Any, **named: Any) -> None:
            for observer in self._observers:
                getattr(observer, name)(*facts, **named)
            self._news.set()

        return tell


class Member:
    """One instance of the service. Use ``running``."""

    def __init__(
        self,
        kafka: KafkaSettings,
        store: WatchedStore,
        letters: DeadLetters,
        drain_deadline: float,
        stall_after: float,
        batches_in_flight: int,
        logger: Any,
    ) -> None:
        self._kafka = kafka
        self.store = store
        self.seen = RecordingObserver()
        self.metrics, self.health = Metrics(), Health()
        self.log = LogCapture()
        self._news = asyncio.Event()
        logger = logger or structlog.wrap_logger(None, processors=[self.log])
        speaking = EngineObserver(self.metrics, self.health, kafka, log=logger)
        observer = cast("Observer", _Told([self.seen, speaking], self._news))
        self.source = KafkaSource(
            self._open,
            request_timeout=kafka.request_timeout,
            max_batch_bytes=2**24,
            topics=kafka.topics,
            metadata_max_age=kafka.metadata_max_age,
        )
        self.clients: list[GroupClient] = []
        engine = build_engine(
            source=self.source,
            store=store,
            dead_letters=letters,
            planner=RecordPlanner(KeyPolicy.WARN, None, utc_now),
            build_dead_letter=_letter,
            observer=observer,
            config=EngineConfig(
                max_poll_records=500,
                batches_in_flight=batches_in_flight,
                commit_interval=0.1,
                drain_deadline=drain_deadline,
                rebalance_timeout=kafka.rebalance_timeout,
                stop_on_gap=False,
                backoff=Backoff(0.05, 0.3),
                breaker=BreakerLimits(1.0, 100, 100),
                stall_after=stall_after,
            ),
            jitter=lambda: 0.5,
        )
        self.runner, self.watchdog = engine.runner, engine.watchdog
        self.stop = asyncio.Event()
        self.ended: asyncio.Future[StopReason] | None = None

    async def _open(self, callbacks: RebalanceCallbacks) -> GroupClient:
        client = await open_group_client(self._kafka, callbacks)
        assert isinstance(client, GroupClient)
        self.clients.append(client)
        return client

    @property
    def consumer(self) -> Any:
        """What aiokafka has behind the client in use."""
        return self.clients[-1]._consumer

    def is_ready(self) -> bool:
        """What a readiness probe would be told."""
        return not self.health.unready_reasons()

    @property
    def committed(self) -> dict[TopicPartition, int]:
        """What this member has committed, the last of each partition."""
        return {p: offset for offsets in self.seen.commits for p, offset in offsets.items()}

    def said(self, event: str) -> list[Any]:
        """The log lines of that event."""
        return [line for line in self.log.entries if line["event"] == event]

    async def last(self, seconds: float) -> None:
        """Let time pass, so that what must not happen could."""
        assert self.ended is not None
        await asyncio.wait([self.ended], timeout=seconds)
        assert not self.ended.done(), f"it ended: {self.ended}\n{self}"

    async def until(self, holds: Callable[[], bool], *, seconds: float = 20.0) -> None:
        """Return when ``holds``; looked at whenever the engine has something to tell."""
        try:
            async with asyncio.timeout(seconds):
                while not holds():
                    if self.ended is not None and self.ended.done():
                        raise AssertionError(f"it ended: {self.ended}\n{self}")
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"not within {seconds:g} s\n{self}") from None

    def __str__(self) -> str:
        lines = "\n  ".join(str(line) for line in self.log.entries[-15:])
        return f"unready: {self.health.unready_reasons()}, last lines:\n  {lines}"


def _letter(record: Record, rejected: Rejected) -> DeadLetter:
    return dead_letter(
        record,
        rejected,
        group="group",
        failed_at=datetime(2026, 3, 4, tzinfo=UTC),
        consumer_version="0",
    )


@contextmanager
def _impatient() -> Iterator[None]:
    """Let the engine look more often than a service has to, so that tests wait less."""
    with patch.object(watchdog, "INTERVAL", 0.2), patch.object(runner, "IDLE_POLL", 0.05):
        yield


@asynccontextmanager
async def running(
    kafka: KafkaSettings,
    store: WatchedStore | None = None,
    letters: DeadLetters | None = None,
    *,
    drain_deadline: float = 5.0,
    stall_after: float = 60.0,
    batches_in_flight: int = 3,
    logger: Any = None,
) -> AsyncIterator[Member]:
    """Run a member until the context ends; then it drains, commits and leaves."""
    member = Member(
        kafka,
        store or WatchedStore(),
        letters or Letters(),
        drain_deadline,
        stall_after,
        batches_in_flight,
        logger,
    )
    with _impatient():
        watching = asyncio.ensure_future(member.watchdog.run())
        member.ended = asyncio.ensure_future(member.runner.run(member.stop))
        try:
            yield member
            member.stop.set()
            await member.ended
        finally:
            watching.cancel()
            member.ended.cancel()
            await asyncio.gather(watching, member.ended, return_exceptions=True)
            await member.source.close(timeout=1.0)
