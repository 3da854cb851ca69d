"""What must be true of topics, grants and group before a record is read, and the fix if not.

Nothing is written and no group is joined.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from aiokafka.coordinator.assignors.range import RangePartitionAssignor

from consumer import __version__
from consumer.checks import CheckResult
from consumer.contract.dead_letter import min_dead_letter_bytes
from consumer.errors import PreconditionError, TransientError
from consumer.kafka.admin import (
    Admin,
    TopicDescription,
    alter_command,
    create_command,
    refuses,
    suggested_partitions,
)
from consumer.kafka.dead_letter_topic import BROKER_MESSAGE_BYTES, max_dead_letter_bytes
from consumer.kafka.topic_ids import Operation
from consumer.quantities import plural
from consumer.settings.model import DeadLetterSettings, KafkaSettings, Settings

DEAD_LETTER_HEADER_BYTES = 4096
"""Bytes that the dlq- headers may add to a record."""

NOT_TOLD_WHAT_IS_GRANTED = "the broker does not tell what is granted"

ASSIGNOR = RangePartitionAssignor.name
"""How this consumer's group shares partitions: all its members must do it alike."""


async def check_kafka(
    settings: Settings, admin: Admin, topics: Mapping[str, TopicDescription]
) -> list[CheckResult]:
    """Judge the topics, what this client may do with them, and whether its group will take it."""
    expiring = settings.mongo.retention_days is not None
    letters = settings.dead_letters.topic
    operations = dict.fromkeys(settings.kafka.topics, Operation.READ) | {letters: Operation.WRITE}
    return [
        *check_topics(settings.kafka, settings.dead_letters, topics, expiring=expiring),
        await check_group(settings.kafka.group_id, admin),
        *[_granted(topics[name], wanted) for name, wanted in operations.items() if name in topics],
    ]


def _granted(topic: TopicDescription, operation: Operation) -> CheckResult:
    name = f"{'reading' if operation is Operation.READ else 'writing to'} {topic.name}"
    fix = f"grant {operation.name} on topic {topic.name}"
    if topic.grants is None:
        return CheckResult.warning(name, NOT_TOLD_WHAT_IS_GRANTED, fix)
    if operation in topic.grants:
        return CheckResult.ok(name, "allowed")
    return CheckResult.failed(name, "not authorized", fix)


async def check_group(group_id: str, admin: Admin) -> CheckResult:
    """Judge whether a member may join: allowed to, and by the way the others share partitions."""
    name, fix = f"group {group_id}", f"grant READ on group {group_id}"
    try:
        group = await admin.describe_group(group_id)
    except PreconditionError:
        return CheckResult.failed(name, "not authorized", fix)
    except TransientError as error:
        return CheckResult.warning(name, f"not described ({error.cause})", "look at the brokers")
    if group.members and group.assignor not in {"", ASSIGNOR}:
        return CheckResult.failed(
            name,
            f"its {len(group.members)} members share partitions by {group.assignor!r}, this "
            f"consumer by {ASSIGNOR!r}",
            "end them, or set kafka.group_id to a group of its own",
        )
    if group.grants is None:
        return CheckResult.warning(name, NOT_TOLD_WHAT_IS_GRANTED, fix)
    if Operation.READ not in group.grants:
        return CheckResult.failed(name, "not authorized to join", fix)
    return CheckResult.ok(name, "its coordinator answers, and joining is allowed")


def check_topics(
    kafka: KafkaSettings,
    letters: DeadLetterSettings,
    topics: Mapping[str, TopicDescription],
    *,
    expiring: bool = False,
) -> list[CheckResult]:
    """Judge the subscribed topics and the dead-letter topic by their descriptions.

    ``expiring``: documents expire by the timestamps of their records.
    """
    # Whether these exist is not known; which grant is missing is a result of its own.
    unseen = {name for name, topic in topics.items() if topic.unseen}
    present = [topics[name] for name in kafka.topics if name in topics and name not in unseen]
    partitions = suggested_partitions(present)
    results = [
        CheckResult.ok(f"topic {name}", plural(topics[name].partitions, "partition"))
        if name in topics
        else CheckResult.failed(
            f"topic {name}",
            "does not exist",
            f"consumer init --topics, or {create_command(kafka, name, partitions)}",
        )
        for name in kafka.topics
        if name not in unseen
    ]
    results += _equal_partitions(kafka, present)
    results += [_not_compacted(kafka, topic) for topic in present]
    results += [
        _configs_not_told(topic)
        for name, topic in topics.items()
        if name not in unseen and refuses(topic.grants, Operation.DESCRIBE_CONFIGS)
    ]
    results += _replicated(present)
    results += _durable(kafka, present)
    results += _stamped_by_producers(kafka, present) if expiring else []
    if letters.topic not in unseen:
        results.append(_dead_letter_topic(kafka, letters, topics, present))
    if letters.topic in topics and letters.topic not in unseen:
        results += _kept_as_long(kafka, topics[letters.topic], present)
    return results


def _equal_partitions(
    kafka: KafkaSettings, present: list[TopicDescription]
) -> Iterator[CheckResult]:
    name, counts = "partition counts", {topic.name: topic.partitions for topic in present}
    if len(set(counts.values())) <= 1:
        if len(counts) > 1:  # one topic has nothing to differ from
            yield CheckResult.ok(name, "equal on all topics")
        return
    said = ", ".join(f"{name} has {count}" for name, count in counts.items())
    smallest = min(counts, key=lambda name: counts[name])
    # No reason to refuse: the state does not depend on it, and between the alters of two topics
    # an instance that is restarted must come back.
    yield CheckResult.warning(
        name,
        f"{said}; a session's records of both topics go to different instances",
        f"kafka-topics.sh --bootstrap-server {','.join(kafka.bootstrap_servers)} --alter "
        f"--topic {smallest} --partitions {max(counts.values())} "
        "(sessions that are open now may then be in two partitions; their state stays right)",
    )


def _not_compacted(kafka: KafkaSettings, topic: TopicDescription) -> CheckResult:
    name = f"cleanup policy of {topic.name}"
    if not topic.compacted:
        return CheckResult.ok(name, topic.configs.get("cleanup.policy", "not told by the broker"))
    return CheckResult.failed(
        name,
        "compact: with sessionId as key all but a session's last message would be deleted",
        alter_command(kafka, topic.name, "cleanup.policy=delete"),
    )


def _configs_not_told(topic: TopicDescription) -> CheckResult:
    return CheckResult.warning(
        f"settings of {topic.name}",
        "not told for want of a grant: nobody sees whether it is compacted or takes every letter, "
        "and nobody warns before unread records expire",
        f"grant DESCRIBE_CONFIGS on topic {topic.name}",
    )


def _replicated(present: list[TopicDescription]) -> Iterator[CheckResult]:
    single = [topic.name for topic in present if topic.replicas == 1]
    if single:
        yield CheckResult.warning(
            "replication",
            f"one replica only: {', '.join(single)}; a broker's disk is all that keeps them",
            "kafka-reassign-partitions.sh, or create the topics with --replication-factor 3 and "
            "min.insync.replicas=2",
        )


def _durable(kafka: KafkaSettings, present: list[TopicDescription]) -> Iterator[CheckResult]:
    """Warn where acknowledged records may vanish: others then take the offsets that were read.

    The client sends no leader epochs, so that nothing but these settings keeps it from that.
    """
    for topic in present:
        if topic.configs.get("unclean.leader.election.enable") == "true":
            name = f"unclean leader election of {topic.name}"
            detail = "allowed: records that were read may vanish, and new ones be skipped"
            fix = alter_command(kafka, topic.name, "unclean.leader.election.enable=false")
            yield CheckResult.warning(name, detail, fix)
        if topic.replicas > 1 and topic.configs.get("min.insync.replicas") == "1":
            name = f"in-sync replicas of {topic.name}"
            detail = "min.insync.replicas is 1: a single broker's failure may take records along"
            fix = alter_command(kafka, topic.name, "min.insync.replicas=2")
            yield CheckResult.warning(name, detail, fix)


def _stamped_by_producers(
    kafka: KafkaSettings, present: list[TopicDescription]
) -> list[CheckResult]:
    """Warn where the clocks of producers decide when documents are deleted."""
    return [
        CheckResult.warning(
            f"timestamps of {topic.name}",
            "message.timestamp.type is CreateTime, and mongo.retention_days counts from there: a "
            "producer whose clock is behind has its documents deleted early, or never written",
            alter_command(kafka, topic.name, "message.timestamp.type=LogAppendTime"),
        )
        for topic in present
        if topic.configs.get("message.timestamp.type", "CreateTime") == "CreateTime"
    ]


def dead_letter_bytes_needed(sources: Iterable[TopicDescription]) -> int:
    """Return how large a dead letter of these topics may get, whole."""
    sizes = [topic.max_message_bytes for topic in sources if topic.max_message_bytes]
    return max(sizes, default=BROKER_MESSAGE_BYTES) + DEAD_LETTER_HEADER_BYTES


def longest_retention(retentions: Iterable[str | None]) -> dict[str, str]:
    """Return what keeps a topic as long as the longest of these, in ms; nothing if none is told."""
    told = [int(one) for one in retentions if one is not None]
    return {"retention.ms": str(_longest(told))} if told else {}


def _longest(kept: Collection[int]) -> int:
    """Return the longest of these retentions; -1 is for ever."""
    return -1 if min(kept) < 0 else max(kept)


def _kept_as_long(
    kafka: KafkaSettings, letters: TopicDescription, present: list[TopicDescription]
) -> Iterator[CheckResult]:
    """Warn where a dead letter may be deleted before the record that it tells of."""
    name = f"retention of {letters.name}"
    for config, what in (("retention.ms", "by age"), ("retention.bytes", "by size")):
        limit = int(letters.configs.get(config, "-1"))
        sources = {t.name: int(t.configs[config]) for t in present if config in t.configs}
        longer = [one for one, kept in sources.items() if kept < 0 or kept > limit]
        if limit < 0 or not longer:
            continue
        shown = ", ".join(f"{one}'s is {sources[one]}" for one in longer)
        yield CheckResult.warning(
            name,
            f"{config} is {limit}, {shown}: letters are deleted {what} while the records they tell "
            "of are still there, and an audit cannot tell any more what became of those",
            alter_command(kafka, letters.name, f"{config}={_longest(sources.values())}"),
        )


def _dead_letter_topic(
    kafka: KafkaSettings,
    letters: DeadLetterSettings,
    topics: Mapping[str, TopicDescription],
    present: list[TopicDescription],
) -> CheckResult:
    name = f"dead-letter topic {letters.topic}"
    needed = dead_letter_bytes_needed(present)
    if letters.topic not in topics:
        configs = {
            "max.message.bytes": str(needed),
            **longest_retention(topic.configs.get("retention.ms") for topic in present),
        }
        create = create_command(kafka, letters.topic, suggested_partitions(present), configs)
        # Without the topics that are read nobody could tell it how large letters get.
        init = "consumer init" if len(present) == len(kafka.topics) else "consumer init --topics"
        return CheckResult.failed(name, "does not exist", f"{init}, or {create}")
    topic = topics[letters.topic]
    if topic.compacted:
        return _not_compacted(kafka, topic)
    told = topic.max_message_bytes
    return _dead_letter_size(name, kafka, letters, told, needed) or CheckResult.ok(
        name, f"{plural(topic.partitions, 'partition')}, takes {told} bytes"
    )


def _dead_letter_size(
    name: str, kafka: KafkaSettings, letters: DeadLetterSettings, told: int | None, needed: int
) -> CheckResult | None:
    """Judge how large a dead letter may be, ``needed`` being as large as they get."""
    limit = max_dead_letter_bytes(letters, told)
    smallest = min_dead_letter_bytes(kafka.topics, kafka.group_id, __version__)
    said = f"max.message.bytes is {limit}"
    fix = alter_command(kafka, letters.topic, f"max.message.bytes={needed}")
    if letters.max_request_bytes == limit != told:
        said = f"dead_letters.max_request_bytes is {limit}"
        fix = f"leave dead_letters.max_request_bytes out, or set it to {needed} or more"
    if limit < smallest:
        detail = f"{said}, and a dead letter takes {smallest} bytes, however much of it is cut"
        return CheckResult.failed(name, detail, fix)
    if told is None:
        return CheckResult.warning(
            name,
            f"max.message.bytes is not told by the broker; letters are cut to {limit} bytes, and "
            "to half of it each time that one is refused",
            f"grant DESCRIBE_CONFIGS on topic {letters.topic}",
        )
    if limit < needed:
        detail = (
            f"{said}, less than the largest record with headers; such a record would be "
            "dead-lettered truncated and could not be sent back"
        )
        return CheckResult.warning(name, detail, fix)
    return None
