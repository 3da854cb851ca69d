"""The topics a command needs: looked at first, and created where the tools may."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from aiokafka.admin import NewTopic
from aiokafka.errors import NoError, TopicAlreadyExistsError, for_code

from consumer.kafka.dead_letters import RECORD_OVERHEAD
from consumer.kafka.topic_ids import Operation
from consumer.kafka.topics import TopicDescription, open_admin
from consumer.settings import KafkaSettings
from producer_tools.brokers import BrokersError, explained

Say = Callable[[str], None]

STATE_CONFIGS: Final = {"cleanup.policy": "compact"}
"""One entry a letter is kept, and for ever."""


def parking_configs(letters: TopicDescription, max_request_bytes: int) -> Mapping[str, str]:
    """Return the settings of a topic that takes every letter of ``letters``, and keeps it.

    Parked letters wait for people, however long that takes. Where the brokers do not tell how
    large a letter may be, it is ``max_request_bytes``, the most that the consumer sends.
    """
    largest = letters.max_message_bytes or max_request_bytes + RECORD_OVERHEAD
    return {"retention.ms": "-1", "max.message.bytes": str(largest)}


async def describe(
    kafka: KafkaSettings, names: Iterable[str], operation: Operation | None = None
) -> Mapping[str, TopicDescription]:
    """Return those of the topics that exist and may be seen.

    Raises ``PreconditionError``, also where the grant for ``operation`` is missing.
    """
    with explained(kafka):
        async with open_admin(kafka) as admin:
            described = await admin.describe(list(names), operation)
    return {name: topic for name, topic in described.items() if not topic.unseen}


def require(
    kafka: KafkaSettings, topics: Mapping[str, TopicDescription], name: str
) -> TopicDescription:
    """Return the topic. Raises ``BrokersError`` with the command that creates it."""
    if name in topics:
        return topics[name]
    servers = ",".join(kafka.bootstrap_servers)
    raise BrokersError(
        f"Kafka at {servers} has no topic {name}; create it with: "
        + create_command(kafka, name, 6, {})
    )


async def ensure(
    kafka: KafkaSettings,
    name: str,
    partitions: int,
    configs: Mapping[str, str],
    say: Say,
) -> None:
    """Create the topic, saying so. Raises ``BrokersError`` with the command for who may."""
    with explained(kafka):
        async with open_admin(kafka) as admin:
            # The cluster's default of replicas holds with -1, and the client then asks for
            # assignments, be they empty.
            reply = await admin.raw.create_topics(
                [NewTopic(name, partitions, -1, {}, dict(configs))]
            )
    # The client does not raise on errors of single topics.
    error = for_code(reply.topic_errors[0][1])
    if error is TopicAlreadyExistsError:
        return
    if error is not NoError:
        raise BrokersError(
            f"topic {name} is missing and cannot be created ({error.__name__}); let someone who "
            f"may run: {create_command(kafka, name, partitions, configs)}"
        )
    options = ", ".join(f"{option}={value}" for option, value in configs.items())
    say(f"created the topic {name} ({partitions} partitions, {options})")


def check_state_topic(kafka: KafkaSettings, topic: TopicDescription) -> None:
    """Refuse a state topic that forgets: what it forgot would be sent again.

    A broker that does not tell how it cleans up is believed. Raises ``BrokersError``.
    """
    policy = topic.configs.get("cleanup.policy")
    if policy is not None and policy != "compact":
        raise BrokersError(
            f"topic {topic.name} has cleanup.policy={policy} and would forget what was redriven; "
            f"mend with: kafka-configs.sh --bootstrap-server {','.join(kafka.bootstrap_servers)} "
            f"--alter --entity-type topics --entity-name {topic.name} "
            "--add-config cleanup.policy=compact"
        )


def create_command(
    kafka: KafkaSettings, name: str, partitions: int, configs: Mapping[str, str]
) -> str:
    """Return the command that creates the topic."""
    extra = "".join(f" --config {option}={value}" for option, value in configs.items())
    return (
        f"kafka-topics.sh --bootstrap-server {','.join(kafka.bootstrap_servers)} --create "
        f"--topic {name} --partitions {partitions}{extra}"
    )
