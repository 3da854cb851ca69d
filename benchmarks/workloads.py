"""What is published: seeded backlogs, each in topics of its own."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from random import Random

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from consumer.contract.encode import encode_json
from producer_tools.generate import GenerationPlan, generate_messages
from producer_tools.outgoing_message import EndState, Outgoing, Stream

IN_FLIGHT = 5_000
LARGE_BYTES = 50_000


class Workload(StrEnum):
    """What the records are like. Each is read once as new, and once more as duplicates."""

    ORDINARY = "ordinary"
    DISORDER = "disorder"
    LARGE = "large"
    MANY_SMALL = "many small sessions"
    FEW_HUGE = "few huge sessions"


@dataclass(frozen=True, slots=True)
class Backlog:
    """Topics with records in them, each with so many ``partitions``."""

    workload: Workload
    name: str
    partitions: int
    records: int = 0
    value_bytes: int = 0

    @property
    def topics(self) -> tuple[str, str]:
        """Sessions' messages and events."""
        return f"{self.name}.sessions", f"{self.name}.events"

    @property
    def dead_letters(self) -> str:
        """The topic for what cannot be applied; nothing in a backlog is of that kind."""
        return f"{self.name}.dead-letters"


def messages(workload: Workload, records: int, seed: int) -> Iterator[Outgoing]:
    """Yield about ``records`` messages, the same for the same seed."""
    plan = GenerationPlan(seed=seed, events_per_session=36, sessions=max(1, records // 38))
    match workload:
        case Workload.ORDINARY:
            pass
        case Workload.DISORDER:
            sessions = max(1, int(records / 38 / 1.2))
            plan = replace(plan, sessions=sessions, disorder=0.3, duplicates=0.2, window=5_000)
        case Workload.LARGE:
            plan = replace(plan, sessions=max(1, records // 38 // 20))
            yield from _enlarged(plan)
            return
        case Workload.MANY_SMALL:
            plan = replace(plan, sessions=max(1, records // 4), events_per_session=2)
        case Workload.FEW_HUGE:
            plan = replace(plan, sessions=12, events_per_session=max(1, records // 12))
    yield from generate_messages(plan, EndState())


def _enlarged(plan: GenerationPlan) -> Iterator[Outgoing]:
    """Give every event a payload of ``LARGE_BYTES`` that does not compress to nothing."""
    random = Random(f"{plan.seed}/large")
    filler = encode_json({"filler": random.randbytes(LARGE_BYTES // 2).hex()})[1:-1]
    for message in generate_messages(plan, EndState()):
        if message.stream is Stream.EVENTS:
            value = message.value.replace(b'"payload":{', b'"payload":{' + filler + b",", 1)
            yield message._replace(value=value)
        else:
            yield message


async def publish(
    kafka: str, workload: Workload, records: int, seed: int, partitions: int
) -> Backlog:
    """Create the topics and fill them."""
    backlog = Backlog(workload, f"bench-{secrets.token_hex(4)}", partitions)
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        names = (*backlog.topics, backlog.dead_letters)
        configs = {"retention.ms": "-1"}
        await admin.create_topics([NewTopic(name, partitions, -1, {}, configs) for name in names])
    finally:
        await admin.close()
    producer = AIOKafkaProducer(
        bootstrap_servers=kafka, linger_ms=5, max_batch_size=1 << 18, max_request_size=1 << 22
    )
    await producer.start()
    topics = dict(zip((Stream.SESSIONS, Stream.EVENTS), backlog.topics, strict=True))
    count, size, waiting = 0, 0, list[asyncio.Future[object]]()
    try:
        for message in messages(workload, records, seed):
            sent = await producer.send(topics[message.stream], message.value, message.key)
            waiting.append(sent)
            count, size = count + 1, size + len(message.value)
            if len(waiting) >= IN_FLIGHT:
                await asyncio.gather(*waiting)
                waiting.clear()
        await asyncio.gather(*waiting)
    finally:
        await producer.stop()
    return replace(backlog, records=count, value_bytes=size)
