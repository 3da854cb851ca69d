"""Administration: what the brokers say about topics and groups, and topics that are created."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from types import MappingProxyType
from typing import Any

from aiokafka import errors
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.coordinator.protocol import ConsumerProtocol

from consumer.aio import retry_a_while, stop_quietly
from consumer.contract.record import Offsets, TopicPartition
from consumer.errors import PreconditionError, TransientError
from consumer.kafka.committed import Committed
from consumer.kafka.connection import (
    BrokersError,
    broker_errors,
    connection_options,
    transient_errors,
    unreachable,
)
from consumer.kafka.topic_ids import Grants, Operation, group_with_grants, topic_grants
from consumer.settings.model import KafkaSettings

CLOSE_TIMEOUT = 2.0
"""Seconds that closing the client may take; nothing that was asked depends on it."""

SUGGESTED_PARTITIONS = 6
NO_CONFIGS: Mapping[str, str] = MappingProxyType({})

DEAD = "Dead"
"""The state of a group that there is not."""

_PASSING = (
    errors.GroupCoordinatorNotAvailableError,
    errors.GroupLoadInProgressError,
    errors.NotCoordinatorForGroupError,
)


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


_NOT_AUTHORIZED = {errors.TopicAuthorizationFailedError, errors.ClusterAuthorizationFailedError}


class Admin:
    """The administrative questions we ask, over aiokafka's admin client."""

    def __init__(self, client: AIOKafkaAdminClient, kafka: KafkaSettings) -> None:
        """Wrap a started client; use ``open_admin``."""
        self._client = client
        self._kafka = kafka

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
            refused = [n for n in wanted if refuses(grants.get(n), operation)]
            if refused:
                fix = f"not authorized; fix: grant {operation.name} on topic"
                raise PreconditionError("\n".join(f"topic {n}: {fix} {n}" for n in refused))
        with transient_errors("describe_topics"):
            described = await self._client.describe_topics(wanted) if wanted else []
            found = [topic for topic in described if _exists(topic)]
            configs = await self._configs([topic["topic"] for topic in found])
        hidden = [name for name in wanted if grants.get(name) == frozenset()]
        known_of = {name: TopicDescription(name, 0, 0, {}, frozenset()) for name in hidden}
        for topic in found:
            name, partitions = topic["topic"], topic["partitions"]
            replicas = min((len(p["replicas"]) for p in partitions), default=0)
            known_of[name] = TopicDescription(
                name, len(partitions), replicas, configs.get(name, {}), grants.get(name)
            )
        return known_of

    async def _configs(self, names: Sequence[str]) -> dict[str, dict[str, str]]:
        if not names:
            return {}
        try:
            replies = await self._client.describe_configs(
                [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
            )
        except errors.IncompatibleBrokerVersion:
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
        self,
        name: str,
        partitions: int,
        configs: Mapping[str, str] = NO_CONFIGS,
        replicas: int | None = None,
    ) -> bool:
        """Create a topic; return whether it is new. Without ``replicas`` the cluster decides.

        One that exists already is left as it is. Raises ``BrokersError`` where the broker refuses,
        with its reason or the command for who may, ``TransientError`` while there is none.
        """
        with transient_errors("create_topics"):
            # The client takes -1 replicas only beside assignments, which may be empty, and a number
            # of them only without.
            topic = NewTopic(
                name, partitions, replicas or -1, None if replicas else {}, dict(configs)
            )
            reply = await self._client.create_topics([topic])
        # The client does not raise on errors of single topics.
        _, code, *said = reply.topic_errors[0]
        error = errors.for_code(code)
        if error not in {errors.NoError, errors.TopicAlreadyExistsError}:
            why = ": ".join([error.__name__, *filter(None, said)])
            command = create_command(self._kafka, name, partitions, configs, replicas)
            let = f"; let someone who may run: {command}" if error in _NOT_AUTHORIZED else ""
            raise BrokersError(f"topic {name} cannot be created ({why}){let}")
        return error is errors.NoError

    async def describe_group(self, group_id: str) -> GroupDescription:
        """Describe a group; one that never existed has no members.

        A coordinator that is not there yet, or has just been chosen, is waited for a little.
        Raises ``TransientError``, and ``PreconditionError`` where the grant is missing.
        """
        try:
            return await retry_a_while(lambda: self._ask_coordinator(group_id), *_PASSING)
        except errors.GroupAuthorizationFailedError as error:
            raise PreconditionError(
                f"group {group_id}: not authorized; fix: grant READ on group {group_id}"
            ) from error
        except errors.KafkaError as error:
            cause = type(error).__name__
            raise TransientError(cause, f"group {group_id} cannot be described") from error

    async def _ask_coordinator(self, group_id: str) -> GroupDescription:
        node = await self._client.find_coordinator(group_id)
        described, grants = await group_with_grants(self._client._client, node, group_id)  # noqa: SLF001
        # -- the admin client reads no grants
        committed = await self._client.list_consumer_group_offsets(group_id, node)
        if described[0]:
            raise errors.for_code(described[0])(f"group {group_id}")
        members = [_member(*found[:5]) for found in described[5]]
        kept = {
            TopicPartition(*p): Committed(entry.offset, entry.metadata or "")
            for p, entry in committed.items()
            if entry.offset >= 0
        }
        return GroupDescription(described[2], described[4], members, kept, grants)


def refuses(grants: Grants | None, operation: Operation) -> bool:
    """Tell whether it is known that this client may not do it."""
    return grants is not None and operation not in grants


def _exists(topic: Mapping[str, Any]) -> bool:
    """Tell from a topic's entry whether it exists; raises what may be over in a moment."""
    error = errors.for_code(topic["error_code"])
    if error.retriable and error is not errors.UnknownTopicOrPartitionError:
        raise error(f"topic {topic['topic']}")
    return bool(error.errno == 0)


@asynccontextmanager
async def open_admin(kafka: KafkaSettings) -> AsyncIterator[Admin]:
    """Connect for administrative questions. Raises ``TransientError`` while no broker answers."""
    client = AIOKafkaAdminClient(**connection_options(kafka))
    try:
        try:
            await client.start()
        except (errors.KafkaError, OSError) as error:
            raise await unreachable(kafka, error) from error
        yield Admin(client, kafka)
    finally:
        await stop_quietly(client.close(), CLOSE_TIMEOUT)


async def describe_topics(
    kafka: KafkaSettings, names: Iterable[str], operation: Operation | None = None
) -> dict[str, TopicDescription]:
    """Return those of the topics that exist and may be seen, for a command that tries once.

    Raises ``BrokersError``, also where the grant for ``operation`` is missing.
    """
    with broker_errors(kafka):
        async with open_admin(kafka) as admin:
            described = await admin.describe(list(names), operation)
    return {name: topic for name, topic in described.items() if not topic.unseen}


async def create_topic(
    kafka: KafkaSettings, name: str, partitions: int, configs: Mapping[str, str] = NO_CONFIGS
) -> bool:
    """Create a topic as ``Admin.create`` does, for a command that tries once.

    Raises ``BrokersError``.
    """
    with broker_errors(kafka):
        async with open_admin(kafka) as admin:
            return await admin.create(name, partitions, configs)


def require_topics(
    kafka: KafkaSettings, described: Mapping[str, TopicDescription], names: Iterable[str]
) -> None:
    """Raise ``BrokersError`` for what was not described, with the commands that create it."""
    missing = sorted(set(names) - set(described))
    if missing:
        partitions = suggested_partitions(described.values())
        raise BrokersError(
            f"Kafka at {','.join(kafka.bootstrap_servers)} has no topic {', '.join(missing)}; "
            "create with: " + "; ".join(create_command(kafka, name, partitions) for name in missing)
        )


def suggested_partitions(sources: Iterable[TopicDescription]) -> int:
    """Return how many partitions a topic beside these should have."""
    return max((topic.partitions for topic in sources), default=SUGGESTED_PARTITIONS)


def create_command(
    kafka: KafkaSettings,
    name: str,
    partitions: int = SUGGESTED_PARTITIONS,
    configs: Mapping[str, str] = NO_CONFIGS,
    replicas: int | None = None,
) -> str:
    """Return the command that creates the topic."""
    replication = f" --replication-factor {replicas}" if replicas else ""
    extra = "".join(f" --config {option}={value}" for option, value in configs.items())
    return (
        f"kafka-topics.sh --bootstrap-server {','.join(kafka.bootstrap_servers)} --create "
        f"--topic {name} --partitions {partitions}{replication}{extra}"
    )


def alter_command(kafka: KafkaSettings, name: str, config: str) -> str:
    """Return the command that changes a topic's setting."""
    return (
        f"kafka-configs.sh --bootstrap-server {','.join(kafka.bootstrap_servers)} --alter "
        f"--entity-type topics --entity-name {name} --add-config {config}"
    )


@dataclass(frozen=True, slots=True)
class GroupMember:
    """One instance in the group. ``id``: given by the coordinator, another at each start."""

    id: str
    client_id: str
    host: str
    partitions: tuple[TopicPartition, ...]


@dataclass(frozen=True, slots=True)
class GroupDescription:
    """A group as its coordinator describes it. ``committed``: only what has been committed.

    ``assignor``: how its members share partitions, by name; empty while there are none.
    ``grants``: what this client may do with it; None where the coordinator does not tell that.
    """

    state: str
    assignor: str
    members: Sequence[GroupMember]
    committed: Mapping[TopicPartition, Committed]
    grants: Grants | None = None

    @property
    def offsets(self) -> Offsets:
        """The committed offsets."""
        return {partition: kept.offset for partition, kept in self.committed.items()}

    @property
    def known(self) -> bool:
        """Whether anybody has ever been in it, or committed for it."""
        return self.state != DEAD or bool(self.committed)


def _member(
    member_id: str,
    client_id: str,
    host: str,
    _metadata: bytes,
    assignment: bytes,
) -> GroupMember:
    partitions = ConsumerProtocol.ASSIGNMENT.decode(assignment).partitions() if assignment else ()
    owned = tuple(sorted(TopicPartition(*found) for found in partitions))
    return GroupMember(member_id, client_id, host, owned)
