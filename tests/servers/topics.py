"""Topics for a test."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from aiokafka import TopicPartition as ClientPartition
from aiokafka.admin import NewPartitions, NewTopic, RecordsToDelete

from consumer.contract.record import TopicPartition
from consumer.kafka.admin import open_admin
from consumer.settings.model import KafkaSettings


async def create_topics(
    bootstrap_servers: str,
    *names: str,
    partitions: int = 3,
    configs: Mapping[str, str] | None = None,
) -> None:
    """Create these topics; their retention never deletes a record for its old timestamp."""
    settings = KafkaSettings(bootstrap_servers=tuple(bootstrap_servers.split(",")))
    topic_configs = {"retention.ms": "-1", **(configs or {})}
    # With -1 the cluster's own default of replicas holds; the client then wants to be given
    # assignments, be they empty.
    topics = [NewTopic(name, partitions, -1, {}, topic_configs) for name in names]
    async with open_admin(settings) as admin:
        reply = await admin._client.create_topics(topics)
        assert {entry[1] for entry in reply.topic_errors} == {0}, reply
        # A broker answers before it has heard of the topic itself.
        async with asyncio.timeout(20):
            while not set(names) <= set(await admin._client.list_topics()):  # noqa: ASYNC110 -- brokers tell nobody
                await asyncio.sleep(0.05)


async def delete_topic(bootstrap_servers: str, name: str) -> None:
    """Delete a topic; return when the brokers have heard of it."""
    settings = KafkaSettings(bootstrap_servers=tuple(bootstrap_servers.split(",")))
    async with open_admin(settings) as admin:
        await admin._client.delete_topics([name])
        async with asyncio.timeout(20):
            while name in set(await admin._client.list_topics()):  # noqa: ASYNC110 -- as above
                await asyncio.sleep(0.05)


async def make_again(bootstrap_servers: str, name: str) -> None:
    """Delete a topic of one partition and make it again, as fast as the brokers allow."""
    settings = KafkaSettings(bootstrap_servers=tuple(bootstrap_servers.split(",")))
    async with open_admin(settings) as admin, asyncio.timeout(20):
        await admin._client.delete_topics([name])
        codes = {-1}
        while codes != {0}:
            reply = await admin._client.create_topics([NewTopic(name, 1, -1, {})])
            codes = {entry[1] for entry in reply.topic_errors}


async def delete_records(bootstrap_servers: str, ends: Mapping[TopicPartition, int]) -> None:
    """Delete what lies before these ends."""
    settings = KafkaSettings(bootstrap_servers=tuple(bootstrap_servers.split(",")))
    async with open_admin(settings) as admin:
        await admin._client.delete_records(
            {ClientPartition(*one): RecordsToDelete(end) for one, end in ends.items() if end}
        )


async def add_partitions(bootstrap_servers: str, name: str, total: int) -> None:
    """Let a topic have ``total`` partitions."""
    settings = KafkaSettings(bootstrap_servers=tuple(bootstrap_servers.split(",")))
    async with open_admin(settings) as admin:
        reply = await admin._client.create_partitions({name: NewPartitions(total)})
        assert {entry[1] for entry in reply.topic_errors} == {0}, reply
