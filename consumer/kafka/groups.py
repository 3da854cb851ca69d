"""What the brokers say about a consumer group: members, assignments, committed offsets."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aiokafka.coordinator.protocol import ConsumerProtocol
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    KafkaError,
    NotCoordinatorForGroupError,
    for_code,
)

from consumer.contract.record import TopicPartition
from consumer.errors import ConsumerError, PreconditionError, TransientError
from consumer.kafka.committed import Committed
from consumer.kafka.topics import Admin

ATTEMPTS = 20
PAUSE = 0.5
"""Seconds between attempts: the first group of a fresh cluster waits for its offsets topic."""

DEAD = "Dead"
"""The state of a group that there is not."""

_PASSING = (
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    NotCoordinatorForGroupError,
)


@dataclass(frozen=True, slots=True)
class Member:
    """One instance in the group. ``id``: given by the coordinator, another at each start."""

    id: str
    client_id: str
    host: str
    partitions: tuple[TopicPartition, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """A group as its coordinator describes it. ``committed``: only what has been committed.

    ``assignor``: how its members share partitions, by name; empty while there are none.
    """

    state: str
    assignor: str
    members: Sequence[Member]
    committed: Mapping[TopicPartition, Committed]

    @property
    def offsets(self) -> Mapping[TopicPartition, int]:
        """The committed offsets."""
        return {partition: kept.offset for partition, kept in self.committed.items()}

    @property
    def known(self) -> bool:
        """Whether anybody has ever been in it, or committed for it."""
        return self.state != DEAD or bool(self.committed)


async def coordinator_of(admin: Admin, group_id: str) -> int:
    """Return the group's coordinator, waiting a little for a fresh cluster to have one.

    Raises ``TransientError``, and ``PreconditionError`` where the grant is missing.
    """
    for attempt in range(ATTEMPTS):
        try:
            node: int = await admin.raw.find_coordinator(group_id)
        except _PASSING as error:
            if attempt == ATTEMPTS - 1:
                raise TransientError(type(error).__name__, "the group has no coordinator") from (
                    error
                )
            await asyncio.sleep(PAUSE)
        except KafkaError as error:
            raise _undescribed(type(error), group_id) from error
        else:
            return node
    raise AssertionError("unreachable: the last attempt returns or raises")


async def describe_group(admin: Admin, group_id: str) -> Group:
    """Describe a group; one that never existed has no members.

    Raises ``TransientError``, and ``PreconditionError`` where the grant is missing.
    """
    node = await coordinator_of(admin, group_id)
    try:
        replies = await admin.raw.describe_consumer_groups([group_id], node)
        committed = await admin.raw.list_consumer_group_offsets(group_id, node)
    except KafkaError as error:
        raise _undescribed(type(error), group_id) from error
    described = replies[0].groups[0]
    if described[0]:
        raise _undescribed(for_code(described[0]), group_id)
    members = [_member(*found[:5]) for found in described[5]]
    kept = {
        TopicPartition(*p): Committed(entry.offset, entry.metadata or "")
        for p, entry in committed.items()
        if entry.offset >= 0
    }
    return Group(described[2], described[4], members, kept)


def _undescribed(error: type[KafkaError], group_id: str) -> ConsumerError:
    if error is GroupAuthorizationFailedError:
        return PreconditionError(
            f"group {group_id}: not authorized; fix: grant READ on group {group_id}"
        )
    return TransientError(error.__name__, f"group {group_id} cannot be described")


def _member(
    member_id: str,
    client_id: str,
    host: str,
    _metadata: bytes,
    assignment: bytes,
) -> Member:
    partitions = ConsumerProtocol.ASSIGNMENT.decode(assignment).partitions() if assignment else ()
    owned = tuple(sorted(TopicPartition(*found) for found in partitions))
    return Member(member_id, client_id, host, owned)
