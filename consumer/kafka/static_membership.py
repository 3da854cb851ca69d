"""A member with a ``group.instance.id`` (KIP-345), where aiokafka 0.14 does only half of it.

It joins with the id, and does not leave with one. But its heartbeats and commits do not name the
id, so that a member whose id another process has taken over hears ``UNKNOWN_MEMBER_ID``, as after a
session timeout: it would join again without its old member id, take the id back, and both would
go on like that for ever. And only a leader that has computed an assignment looks for new
partitions: after its restart, which moves nothing, nobody would.
"""

from __future__ import annotations

import copy
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.client import ConnectionGroup
from aiokafka.coordinator.protocol import ConsumerProtocol
from aiokafka.errors import KafkaError, NoError, UnknownMemberIdError
from aiokafka.protocol.admin import DescribeGroupsRequest
from aiokafka.protocol.group import JoinGroupRequest

from consumer.errors import ConsumerError, ExitCode

FENCED_INSTANCE_ID = 82
"""The broker's code for a member whose instance id another one has; the client has no name."""

STABLE = "Stable"


class FencedError(ConsumerError):
    """Another process has joined the group with this one's instance id. Nothing is to be retried.

    Joining again would throw that one out, and it would do the same.
    """

    exit_code = ExitCode.FENCED


class StaticMembership:
    """What a started consumer with an instance id needs besides; does nothing without one."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        """Watch the consumer's requests to its coordinator."""
        self._consumer = consumer
        self._coordinator = consumer._coordinator  # noqa: SLF001 -- nothing public tells
        self._instance_id: str | None = consumer._group_instance_id  # noqa: SLF001 -- as above
        self._doubted = ""
        """The member id that the broker did not know: lost by a timeout, or to another process."""
        self._fenced = False
        self._asked_for: frozenset[tuple[str, int]] = frozenset()
        if self._instance_id is not None:
            self._notice_fencing()

    def check(self) -> None:
        """Raise ``FencedError`` where another process has the id now."""
        if self._fenced:
            raise FencedError(
                f"another process has joined group {self._coordinator.group_id} with "
                f"kafka.group_instance_id {self._instance_id}; each process needs one of its own"
            )

    def _notice_fencing(self) -> None:
        coordinator = self._coordinator
        send: Callable[[Any], Awaitable[Any]] = coordinator._send_req  # noqa: SLF001 -- as above
        reset: Callable[[], None] = coordinator.reset_generation

        def reset_doubting() -> None:
            self._doubted = coordinator.member_id or self._doubted
            reset()

        async def send_watched(request: Any) -> Any:  # noqa: ANN401 -- aiokafka ships no types
            joining = isinstance(request, JoinGroupRequest)
            if joining and self._doubted and not request._member_id:  # noqa: SLF001 -- as above
                # Asked with its old member id the broker tells whose the instance id is.
                claim = copy.copy(request)
                claim._member_id = self._doubted  # noqa: SLF001 -- as above
                response = self._fencing(await send(claim))
                if response.error_code in {NoError.errno, UnknownMemberIdError.errno}:
                    self._doubted = ""
                if response.error_code != UnknownMemberIdError.errno:
                    return response
            return self._fencing(await send(request))

        coordinator.reset_generation = reset_doubting
        coordinator._send_req = send_watched  # noqa: SLF001 -- as above

    def _fencing(self, response: Any) -> Any:  # noqa: ANN401 -- aiokafka ships no types
        if getattr(response, "error_code", 0) == FENCED_INSTANCE_ID:
            self._fenced = True
            fenced = KafkaError("fenced")
            # The client swallows it, and whoever polls waits for an assignment that never comes.
            self._coordinator._subscription.abort_waiters(fenced)  # noqa: SLF001 -- as above
            raise fenced
        return response

    async def claim_unassigned(self, partition_counts: Mapping[str, int]) -> None:
        """Join again where partitions of the subscribed topics belong to no member.

        Of the members who do so the leader's request makes the group share them anew. Once for
        each set of partitions: where it helps nobody, repeating it would hold up everybody.
        """
        if self._instance_id is None:
            return
        topics = self._consumer.subscription()
        wanted = {(t, p) for t in topics for p in range(partition_counts.get(t, 0))}
        assigned = await self._assigned_to_anyone()
        if assigned is None:
            return
        missing = frozenset(wanted - assigned)
        if missing and missing != self._asked_for:
            self._coordinator.request_rejoin()
        self._asked_for = missing

    async def _assigned_to_anyone(self) -> set[tuple[str, int]] | None:
        """Return what the group's members have; None while they are sharing, or nobody tells."""
        request = DescribeGroupsRequest([self._coordinator.group_id])
        node = self._coordinator.coordinator_id
        if node is None:
            return None
        client = self._consumer._client  # noqa: SLF001 -- as above
        try:
            # Not by the coordinator's own way: a broker that does not know this request (an
            # imitation) would be taken for dead.
            response = await client.send(node, request, group=ConnectionGroup.COORDINATION)
        except (KafkaError, NotImplementedError):
            return None
        code, _, state, _, _, members = response.groups[0][:6]
        if code or state != STABLE:
            return None
        return {
            tuple(partition)
            for member in members
            for partition in ConsumerProtocol.ASSIGNMENT.decode(member[4]).partitions()
        }
