"""A proxy for each broker of a Kafka cluster, so that no client can go around them.

Brokers tell clients where the others are. All of them listen on one loopback address, so in
the replies that say so a port is all that has to be replaced, and no length changes.
"""

from __future__ import annotations

import struct
from asyncio import IncompleteReadError, StreamReader
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from tests.faults.proxy import LOOPBACK, Proxy, Way, any_bytes, proxied

METADATA, FIND_COORDINATOR, DESCRIBE_CLUSTER = 3, 10, 60
TELLING = frozenset({METADATA, FIND_COORDINATOR, DESCRIBE_CLUSTER})
"""The requests whose replies name brokers."""

_LENGTH = struct.Struct(">i")
_REQUEST = struct.Struct(">hhi")


@dataclass(frozen=True, slots=True)
class KafkaProxy:
    """Proxies by the ports of their brokers. ``bootstrap_servers``: those of the proxies."""

    proxies: Mapping[int, Proxy]

    @property
    def bootstrap_servers(self) -> str:
        return ",".join(f"{LOOPBACK}:{proxy.port}" for proxy in self.proxies.values())

    def each(self, do: Callable[[Proxy], None]) -> None:
        """Do the same to all."""
        for proxy in self.proxies.values():
            do(proxy)


@asynccontextmanager
async def kafka_proxied(bootstrap_servers: str) -> AsyncIterator[KafkaProxy]:
    """Run a proxy in front of each of these brokers, which must be all there are."""
    async with AsyncExitStack() as stack:
        proxies: dict[int, Proxy] = {}
        for address in bootstrap_servers.split(","):
            host, _, port = address.rpartition(":")
            assert host == LOOPBACK, f"{host} is not {LOOPBACK}: its name would not be replaced"
            proxies[int(port)] = await stack.enter_async_context(proxied(host, int(port)))
        moves = {_address(port): _address(proxy.port) for port, proxy in proxies.items()}
        for proxy in proxies.values():
            told: set[int] = set()
            proxy.receive[Way.REQUESTS] = lambda reader, told=told: _request(reader, told)
            proxy.receive[Way.REPLIES] = lambda reader, told=told: _reply(reader, told, moves)
        yield KafkaProxy(proxies)


def _address(port: int) -> bytes:
    """A broker's address as replies have it: the name, then the port in four bytes."""
    return LOOPBACK.encode() + port.to_bytes(4, "big")


async def _request(reader: StreamReader, told: set[int]) -> bytes:
    frame = await _frame(reader)
    if len(frame) >= _LENGTH.size + _REQUEST.size:
        key, _, correlation = _REQUEST.unpack_from(frame, _LENGTH.size)
        if key in TELLING:
            told.add(correlation)
    return frame


async def _reply(reader: StreamReader, told: set[int], moves: Mapping[bytes, bytes]) -> bytes:
    frame = await _frame(reader)
    if len(frame) >= 2 * _LENGTH.size:
        (correlation,) = _LENGTH.unpack_from(frame, _LENGTH.size)
        # Correlation ids repeat between connections: the set may name others too, whose
        # replies do not hold an address.
        if correlation in told:
            for before, after in moves.items():
                frame = frame.replace(before, after)
    return frame


async def _frame(reader: StreamReader) -> bytes:
    try:
        head = await reader.readexactly(_LENGTH.size)
    except IncompleteReadError as error:
        return error.partial
    try:
        return head + await reader.readexactly(_LENGTH.unpack(head)[0])
    except IncompleteReadError as error:
        return head + error.partial


_ = any_bytes
