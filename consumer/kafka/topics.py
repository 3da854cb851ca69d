"""What the brokers say about topics: partitions and the settings that the guarantees rest on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    IncompatibleBrokerVersion,
    KafkaError,
    UnknownTopicOrPartitionError,
    for_code,
)

from consumer.errors import PreconditionError
from consumer.kafka.connection import connection_options, unreachable
from consumer.kafka.kafka_errors import kafka_errors
from consumer.kafka.topic_ids import Grants, Operation, topic_grants
from consumer.settings import KafkaSettings

CLOSE_TIMEOUT = 2.0
"""Seconds that closing the client may take; nothing that was asked depends on it."""


@dataclass(frozen=True, slots=True)
class TopicDescription:
    """One topic. ``configs`` is empty where the broker does not tell (no grant, an imitation).

    ``grants``: what this client may do with it; None where the broker does not tell that.
    """

    name: str
    partitions: int
    replicas: int
    configs: Mapping[str, str] = field(default_factory=dict)
    grants: Grants | None = None

    def allows(self, operation: Operation) -> bool:
        """Whether this client may do it, as far as is known."""
        return self.grants is None or operation in self.grants

    @property
    def unseen(self) -> bool:
        """Whether the brokers do not even tell this client if there is such a topic."""
        return self.grants == frozenset()

    @property
    def compacted(self) -> bool:
        """Whether old messages of a key are deleted."""
        return "compact" in self.configs.get("cleanup.policy", "")

    @property
    def max_message_bytes(self) -> int | None:
        """The largest batch the topic takes, None where the broker does not tell."""
        value = self.configs.get("max.message.bytes")
        return int(value) if value else None

    @property
    def retention_ms(self) -> int | None:
        """How long records are kept, None for ever or where the broker does not tell."""
        value = int(self.configs.get("retention.ms", "-1"))
        return value if value >= 0 else None

    @property
    def oldest_possible(self) -> timedelta | None:
        """How old a record can be that the topic still has, None where nothing tells.

        A record is deleted with its segment, which takes others for ``segment.ms`` before it is
        closed, and which the broker looks at now and then.
        """
        segment_ms = self.configs.get("segment.ms")
        if self.retention_ms is None or segment_ms is None:
            return None
        try:
            return timedelta(days=1, milliseconds=self.retention_ms + int(segment_ms))
        except OverflowError:
            return None


class Admin:
    """The administrative questions we ask, over aiokafka's admin client."""

    def __init__(self, client: AIOKafkaAdminClient) -> None:
        """Wrap a started client; use ``open_admin``."""
        self._client = client

    async def describe(
        self, names: Sequence[str], operation: Operation | None = Operation.DESCRIBE
    ) -> dict[str, TopicDescription]:
        """Return what is known of each topic that exists; a missing one is absent.

        ``operation``: what this client must be granted on each of them; with None it is for
        the caller to look at ``grants``, and one that must not even be seen is ``unseen``.
        Raises ``TransientError`` while no broker answers, ``PreconditionError`` where the
        grant is missing.
        """
        wanted = list(dict.fromkeys(names))
        grants = await topic_grants(self._client._client, wanted)  # noqa: SLF001 -- the admin
        # client has no such question
        if operation is not None:
            refused = [n for n in wanted if _refused(grants.get(n), operation)]
            if refused:
                raise PreconditionError("\n".join(not_granted(n, operation) for n in refused))
        with kafka_errors("describe_topics"):
            # The client asks for metadata in a way that lets a broker create what is missing, so
            # only topics that are there may be named.
            there = set(await self._client.list_topics())
            known = [name for name in wanted if name in there]
            described = await self._client.describe_topics(known) if known else []
            found = [topic for topic in described if _exists(topic)]
            configs = await self._configs([topic["topic"] for topic in found])
        unseen = {
            n: TopicDescription(n, 0, 0, {}, frozenset())
            for n in wanted
            if grants.get(n) == frozenset()
        }
        return unseen | {
            topic["topic"]: TopicDescription(
                topic["topic"],
                len(topic["partitions"]),
                min((len(p["replicas"]) for p in topic["partitions"]), default=0),
                configs.get(topic["topic"], {}),
                grants.get(topic["topic"]),
            )
            for topic in found
        }

    async def _configs(self, names: Sequence[str]) -> dict[str, dict[str, str]]:
        if not names:
            return {}
        try:
            replies = await self._client.describe_configs(
                [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
            )
        except IncompatibleBrokerVersion:
            # An imitation that cannot tell. Any other error must not look like one, or a
            # compacted topic would pass for a good one.
            return {}
        return {
            resource[3]: {entry[0]: entry[1] for entry in resource[4] if entry[1] is not None}
            for reply in replies
            for resource in reply.resources
            if resource[0] == 0
        }

    async def create(
        self, name: str, partitions: int, configs: Mapping[str, str] | None = None
    ) -> None:
        """Create a topic; one that exists already is left as it is.

        Raises ``PreconditionError`` where the broker refuses, ``TransientError`` while there
        is none.
        """
        with kafka_errors("create_topics"):
            reply = await self._client.create_topics(
                [NewTopic(name, partitions, -1, {}, dict(configs or {}))]
            )
        # The client does not raise on errors of single topics.
        for entry in reply.topic_errors:
            error = for_code(entry[1])
            if error.errno not in {0, 36}:
                raise PreconditionError(f"topic {name} cannot be created: {error.__name__}")

    @property
    def raw(self) -> Any:  # noqa: ANN401 -- aiokafka ships no types
        """The client itself, for questions about groups."""
        return self._client


def _refused(grants: Grants | None, operation: Operation) -> bool:
    return grants is not None and operation not in grants


def not_granted(topic: str, operation: Operation) -> str:
    """Say which grant on a topic is missing."""
    return f"topic {topic}: not authorized; fix: grant {operation.name} on topic {topic}"


def _exists(topic: Mapping[str, Any]) -> bool:
    """Tell from a topic's entry whether it exists; raises what may be over in a moment."""
    error = for_code(topic["error_code"])
    if error.retriable and error is not UnknownTopicOrPartitionError:
        raise error(f"topic {topic['topic']}")
    return bool(error.errno == 0)


@asynccontextmanager
async def open_admin(kafka: KafkaSettings) -> AsyncIterator[Admin]:
    """Connect for administrative questions. Raises ``TransientError`` while no broker answers."""
    client = AIOKafkaAdminClient(**connection_options(kafka))
    try:
        try:
            await client.start()
        except (KafkaError, OSError) as error:
            raise unreachable(kafka, error) from error
        yield Admin(client)
    finally:
        await asyncio.wait([asyncio.ensure_future(client.close())], timeout=CLOSE_TIMEOUT)
