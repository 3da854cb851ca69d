"""The embedded servers are ready when they are said to be, and gone afterwards."""

from __future__ import annotations

import asyncio

import pytest

from consumer.demo.consumers import demo_settings
from consumer.demo.servers import embedded_kafka, embedded_mongodb, embedded_servers
from consumer.kafka.admin import create_topic, open_admin
from consumer.kafka.producer import NOT_IDEMPOTENT
from consumer.mongo.session_reader import open_session_reader
from consumer.settings.sources import load_settings
from producer_tools.outgoing_message import Outgoing, Stream, Topics
from producer_tools.publisher import Publisher


async def listens(address: str) -> bool:
    host, port = address.removeprefix("mongodb://").partition("/")[0].split(":")
    try:
        _, writer = await asyncio.open_connection(host, int(port))
    except OSError:
        return False
    writer.close()
    return True


async def test_both_servers_answer_at_once_and_are_gone_afterwards() -> None:
    async with embedded_servers() as servers:
        settings = load_settings(demo_settings(servers), variables={})
        async with open_admin(settings.kafka) as admin:
            assert await admin._client.list_topics() == []
        async with open_session_reader(settings.mongo) as reader:
            assert await reader.session("nobody") is None
    assert not await listens(servers.bootstrap_servers)
    assert not await listens(servers.mongodb_uri)


async def test_several_can_run_side_by_side() -> None:
    async with embedded_kafka() as one, embedded_kafka() as other, embedded_mongodb():
        assert one != other


async def test_a_server_ends_when_its_user_is_cancelled() -> None:
    started: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def use() -> None:
        async with embedded_kafka() as bootstrap_servers:
            started.set_result(bootstrap_servers)
            await asyncio.get_running_loop().create_future()

    using = asyncio.ensure_future(use())
    bootstrap_servers = await started
    using.cancel()
    with pytest.raises(asyncio.CancelledError):
        await using
    assert not await listens(bootstrap_servers)


async def test_a_broker_without_idempotence_is_written_to_with_one_warning() -> None:
    async with embedded_servers() as servers:
        kafka = load_settings(demo_settings(servers), variables={}).kafka
        for name in Topics().names:
            assert await create_topic(kafka, name, 2)
            assert not await create_topic(kafka, name, 2), "what is there already is left alone"
        warnings: list[str] = []
        async with Publisher(kafka, warn=warnings.append) as publisher:
            await publisher.send_unchecked(Outgoing(Stream.EVENTS, b"key", b"value"))
        assert warnings == [NOT_IDEMPOTENT]
        assert publisher.acknowledged == 1
