"""Whether the brokers let us read the topics and be a member of the group.

Nothing is written and no group is joined: what only a write would show is said to be untested.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as ClientPartition
from aiokafka.errors import KafkaError, TopicAuthorizationFailedError

from consumer.errors import TransientError
from consumer.findings import Finding, Status
from consumer.settings import Settings
from consumer.stream.connection import connection_options
from consumer.stream.groups import coordinator_of
from consumer.stream.topics import Admin

READ_WAIT = 0.5
"""Seconds a fetch may take to be refused; an empty topic answers nothing and is in order."""


async def group_findings(
    settings: Settings, admin: Admin, present: Collection[str]
) -> Sequence[Finding]:
    """Try what a run does first, without its effects.

    ``present``: the topics that are there. The client looks for a missing one without a pause.
    """
    return [
        await _group(settings, admin),
        *[await _readable(settings, topic) for topic in settings.kafka.topics if topic in present],
        Finding(
            f"writing to {settings.dead_letters.topic}",
            Status.OK,
            "not tried, since a check writes nothing; needs WRITE and DESCRIBE",
        ),
    ]


async def _group(settings: Settings, admin: Admin) -> Finding:
    group = settings.kafka.group_id
    name = f"group {group}"
    try:
        await coordinator_of(admin, group)
    except TransientError as error:
        return Finding(name, Status.FAILED, error.cause, f"grant READ on group {group}")
    return Finding(name, Status.OK, "its coordinator answers")


async def _readable(settings: Settings, topic: str) -> Finding:
    """Fetch from the start of one partition; only a refusal matters."""
    name = f"reading {topic}"
    consumer = AIOKafkaConsumer(**connection_options(settings.kafka), enable_auto_commit=False)
    target = ClientPartition(topic, 0)
    try:
        await consumer.start()
        consumer.assign([target])
        await consumer.seek_to_beginning(target)
        await consumer.getmany(target, timeout_ms=int(READ_WAIT * 1000), max_records=1)
    except TopicAuthorizationFailedError:
        return Finding(name, Status.FAILED, "not authorized", f"grant READ on topic {topic}")
    except (KafkaError, AssertionError) as error:
        return Finding(name, Status.FAILED, type(error).__name__, "see the topic's own line")
    finally:
        await consumer.stop()
    return Finding(name, Status.OK, "allowed")
