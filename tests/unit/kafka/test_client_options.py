"""What the group's client is told, of which a wrong word would lose records."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest
from aiokafka.errors import UnknownMemberIdError

from consumer.kafka.client import _member_options
from consumer.kafka.client_patches import try_each_commit_once
from consumer.settings.model import KafkaSettings
from tests.simulation.loop import in_virtual_time


@pytest.mark.parametrize(
    ("option", "value"),
    [
        # "latest" would turn a commit that is gone into records that are skipped.
        ("auto_offset_reset", "earliest"),
        # The client's own commits count what was handed out, not what was stored.
        ("enable_auto_commit", False),
        ("isolation_level", "read_committed"),
        ("check_crcs", True),
    ],
)
def test_no_option_of_the_client_can_lose_a_record(option: str, value: object) -> None:
    assert _member_options(KafkaSettings())[option] == value


def test_the_brokers_are_told_the_names_that_are_set() -> None:
    kafka = KafkaSettings(group_instance_id="consumer-0", client_id="blue", client_rack="zone-a")
    told = ("group_instance_id", "client_id", "client_rack")
    assert [_member_options(kafka)[name] for name in told] == ["consumer-0", "blue", "zone-a"]
    named_after_the_group = [None, "conversation-consumer", None]
    assert [_member_options(KafkaSettings())[name] for name in told] == named_after_the_group


@in_virtual_time
@pytest.mark.reliability("F61")
async def test_how_a_commit_ends_that_was_given_up_is_nobodys_complaint() -> None:
    refused = asyncio.Event()

    async def refuse(*_: object) -> None:
        await refused.wait()
        raise UnknownMemberIdError

    coordinator = SimpleNamespace(_do_commit_offsets=refuse)
    try_each_commit_once(SimpleNamespace(_coordinator=coordinator))

    async def commit() -> None:
        await asyncio.shield(coordinator._do_commit_offsets(None, {}))

    given_up = asyncio.ensure_future(commit())
    await asyncio.sleep(0.1)
    given_up.cancel()
    await asyncio.wait([given_up])
    refused.set()
    await asyncio.sleep(0.1)
