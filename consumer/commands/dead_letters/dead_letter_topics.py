"""The topics a command needs: looked at first, and created where the tools may."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from consumer.kafka.admin import TopicDescription, create_topic
from consumer.kafka.connection import BrokersError
from consumer.kafka.producer import RECORD_OVERHEAD
from consumer.settings import KafkaSettings

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


async def ensure(
    kafka: KafkaSettings,
    name: str,
    partitions: int,
    configs: Mapping[str, str],
    say: Say,
) -> None:
    """Create the topic, saying so. Raises ``BrokersError`` with the command for who may."""
    if await create_topic(kafka, name, partitions, configs):
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
