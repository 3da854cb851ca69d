"""One consumer process: the real engine and adapters, over a simulated cluster and database."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from aiokafka.errors import KafkaTimeoutError, MessageSizeTooLargeError

from consumer.aio import Backoff, supervise
from consumer.contract.dead_letter import (
    dead_letter,
    serialized_size,
)
from consumer.contract.record import OffsetRange, Record, TopicPartition
from consumer.contract.rejection import KeyPolicy
from consumer.engine.breaker import BreakerLimits
from consumer.engine.pipeline import RecordPlanner
from consumer.engine.runner import EngineConfig, StopReason
from consumer.errors import TransientError
from consumer.kafka.client import GroupClient, RebalanceCallbacks
from consumer.kafka.dead_letter_topic import KafkaDeadLetters
from consumer.kafka.source import KafkaSource, OpenClient
from consumer.mongo.store import MongoStore
from consumer.ports import Observer, Polled
from consumer.state.outcomes import Mark, Result
from consumer.state.writes import Write
from consumer.wiring import Engine, build_engine
from tests import builders
from tests.fakes.producer import ACKNOWLEDGED, MemoryProducer, SentRecord
from tests.simulation.client import SimulatedClient
from tests.simulation.fetcher import ClientFaults
from tests.simulation.loop import Host
from tests.simulation.network import LostError, new_links
from tests.simulation.store import SimulatedCollections
from tests.simulation.witness import Witness

if TYPE_CHECKING:
    from tests.simulation.world import World

FAILED_AT = datetime(2026, 3, 4, 12, tzinfo=UTC)
NEVER_HELD = BreakerLimits(1.0, 100, 100)


@dataclass(frozen=True, slots=True)
class Shape:
    """What differs between deployments."""

    max_poll_records: int
    max_batch_bytes: int
    batches_in_flight: int
    commit_interval: float
    breaker: BreakerLimits = NEVER_HELD


@dataclass(slots=True)
class LetterTopic:
    """Takes dead letters of at most ``limit`` bytes."""

    take: Callable[[SentRecord], None]
    limit: int = 1024 * 1024

    def append(self, sent: SentRecord) -> None:
        """Keep a letter. Raises ``MessageSizeTooLargeError``."""
        if serialized_size(sent.key, sent.value, sent.headers) > self.limit:
            raise MessageSizeTooLargeError
        self.take(sent)


class WitnessedSource(KafkaSource):
    """Looks at how much one poll brings."""

    def __init__(self, open_client: OpenClient, world: World) -> None:
        self._report = world.checker.found.append
        self._bound = world.shape.max_batch_bytes
        self._gaps: Sequence[OffsetRange] = ()
        self._partitions = world.cluster.broker.logs.keys()
        self._seen: dict[TopicPartition, int | None] = {}
        self.moves: list[float] = []
        """When reading went on, be it over records that were aborted, at most twice a second."""
        super().__init__(
            open_client,
            request_timeout=world.times.request_timeout,
            max_batch_bytes=self._bound,
            topics=(builders.SESSIONS, builders.EVENTS),
            metadata_max_age=world.times.metadata_max_age,
        )

    async def poll(
        self, partitions: Collection[TopicPartition], max_records: int, timeout: float
    ) -> Polled:
        polled = await super().poll(partitions, max_records, timeout)
        weights = [_weight(record) for taken in polled.records.values() for record in taken]
        if len(weights) > 1 and sum(weights) > self._bound:
            self._report(f"{len(weights)} records of {sum(weights)} bytes in one poll")
        self._gaps = polled.gaps
        seen = {partition: self._position(partition) for partition in self._partitions}
        if any((at or 0) > (self._seen.get(partition) or 0) for partition, at in seen.items()):
            now = asyncio.get_running_loop().time()
            if not self.moves or now - self.moves[-1] > 0.5:
                self.moves.append(now)
        self._seen = seen
        return polled

    def passed(self, gap: OffsetRange) -> bool:
        """Tell whether everything in a gap had been read, or passed over, before it was told."""
        return gap not in self._gaps and (self._position(gap.partition) or 0) >= gap.end


class Process:
    """A consumer from its start to its end, whichever way it ends."""

    def __init__(self, host: Host, world: World, witness: Witness) -> None:
        self.host = host
        self.witness = witness
        self.links = new_links(world.times.request_timeout)
        self.faults = ClientFaults()
        self.client: SimulatedClient | None = None
        self.source: WitnessedSource | None = None
        self.end: StopReason | None = None
        self.released: dict[TopicPartition, tuple[int, int]] = {}
        """Epoch and offset at which an operator let a held partition go on."""
        self.task: asyncio.Task[None] | None = None
        self._world = world
        self._planner = RecordPlanner(KeyPolicy.WARN, None, lambda: FAILED_AT)
        self.planned: Counter[TopicPartition] = Counter()
        """How many deliveries of each partition have reached the pipeline."""

    def start(self, until: Mapping[TopicPartition, int] | None = None) -> None:
        """Begin; call in the process's own context."""
        self.stop = asyncio.Event()
        self.task = asyncio.ensure_future(self._main(until))

    @property
    def running(self) -> bool:
        """Whether it is alive and has not ended."""
        return self.host.alive and self.task is not None and not self.task.done()

    @property
    def epoch(self) -> int:
        """The number of its assignment."""
        return self.runner.ledger.epoch

    def holds(self, partition: TopicPartition) -> bool:
        """Tell whether it reads the partition now."""
        reads = self.running and self.source is not None
        return reads and self.runner.ledger.position(partition) is not None

    async def _main(self, until: Mapping[TopicPartition, int] | None) -> None:
        world, times = self._world, self._world.times
        self.source = source = WitnessedSource(self._open_client, world)
        letters = KafkaDeadLetters(
            self._start_producer,
            builders.LETTERS,
            limit=world.letters.limit,
            smallest=1,
            ask_limit=self._letter_limit,
            timeout=times.request_timeout,
        )
        engine = self._engine(source, letters)
        self.runner = engine.runner
        try:
            self.end = await supervise(
                self.runner.run(self.stop, until), {"watchdog": engine.watchdog.run()}
            )
        finally:
            await source.close(times.close_timeout)
            await letters.close()

    def _engine(self, source: KafkaSource, letters: KafkaDeadLetters) -> Engine:
        world, times, shape = self._world, self._world.times, self._world.shape
        return build_engine(
            source=source,
            store=MongoStore(
                SimulatedCollections(world.database, world.cluster.network, self.links["store"])
            ),
            dead_letters=letters,
            planner=self._plan,
            build_dead_letter=_letter,
            observer=cast("Observer", self.witness),
            config=EngineConfig(
                max_poll_records=shape.max_poll_records,
                batches_in_flight=shape.batches_in_flight,
                commit_interval=shape.commit_interval,
                drain_deadline=times.drain_deadline,
                rebalance_timeout=times.rebalance_timeout,
                stop_on_gap=False,
                backoff=Backoff(times.backoff_initial, times.backoff_max),
                breaker=shape.breaker,
                stall_after=times.stall_after,
            ),
            jitter=world.clients_chance.random,
            now=lambda: FAILED_AT,
        )

    def _plan(self, record: Record) -> tuple[Write | Result, Mark]:
        self.planned[record.topic_partition] += 1
        return self._planner(record)

    async def _open_client(self, callbacks: RebalanceCallbacks) -> GroupClient:
        cluster = self._world.cluster
        try:
            await cluster.network.call(self.links["data"], lambda: None)
        except LostError:
            raise TransientError("KafkaConnectionError", "connect failed") from None
        if self.client is not None and not self.client.closing:
            self._world.checker.found.append(f"{self.host.name} is a member of the group twice")
        # What was wrong with the client before is not wrong with this one.
        self.faults = ClientFaults()
        self.client = SimulatedClient(
            cluster,
            self.links,
            callbacks,
            self._world.times,
            self.faults,
            self._world.clients_chance,
        )
        return cast("GroupClient", self.client)

    async def _letter_limit(self) -> int:
        return self._world.letters.limit

    async def _start_producer(self, _limit: int) -> Any:
        producer = MemoryProducer(self._transmit, self._connect)
        await producer.start()
        return producer

    async def _connect(self) -> None:
        try:
            await self._world.cluster.network.call(self.links["letters"], lambda: None)
        except LostError:
            raise KafkaTimeoutError from None

    def _transmit(self, sent: SentRecord) -> asyncio.Future[Any]:
        world = self._world
        acknowledged: asyncio.Future[Any] = world.database.loop.create_future()

        def answered(answer: asyncio.Future[Any]) -> None:
            if acknowledged.done() or answer.cancelled():
                acknowledged.cancel()
            elif isinstance(error := answer.exception(), MessageSizeTooLargeError):
                acknowledged.set_exception(error)
            elif error is not None:
                acknowledged.set_exception(KafkaTimeoutError())
            else:
                acknowledged.set_result(ACKNOWLEDGED)

        answer = world.cluster.network.call(
            self.links["letters"], partial(world.letters.append, sent)
        )
        answer.add_done_callback(answered)
        return acknowledged


def _weight(record: Record) -> int:
    headers = sum(len(name) + len(value or b"") for name, value in record.headers)
    return len(record.key or b"") + len(record.value or b"") + headers


_letter = partial(dead_letter, group="simulation", failed_at=FAILED_AT, consumer_version="0")
