"""The identity of topics (KIP-516), which aiokafka 0.14 never asks for.

A topic that was deleted and made again has the same name and the same offsets, and another id.
"""

from __future__ import annotations

import asyncio
import random
from base64 import urlsafe_b64encode
from collections.abc import Collection, Mapping
from enum import IntEnum
from io import BytesIO
from typing import TYPE_CHECKING, Any

from aiokafka import errors
from aiokafka.protocol.abstract import AbstractType
from aiokafka.protocol.admin import (
    DescribeGroupsRequest,
    DescribeGroupsRequest_v3,
    DescribeGroupsResponse_v3,
)
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Schema,
    TaggedFields,
)

from consumer.aio import with_timeout
from consumer.contract.record import Partitions, TopicPartition
from consumer.errors import TransientError
from consumer.kafka.committed import Committed, ids_differ
from consumer.kafka.connection import transient_errors

if TYPE_CHECKING:
    from consumer.kafka.client import GroupClient

TopicIds = Mapping[str, str | None]
"""The id of each topic that exists, as Kafka's tools print it; None where the broker has no ids.
A topic that does not exist is absent."""


class Operation(IntEnum):
    """What may be granted on a topic or group, by Kafka's numbers.

    READ and WRITE include DESCRIBE.
    """

    READ = 3
    WRITE = 4
    DESCRIBE = 8
    DESCRIBE_CONFIGS = 10


Grants = frozenset[Operation]

NOT_TOLD = -(2**31)
"""What stands for the grants where the broker does not tell them."""


class Uuid(AbstractType[bytes]):  # type: ignore[misc]  # aiokafka ships no types
    """Sixteen bytes; all zero where there is no id."""

    @classmethod
    def encode(cls, value: bytes) -> bytes:
        """Return them as they are."""
        return value

    @classmethod
    def decode(cls, data: BytesIO) -> bytes:
        """Take them."""
        return data.read(16)


NO_ID = bytes(16)


class MetadataResponseV12(Response):  # type: ignore[misc]  # as above
    """The first version in which a topic may be asked for by its name and answers with its id."""

    API_KEY = 3
    API_VERSION = 12
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(
                ("node_id", Int32),
                ("host", CompactString("utf-8")),
                ("port", Int32),
                ("rack", CompactString("utf-8")),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_id", CompactString("utf-8")),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("name", CompactString("utf-8")),
                ("topic_id", Uuid),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("isr", CompactArray(Int32)),
                        ("offline_replicas", CompactArray(Int32)),
                        ("tags", TaggedFields),
                    ),
                ),
                ("authorized_operations", Int32),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class MetadataRequestV12(RequestStruct):  # type: ignore[misc]  # as above
    """See ``MetadataResponseV12``."""

    FLEXIBLE_VERSION = True
    API_KEY = 3
    API_VERSION = 12
    RESPONSE_TYPE = MetadataResponseV12
    SCHEMA = Schema(
        (
            "topics",
            CompactArray(
                ("topic_id", Uuid), ("name", CompactString("utf-8")), ("tags", TaggedFields)
            ),
        ),
        ("allow_auto_topic_creation", Boolean),
        ("include_topic_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class TopicIdRequest(Request[MetadataRequestV12]):  # type: ignore[misc]  # as above
    """Asks for topics by name, and lets no broker create them."""

    API_KEY = 3

    def __init__(self, topics: Collection[str], *, with_grants: bool = False) -> None:
        """Name the topics. ``with_grants``: what this client may do with each is told, too."""
        self._topics = topics
        self._with_grants = with_grants

    def build(self, request_struct_class: type[MetadataRequestV12]) -> MetadataRequestV12:
        """See ``Request``."""
        named: list[tuple[bytes, str, dict[int, bytes]]] = [
            (NO_ID, topic, {}) for topic in self._topics
        ]
        return request_struct_class(named, False, self._with_grants, {})  # noqa: FBT003 -- as in
        # the schema


class GroupGrantsRequestV3(DescribeGroupsRequest_v3):  # type: ignore[misc]  # as above
    """The first version that tells grants; aiokafka reads its answer as one of version 2."""

    RESPONSE_TYPE = DescribeGroupsResponse_v3


class GroupGrantsRequest(Request[GroupGrantsRequestV3]):  # type: ignore[misc]  # as above
    """Asks a group's coordinator what the group is like, and what this client may do with it."""

    API_KEY = 15

    def __init__(self, group_id: str) -> None:
        """Name the group."""
        self._group_id = group_id

    def build(self, request_struct_class: type[GroupGrantsRequestV3]) -> GroupGrantsRequestV3:
        """See ``Request``."""
        return request_struct_class([self._group_id], True)  # noqa: FBT003 -- as in the schema


class TopicWatch:
    """Asks now and then which topics there are, beside the polls and never in their way."""

    def __init__(self, topics: Collection[str], interval: float, timeout: float) -> None:
        """``topics``: the subscribed ones. ``interval`` and ``timeout`` in seconds."""
        self._topics = tuple(topics)
        self._interval = interval
        self._timeout = timeout
        self._asking: asyncio.Task[TopicIds] | None = None
        self._due = 0.0
        self._ids: TopicIds | None = None

    def answer(self, client: GroupClient) -> TopicIds | None:
        """Return each answer once, and ask again when it is time."""
        now = asyncio.get_running_loop().time()
        if self._asking is None:
            if now >= self._due:
                self._asking = asyncio.ensure_future(self._ask(client))
            return None
        if not self._asking.done():
            return None
        asking, self._asking = self._asking, None
        self._due = now + self._interval
        try:
            ids = asking.result()
        except TransientError:
            # Nothing is known then. What keeps brokers from answering is told by the polls.
            return None
        self._ids = ids
        return ids

    async def _ask(self, client: GroupClient) -> TopicIds:
        return await with_timeout(client.topic_ids(self._topics), "topic_ids", self._timeout)

    def forget(self) -> None:
        """Take no answer to a question of before, and ask again at once."""
        if self._asking is not None:
            self._asking.cancel()
        self._asking, self._due = None, 0.0

    def log_changed(self, partition: TopicPartition, kept: Committed) -> bool:
        """Tell whether an offset speaks of another log than there was when it was last asked."""
        ids = self._ids or {}
        return ids_differ(kept.details.topic_id, ids.get(partition.topic))

    def missing(self, counts: Mapping[str, int], assigned: Partitions) -> Collection[str]:
        """Return the subscribed topics that are not there or that the group does not read.

        ``counts``: the partitions of each topic that the client knows of. A member is given the
        same numbers of every topic; so one of which it has none, while it has some of a topic
        that is no larger, is read by nobody yet.
        """
        there = self._ids
        if there is None:
            return ()
        if not counts:  # the client has just been opened, and has not asked yet
            return [topic for topic in self._topics if topic not in there]
        ours = {partition.topic for partition in assigned}
        return [
            topic
            for topic in self._topics
            if topic not in there
            or topic not in counts
            or (topic not in ours and any(counts.get(o, 0) <= counts[topic] for o in ours))
        ]


def changed_logs(
    reading: Mapping[TopicPartition, str | None], ids: TopicIds | None
) -> list[TopicPartition]:
    """Return the partitions that are being read of a topic that is no more, or another one."""
    return [
        partition
        for partition, topic_id in reading.items()
        if ids is not None
        if partition.topic not in ids or ids_differ(topic_id, ids[partition.topic])
    ]


async def topic_ids(
    client: Any,  # noqa: ANN401 -- aiokafka ships no types
    topics: Collection[str],
    other_than: int | None = None,
) -> tuple[TopicIds, int | None]:
    """Ask any broker over the connections of an ``AIOKafkaClient``; return which one it was.

    ``other_than``: a broker that is asked only if no other one answers. Raises ``TransientError``.
    """
    with transient_errors("topic_ids"):
        response, node = await _ask_any(client, TopicIdRequest(topics), other_than)
        return dict.fromkeys(topics) if response is None else _ids(response), node


async def topic_grants(client: Any, topics: Collection[str]) -> Mapping[str, Grants | None]:  # noqa: ANN401
    # -- aiokafka ships no types
    """Ask what this client may do with each topic: nothing where it may not even see it.

    None where the broker does not tell; absent where there is no such topic. Raises
    ``TransientError``.
    """
    with transient_errors("topic_grants"):
        response, _ = await _ask_any(client, TopicIdRequest(topics, with_grants=True))
        return dict.fromkeys(topics) if response is None else _grants(response)


async def group_with_grants(client: Any, node: int, group_id: str) -> tuple[Any, Grants | None]:  # noqa: ANN401
    # -- aiokafka ships no types
    """Return a group as its coordinator ``node`` describes it, and what this client may do with it.

    None of the latter where the coordinator does not tell. Raises ``KafkaError``.
    """
    try:
        reply = await client.send(node, GroupGrantsRequest(group_id))
    except (errors.IncompatibleBrokerVersion, NotImplementedError):
        (group,) = (await client.send(node, DescribeGroupsRequest([group_id]))).groups
        return group, None
    (group,) = reply.groups
    return group, _told(group[-1])


def _told(operations: int) -> Grants | None:
    """Return the grants of an answer's bits."""
    if operations == NOT_TOLD:
        return None
    return frozenset(one for one in Operation if operations >> one & 1)


async def _ask_any(client: Any, request: TopicIdRequest, other_than: int | None = None) -> Any:  # noqa: ANN401
    # -- as above
    """Return the answer, None of a broker that does not know the request, and which one it was."""
    nodes = [broker.nodeId for broker in client.cluster.brokers()]
    random.shuffle(nodes)
    nodes.sort(key=lambda node: node == other_than)
    trouble: Exception = errors.NodeNotReadyError("no broker is known")
    for node in nodes:
        try:
            return await client.send(node, request), node
        except (errors.IncompatibleBrokerVersion, NotImplementedError):
            return None, node
        except (errors.KafkaError, OSError) as error:
            trouble = error
    raise trouble


def _grants(response: Any) -> Mapping[str, Grants | None]:  # noqa: ANN401 -- as above
    found: dict[str, Grants | None] = {}
    for code, name, _, _, _, operations, *_ in response.topics:
        error: type[errors.KafkaError] = errors.for_code(code)
        if error is errors.TopicAuthorizationFailedError:
            found[name] = frozenset()
        elif error is errors.NoError:
            found[name] = _told(operations)
    return found


def _ids(response: Any) -> TopicIds:  # noqa: ANN401 -- aiokafka ships no types
    found: dict[str, str | None] = {}
    for code, name, topic_id, *_ in response.topics:
        error: type[errors.KafkaError] = errors.for_code(code)
        if error is errors.UnknownTopicOrPartitionError:
            continue
        if error is not errors.NoError:
            raise error(f"topic {name}")
        known = topic_id != NO_ID
        found[name] = urlsafe_b64encode(topic_id).decode().rstrip("=") if known else None
    return found
