"""What a member with an instance id asks before it joins again."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import KafkaError
from aiokafka.protocol.group import JoinGroupRequest

from consumer.kafka.static_membership import FENCED_INSTANCE_ID, FencedError, StaticMembership
from tests.simulation.loop import in_virtual_time

NOT_COORDINATOR, UNKNOWN_MEMBER = 16, 25
pytestmark = pytest.mark.reliability("A16")


class Coordinator:
    """Answers each request with the next of the codes, and keeps by which member it was asked."""

    group_id = "group"

    def __init__(self, *codes: int) -> None:
        self.codes = list(codes)
        self.aborted: list[Exception] = []
        self._subscription = SimpleNamespace(abort_waiters=self.aborted.append)
        self.asked_by: list[str] = []
        self.member_id = "member-1"

    async def _send_req(self, request: Any) -> Any:
        self.asked_by.append(request._member_id)
        return SimpleNamespace(error_code=self.codes.pop(0))

    def reset_generation(self) -> None:
        self.member_id = ""

    async def join(self) -> int:
        joining = JoinGroupRequest("group", 1, 1, self.member_id, "instance", "consumer", [])
        return int((await self._send_req(joining)).error_code)


def member_that_is_not_known(coordinator: Coordinator) -> StaticMembership:
    consumer: Any = SimpleNamespace(_coordinator=coordinator, _group_instance_id="instance")
    membership = StaticMembership(consumer)
    coordinator.reset_generation()
    return membership


@in_virtual_time
async def test_a_member_whose_instance_id_another_one_has_does_not_join() -> None:
    coordinator = Coordinator(FENCED_INSTANCE_ID)
    membership = member_that_is_not_known(coordinator)
    membership.check()
    with pytest.raises(KafkaError):
        await coordinator.join()
    assert coordinator.asked_by == ["member-1"]
    assert coordinator.aborted, "whoever polls would wait for an assignment for ever"
    with pytest.raises(FencedError, match=r"kafka\.group_instance_id instance"):
        membership.check()


@in_virtual_time
async def test_a_member_whose_session_was_over_joins_as_a_new_one() -> None:
    coordinator = Coordinator(UNKNOWN_MEMBER, 0, 0)
    membership = member_that_is_not_known(coordinator)
    assert await coordinator.join() == 0
    assert await coordinator.join() == 0
    assert coordinator.asked_by == ["member-1", "", ""]
    membership.check()


@in_virtual_time
async def test_an_instance_id_is_taken_back_only_where_the_broker_says_that_nobody_has_it() -> None:
    coordinator = Coordinator(NOT_COORDINATOR, FENCED_INSTANCE_ID)
    member_that_is_not_known(coordinator)
    assert await coordinator.join() == NOT_COORDINATOR
    with pytest.raises(KafkaError):
        await coordinator.join()
    assert coordinator.asked_by == ["member-1", "member-1"]
