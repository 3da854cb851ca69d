"""A member that another process has fenced while it was at work."""

from __future__ import annotations

import asyncio

import pytest

from consumer.kafka.static_membership import FENCED_INSTANCE_ID, FencedError
from tests.faults.kafka.clusters import mocked
from tests.faults.kafka.engine import WatchedStore, publish_events, running
from tests.faults.kafka.frames import Api, saying
from tests.faults.kafka.reading import ONE, quick

UNKNOWN_MEMBER_ID = 25


async def be_fenced_during_a_batch() -> None:
    """Return, or raise, when the member has ended; ask it to after a while."""
    async with mocked(1) as (_, frames):
        await publish_events(frames.bootstrap_servers, {ONE: 20})
        store = WatchedStore()
        store.open.clear()
        settings = quick(frames.bootstrap_servers, group_instance_id="instance")
        async with running(settings, store) as member:
            assert member.ended is not None
            await member.until(store.entered.is_set)
            frames.edit(Api.JOIN_GROUP, saying(FENCED_INSTANCE_ID))
            frames.edit(Api.HEARTBEAT, saying(UNKNOWN_MEMBER_ID), times=1)
            await member.until(lambda: "rebalance" in str(member.health.unready_reasons()))
            store.open.set()
            await asyncio.wait([member.ended], timeout=10)


@pytest.mark.reliability("A16")
async def test_a_member_that_is_fenced_during_a_batch_ends_and_waits_for_no_assignment() -> None:
    with pytest.raises(FencedError):
        await be_fenced_during_a_batch()
