"""Topics for a test."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from aiokafka.admin import NewTopic

from consumer.settings import KafkaSettings
from consumer.stream.topics import open_admin


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
        reply = await admin.raw.create_topics(topics)
        assert {entry[1] for entry in reply.topic_errors} == {0}, reply
        # A broker answers before it has heard of the topic itself.
        async with asyncio.timeout(20):
            while not set(names) <= set(await admin.raw.list_topics()):  # noqa: ASYNC110 -- brokers tell nobody
                await asyncio.sleep(0.05)
