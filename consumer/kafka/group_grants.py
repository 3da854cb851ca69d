"""Whether the brokers let us read the topics, write dead letters and be a member of the group.

Nothing is written and no group is joined.
"""

from __future__ import annotations

from collections.abc import Mapping

from aiokafka.coordinator.assignors.range import RangePartitionAssignor

from consumer.checks import CheckResult
from consumer.errors import PreconditionError, TransientError
from consumer.kafka.admin import Admin, TopicDescription, describe_group
from consumer.kafka.preconditions import check_topics
from consumer.kafka.topic_ids import Operation
from consumer.settings import Settings

ASSIGNOR = RangePartitionAssignor.name
"""How this consumer's group shares partitions: all its members must do it alike."""


def check_grants(settings: Settings, topics: Mapping[str, TopicDescription]) -> list[CheckResult]:
    """Judge what this client may do with the topics that are there."""
    letters = settings.dead_letters.topic
    return [
        *[
            _granted(topics[name], Operation.READ)
            for name in settings.kafka.topics
            if name in topics
        ],
        *([_granted(topics[letters], Operation.WRITE)] if letters in topics else []),
    ]


def _granted(topic: TopicDescription, operation: Operation) -> CheckResult:
    name = f"{'reading' if operation is Operation.READ else 'writing to'} {topic.name}"
    fix = f"grant {operation.name} on topic {topic.name}"
    if topic.grants is None:
        return CheckResult.warning(name, "the broker does not tell what is granted", fix)
    if operation in topic.grants:
        return CheckResult.ok(name, "allowed")
    return CheckResult.failed(name, "not authorized", fix)


async def check_group(settings: Settings, admin: Admin) -> CheckResult:
    """Judge whether a member may join: allowed to, and by the way the others share partitions."""
    group_id = settings.kafka.group_id
    name = f"group {group_id}"
    try:
        group = await describe_group(admin, group_id)
    except PreconditionError:
        return CheckResult.failed(name, "not authorized", f"grant READ on group {group_id}")
    except TransientError as error:
        return CheckResult.warning(name, f"not described ({error.cause})", "look at the brokers")
    if group.members and group.assignor not in {"", ASSIGNOR}:
        return CheckResult.failed(
            name,
            f"its {len(group.members)} members share partitions by {group.assignor!r}, this "
            f"consumer by {ASSIGNOR!r}",
            "end them, or set kafka.group_id to a group of its own",
        )
    return CheckResult.ok(name, "its coordinator answers")


async def check_kafka(
    settings: Settings, admin: Admin, topics: Mapping[str, TopicDescription]
) -> list[CheckResult]:
    """Judge the topics, what this client may do with them, and whether its group will take it."""
    expiring = settings.mongo.retention_days is not None
    return [
        *check_topics(settings.kafka, settings.dead_letters, topics, expiring=expiring),
        await check_group(settings, admin),
        *check_grants(settings, topics),
    ]
