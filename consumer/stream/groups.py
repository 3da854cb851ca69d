"""What the brokers say about a consumer group: members, assignments, committed offsets."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aiokafka.coordinator.protocol import ConsumerProtocol
from aiokafka.errors import (
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    KafkaError,
    NotCoordinatorForGroupError,
    for_code,
)

from consumer.contract.record import TopicPartition
from consumer.errors import TransientError
from consumer.stream.topics import Admin

ATTEMPTS = 20
PAUSE = 0.5
"""Seconds between attempts: the first group of a fresh cluster waits for its offsets topic."""

_PASSING = (
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    NotCoordinatorForGroupError,
)


@dataclass(frozen=True, slots=True)
class Member:
    """One instance in the group."""

    client_id: str
    host: str
    partitions: tuple[TopicPartition, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """A group as its coordinator describes it. ``offsets``: only what has been committed."""

    state: str
    members: Sequence[Member]
    offsets: Mapping[TopicPartition, int]


async def coordinator_of(admin: Admin, group_id: str) -> int:
    """Return the group's coordinator, waiting a little for a fresh cluster to have one.

    Raises ``TransientError``.
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
            raise TransientError(type(error).__name__, "the group cannot be described") from error
        else:
            return node
    raise AssertionError("unreachable: the last attempt returns or raises")


async def describe_group(admin: Admin, group_id: str) -> Group:
    """Describe a group; one that never existed has no members. Raises ``TransientError``."""
    node = await coordinator_of(admin, group_id)
    try:
        replies = await admin.raw.describe_consumer_groups([group_id], node)
        committed = await admin.raw.list_consumer_group_offsets(group_id, node)
    except KafkaError as error:
        raise TransientError(type(error).__name__, "the group cannot be described") from error
    described = replies[0].groups[0]
    if described[0]:
        error_class = for_code(described[0])
        raise TransientError(error_class.__name__, "the group cannot be described")
    members = [_member(*found[:5]) for found in described[5]]
    offsets = {TopicPartition(*p): entry.offset for p, entry in committed.items()}
    return Group(described[2], members, {p: o for p, o in offsets.items() if o >= 0})


def _member(
    _member_id: str,
    client_id: str,
    host: str,
    _metadata: bytes,
    assignment: bytes,
) -> Member:
    partitions = ConsumerProtocol.ASSIGNMENT.decode(assignment).partitions() if assignment else ()
    return Member(client_id, host, tuple(sorted(TopicPartition(*found) for found in partitions)))
