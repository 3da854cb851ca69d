"""A proxy that understands Kafka's messages: it rewrites replies, holds requests, loses answers.

Every broker gets a proxy of its own, and the replies that name brokers name the proxies, so
that a client never finds a way around them.
"""

from __future__ import annotations

import asyncio
import struct
from asyncio import IncompleteReadError, StreamReader
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from aiokafka.protocol.commit import OffsetCommitRequest, OffsetFetchRequest
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.group import HeartbeatRequest, JoinGroupRequest, SyncGroupRequest
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.protocol.offset import OffsetRequest
from aiokafka.protocol.produce import ProduceRequest

from tests.faults.proxy import LOOPBACK, Proxy, Receive, Way, proxied

_LENGTH = struct.Struct(">i")
_REQUEST = struct.Struct(">hhi")
_REPLY = struct.Struct(">ii")


class Api(IntEnum):
    """The requests, by their numbers in Kafka's protocol."""

    PRODUCE = 0
    FETCH = 1
    LIST_OFFSETS = 2
    METADATA = 3
    OFFSET_COMMIT = 8
    OFFSET_FETCH = 9
    FIND_COORDINATOR = 10
    JOIN_GROUP = 11
    HEARTBEAT = 12
    LEAVE_GROUP = 13
    SYNC_GROUP = 14


_NAMING_BROKERS = frozenset({Api.METADATA, Api.FIND_COORDINATOR})
_REQUESTS: Mapping[int, Any] = {
    request.API_KEY: request
    for request in (
        FetchRequest,
        HeartbeatRequest,
        JoinGroupRequest,
        MetadataRequest,
        OffsetCommitRequest,
        OffsetFetchRequest,
        OffsetRequest,
        ProduceRequest,
        SyncGroupRequest,
    )
}

Edit = Callable[[Any], Any]
"""Returns the reply to send in place of the one that came; both are aiokafka's structures."""


@dataclass(slots=True)
class Asked:
    """A request on its way. ``body``: what follows its header, which ends with the client's id.

    ``refusal``: the error that is said in place of the broker's answer.
    """

    api: int
    version: int
    body: bytes
    refusal: int | None = None

    @property
    def request(self) -> Any:
        """The request as aiokafka's structure."""
        return _structure(self.api, self.version).decode(self.body)


@dataclass(slots=True, eq=False)
class Rule:
    """What happens to the messages of one kind, ``times`` times; None: until it is ended."""

    api: Api
    times: int | None = None
    edit: Edit | None = None
    code: int = 0
    open: asyncio.Event = field(default_factory=asyncio.Event)
    met: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once a message has met the rule."""
    count: int = 0

    def applies(self) -> bool:
        """Take one of the ``times``, if any are left."""
        if self.times is not None and self.count >= self.times:
            return False
        self.count += 1
        self.met.set()
        return True

    def end(self) -> None:
        """Let everything pass from now on, also what was held."""
        self.times = 0
        self.open.set()


class Frames:
    """The proxies of a cluster, in the order of its brokers, and the rules for all of them."""

    def __init__(self) -> None:
        self.proxies: list[Proxy] = []
        self.seen: Counter[int] = Counter()
        """How many requests of each kind have come."""
        self.asked: list[Asked] = []
        """Every request, where ``keep`` is set."""
        self.keep = False
        self.moves: dict[bytes, bytes] = {}
        self._edits: list[Rule] = []
        self._held: list[Rule] = []
        self._lost: list[Rule] = []
        self._refused: list[Rule] = []

    @property
    def bootstrap_servers(self) -> str:
        return ",".join(f"{LOOPBACK}:{proxy.port}" for proxy in self.proxies)

    def edit(self, api: Api, edit: Edit, *, times: int | None = None) -> Rule:
        """Replace replies."""
        return self._added(self._edits, Rule(api, times, edit))

    def hold(self, api: Api, *, times: int | None = None) -> Rule:
        """Keep requests from the broker until the rule is ended."""
        return self._added(self._held, Rule(api, times))

    def lose(self, api: Api, *, times: int | None = None) -> Rule:
        """Let requests through and swallow the replies."""
        return self._added(self._lost, Rule(api, times))

    def refuse_commits(self, code: int, *, times: int | None = None) -> Rule:
        """Answer commits with an error for each partition; the broker stores nothing."""
        return self._added(self._refused, Rule(Api.OFFSET_COMMIT, times, code=code))

    def _added(self, rules: list[Rule], rule: Rule) -> Rule:
        rules.append(rule)
        return rule

    def framing(self) -> Mapping[Way, Receive]:
        """Return what takes the messages of one new connection."""
        connection = _Connection(self)
        return {Way.REQUESTS: connection.request, Way.REPLIES: connection.reply}

    async def ask(self, asked: Asked, frame: bytes) -> bytes:
        """Return the request as the broker is to have it, when it is to have it."""
        self.seen[asked.api] += 1
        if self.keep:
            self.asked.append(asked)
        for rule in self._held:
            if rule.api == asked.api and rule.applies():
                await rule.open.wait()
        for rule in self._refused:
            if rule.api == asked.api and rule.applies():
                asked.refusal = rule.code
                nothing = asked.request
                nothing.topics = []
                body: bytes = nothing.encode()
                head = frame[_LENGTH.size : len(frame) - len(asked.body)]
                return _LENGTH.pack(len(head) + len(body)) + head + body
        return frame

    def answer(self, asked: Asked, frame: bytes) -> bytes | None:
        """Return the reply as the client is to have it, None where it gets none."""
        for rule in self._lost:
            if rule.api == asked.api and rule.applies():
                return None
        if asked.api in _NAMING_BROKERS:
            for before, after in self.moves.items():
                frame = frame.replace(before, after)
        for rule in self._edits:
            if rule.api == asked.api and rule.edit is not None and rule.applies():
                frame = _edited(asked, frame, rule.edit)
        if asked.refusal is not None:
            frame = _edited(asked, frame, _refusing(asked.request.topics, asked.refusal))
        return frame


def _edited(asked: Asked, frame: bytes, edit: Edit) -> bytes:
    kind = _structure(asked.api, asked.version).RESPONSE_TYPE
    body: bytes = edit(kind.decode(frame[_REPLY.size :])).encode()
    _, correlation = _REPLY.unpack_from(frame)
    return _REPLY.pack(_LENGTH.size + len(body), correlation) + body


def _refusing(topics: Any, code: int) -> Edit:
    def edit(reply: Any) -> Any:
        reply.topics = [(name, [(number, code) for number, *_ in parts]) for name, parts in topics]
        return reply

    return edit


class _Connection:
    """Knows which reply answers which request."""

    def __init__(self, frames: Frames) -> None:
        self._frames = frames
        self._asked: dict[int, Asked] = {}

    async def request(self, reader: StreamReader) -> bytes:
        frame = await _frame(reader)
        if frame:
            asked, correlation = _asked(frame)
            self._asked[correlation] = asked
            frame = await self._frames.ask(asked, frame)
        return frame

    async def reply(self, reader: StreamReader) -> bytes:
        while frame := await _frame(reader):
            _, correlation = _REPLY.unpack_from(frame)
            answer = self._frames.answer(self._asked.pop(correlation), frame)
            if answer is not None:
                return answer
        return b""


def _asked(frame: bytes) -> tuple[Asked, int]:
    api, version, correlation = _REQUEST.unpack_from(frame, _LENGTH.size)
    client_at = _LENGTH.size + _REQUEST.size
    (client_bytes,) = struct.unpack_from(">h", frame, client_at)
    return Asked(api, version, frame[client_at + 2 + max(client_bytes, 0) :]), correlation


def _structure(api: int, version: int) -> Any:
    return next(kind for kind in _REQUESTS[api]._CLASSES if version == kind.API_VERSION)


async def _frame(reader: StreamReader) -> bytes:
    """Return the next message whole, with its length in front; empty at the end."""
    try:
        head = await reader.readexactly(_LENGTH.size)
        return head + await reader.readexactly(_LENGTH.unpack(head)[0])
    except IncompleteReadError:
        return b""


def _address(port: int) -> bytes:
    """A broker's address as replies have it: the name, then the port in four bytes."""
    return LOOPBACK.encode() + port.to_bytes(4, "big")


@asynccontextmanager
async def framed(bootstrap_servers: str) -> AsyncIterator[Frames]:
    """Run a proxy in front of each of these brokers, which must be all there are."""
    frames = Frames()
    async with AsyncExitStack() as stack:
        for address in bootstrap_servers.split(","):
            host, _, port = address.rpartition(":")
            assert host == LOOPBACK, f"{host} is not {LOOPBACK}: its name would not be replaced"
            proxy = await stack.enter_async_context(proxied(host, int(port), frames.framing))
            frames.proxies.append(proxy)
            frames.moves[_address(int(port))] = _address(proxy.port)
        yield frames


def saying(code: int) -> Callable[[Any], Any]:
    """Return the edit of a reply that has one error code for everything."""

    def edit(reply: Any) -> Any:
        reply.error_code = code
        return reply

    return edit
