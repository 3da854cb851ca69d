"""The proxy does to connections what it says, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

import pytest

from tests.faults.proxy import LOOPBACK, Proxy, Way, proxied

ABOUT = 0.2
"""Seconds in which something that is held back would have come otherwise."""


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    """A proxy in front of a server that says everything twice."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(1024):
                writer.write(data + data)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, LOOPBACK, 0)
    async with server, proxied(LOOPBACK, server.sockets[0].getsockname()[1]) as proxy:
        yield proxy


class Talk:
    """A client's connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def ask(self, text: bytes) -> bytes:
        self.writer.write(text)
        return await self.reader.readexactly(2 * len(text))

    async def hears(self) -> bytes:
        """Everything until the end; a reset ends it as well."""
        heard = b""
        try:
            while data := await self.reader.read(1024):
                heard += data
        except ConnectionError:
            return heard
        return heard


Connect = Callable[[], Awaitable[Talk]]


@pytest.fixture
async def connect(proxy: Proxy) -> AsyncIterator[Connect]:
    """Connects to the proxy, as often as it is asked to."""
    talks: list[Talk] = []

    async def connected() -> Talk:
        talks.append(Talk(*await asyncio.open_connection(LOOPBACK, proxy.port)))
        return talks[-1]

    yield connected
    for talk in talks:
        talk.writer.close()
        with suppress(ConnectionError):
            await talk.writer.wait_closed()


@pytest.fixture
async def talk(connect: Connect) -> Talk:
    return await connect()


async def test_what_is_said_and_answered_passes_through(talk: Talk) -> None:
    assert await talk.ask(b"hello") == b"hellohello"
    talk.writer.write_eof()
    assert await talk.hears() == b""


async def test_while_it_is_silent_nothing_comes_and_nothing_is_lost(
    proxy: Proxy, talk: Talk
) -> None:
    proxy.fall_silent()
    asking = asyncio.create_task(talk.ask(b"hello"))
    done, _ = await asyncio.wait([asking], timeout=ABOUT)
    assert not done
    proxy.heal()
    assert await asking == b"hellohello"


async def test_whoever_connects_while_it_is_silent_waits(proxy: Proxy, connect: Connect) -> None:
    proxy.fall_silent()
    talk = await connect()
    asking = asyncio.create_task(talk.ask(b"x"))
    done, _ = await asyncio.wait([asking], timeout=ABOUT)
    assert not done
    proxy.heal()
    assert await asking == b"xx"


async def test_a_refused_connection_ends_at_once_and_a_healed_one_does_not(
    proxy: Proxy, talk: Talk, connect: Connect
) -> None:
    await talk.ask(b"x")
    proxy.refuse()
    assert await talk.hears() == b""
    assert await (await connect()).hears() == b""
    proxy.heal()
    assert await (await connect()).ask(b"x") == b"xx"


async def test_an_answer_can_be_cut_in_the_middle(
    proxy: Proxy, talk: Talk, connect: Connect
) -> None:
    await talk.ask(b"x")
    proxy.cut_after(Way.REPLIES, 3)
    talk.writer.write(b"hello")
    assert await talk.hears() == b"hel"
    assert (proxy.cuts, proxy.cut_pending) == (1, False)
    assert await (await connect()).ask(b"hello") == b"hellohello"


async def test_a_request_can_be_cut_before_the_server_has_it_whole(
    proxy: Proxy, talk: Talk
) -> None:
    proxy.cut_after(Way.REQUESTS, 4)
    talk.writer.write(b"x")
    assert await talk.reader.readexactly(2) == b"xx"
    talk.writer.write(b"hello")
    assert await talk.hears() == b""
    assert proxy.cuts == 1


async def test_a_cut_leaves_other_connections_alone(
    proxy: Proxy, talk: Talk, connect: Connect
) -> None:
    other = await connect()
    assert await other.ask(b"x") == b"xx"
    proxy.cut_after(Way.REPLIES, 0)
    talk.writer.write(b"hello")
    assert await talk.hears() == b""
    assert await other.ask(b"x") == b"xx"


async def test_a_slow_one_passes_so_many_bytes_a_second(proxy: Proxy, talk: Talk) -> None:
    proxy.rate = 100.0
    begun = asyncio.get_running_loop().time()
    assert await talk.ask(b"0123456789") == b"0123456789" * 2
    assert asyncio.get_running_loop().time() - begun >= 0.25  # 10 bytes there, 20 back


async def test_a_delayed_one_takes_its_time_both_ways(proxy: Proxy, talk: Talk) -> None:
    proxy.delay = 0.1
    begun = asyncio.get_running_loop().time()
    assert await talk.ask(b"x") == b"xx"
    assert asyncio.get_running_loop().time() - begun >= 0.2


async def test_closing_it_ends_connections_that_hang(proxy: Proxy, talk: Talk) -> None:
    proxy.fall_silent()
    talk.writer.write(b"hello")
    await proxy.close()
    assert await talk.hears() == b""
