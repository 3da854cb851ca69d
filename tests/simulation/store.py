"""The database as one process sees it: over a network, not atomic, and out of order at times."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import product
from random import Random
from typing import Any

from consumer.contract.kinds import SESSIONS, key_of
from consumer.errors import TimedOutError, TransientError
from consumer.mongo.collections import BulkReply, ConnectionLostError, WriteFailure
from consumer.state.guards import Upsert
from tests.fakes.collections import DUPLICATE_KEY, MemoryCollections
from tests.simulation.loop import SimulationLoop
from tests.simulation.network import Link, LostError, Network

VALIDATION_FAILED = 121
WRITE_CONFLICT = 112
THROTTLED = 16500
WRITE_CONCERN_TIMEOUT = 64
SHUT_DOWN = 91

REFUSED_MARK = "the validator refuses this"
"""A document with this text in it is refused by the collection's validator."""

Statement = Callable[[], WriteFailure | None]


@dataclass(slots=True)
class StoreTroubles:
    """What goes wrong just now, as shares of commands (or of statements)."""

    down: bool = False
    interrupted: float = 0.0
    """Commands cut off after some of their statements."""
    write_concern: float = 0.0
    throttled: float = 0.0
    """Statements refused for now."""
    deposed: float = 0.0
    """Finds that do not see what is there."""
    interleaved: float = 0.3
    """Bulks whose statements are carried out one by one, with others in between."""


@dataclass(slots=True)
class Database:
    """The server, one for all processes."""

    loop: SimulationLoop
    chance: Random
    memory: MemoryCollections = field(default_factory=MemoryCollections)
    troubles: StoreTroubles = field(default_factory=StoreTroubles)

    # --- statements ---------------------------------------------------------------

    def insert(self, collection: str, document: bytes) -> Statement:
        """Insert one document."""
        carry_out = self.memory._insert(collection, document)

        def insert() -> WriteFailure | None:
            refused = self._refusal()
            if refused is None and REFUSED_MARK.encode() in document:
                refused = WriteFailure(VALIDATION_FAILED)
            return refused or carry_out()

        return insert

    def upsert(self, collection: str, statement: Upsert, *, race: bool) -> Statement:
        """Upsert one document; ``race``: somebody else may insert it after it was not found."""
        carry_out = self.memory._upsert(collection, statement)
        key = key_of(collection)
        ids = tuple(statement.filter[name] for name in key)
        found = not race or self.memory.found(collection, [ids], None)

        def upsert() -> WriteFailure | None:
            refused = self._refusal()
            if refused is None and not found and self.memory.found(collection, [ids], None):
                return WriteFailure(DUPLICATE_KEY, key)
            return refused or carry_out()

        return upsert

    def _refusal(self) -> WriteFailure | None:
        if self.troubles.throttled and self.chance.random() < self.troubles.throttled:
            return WriteFailure(THROTTLED if self.chance.random() < 0.5 else WRITE_CONFLICT)
        return None

    # --- commands -------------------------------------------------------------------

    def bulk(self, statements: Sequence[Statement]) -> BulkReply | asyncio.Future[BulkReply]:
        """Carry statements out, in a random order, at once or one by one."""
        troubles, chance = self.troubles, self.chance
        if troubles.down:
            raise ConnectionLostError("NotPrimaryError")
        order = list(range(len(statements)))
        chance.shuffle(order)
        if troubles.interrupted and chance.random() < troubles.interrupted:
            for index in order[: chance.randrange(len(order) + 1)]:
                statements[index]()
            raise self._timeout_or_loss()
        if troubles.write_concern and chance.random() < troubles.write_concern:
            return self._unconcerned(statements, order)
        if len(order) > 1 and chance.random() < troubles.interleaved:
            return self._one_by_one(statements, order)
        return BulkReply(_carry_out(statements, order))

    def _timeout_or_loss(self) -> TransientError:
        if self.chance.random() < 0.3:
            return TimedOutError("NetworkTimeout")
        return ConnectionLostError("AutoReconnect")

    def _unconcerned(self, statements: Sequence[Statement], order: Sequence[int]) -> BulkReply:
        """Write or do not write; say something about each index that means nothing."""
        failures: dict[int, WriteFailure] = {}
        if self.chance.random() < 0.5:
            failures = _carry_out(statements, order)
        elif self.chance.random() < 0.5:
            # What was met is rolled back by the time anybody looks.
            failures = {index: WriteFailure(DUPLICATE_KEY) for index in order[::2]}
        code = WRITE_CONCERN_TIMEOUT if self.chance.random() < 0.5 else SHUT_DOWN
        return BulkReply(failures, code)

    def _one_by_one(
        self, statements: Sequence[Statement], order: Sequence[int]
    ) -> asyncio.Future[BulkReply]:
        done: asyncio.Future[BulkReply] = self.loop.create_future()
        failures: dict[int, WriteFailure] = {}
        left = iter(order)

        def step() -> None:
            index = next(left, None)
            if index is None:
                done.set_result(BulkReply(failures))
                return
            failures.update(_carry_out(statements, [index]))
            self.loop.in_world(self.chance.random() * 0.003, step)

        step()
        return done

    def find(
        self, collection: str, ids: Sequence[Sequence[str]], fields: Collection[str] | None
    ) -> Sequence[bytes]:
        """Answer with what stands at these places."""
        keys: Iterable[tuple[str, ...]] = product(*ids)
        if collection == SESSIONS:
            # Nobody draws for a session that is not there: the seeds that are kept rely on it.
            keys = (key for key in keys if key[0] in self.memory.sessions)
        return self.memory.found(collection, [key for key in keys if self._sees()], fields)

    def _sees(self) -> bool:
        """Tell whether a find sees what is there: a deposed primary need not."""
        if self.troubles.down:
            raise ConnectionLostError("NotPrimaryError")
        return not self.troubles.deposed or self.chance.random() >= self.troubles.deposed


def _carry_out(statements: Sequence[Statement], order: Iterable[int]) -> dict[int, WriteFailure]:
    outcomes = {index: statements[index]() for index in order}
    return {index: failed for index, failed in outcomes.items() if failed is not None}


class SimulatedCollections:
    """Implements ``Collections`` for one process."""

    def __init__(self, database: Database, network: Network, link: Link) -> None:
        self._database = database
        self._network = network
        self._link = link

    async def insert(self, collection: str, documents: Sequence[bytes]) -> BulkReply:
        database = self._database
        reply: BulkReply = await self._ask(
            lambda: database.bulk([database.insert(collection, one) for one in documents])
        )
        return reply

    async def upsert(self, collection: str, upserts: Sequence[Upsert]) -> BulkReply:
        database = self._database

        def carry_out() -> BulkReply | asyncio.Future[BulkReply]:
            race = database.chance.random() < database.troubles.interleaved
            return database.bulk([database.upsert(collection, one, race=race) for one in upserts])

        reply: BulkReply = await self._ask(carry_out)
        return reply

    async def find(
        self, collection: str, *ids: Sequence[str], fields: Collection[str] | None = None
    ) -> AsyncGenerator[Sequence[bytes], None]:
        yield await self._ask(lambda: self._database.find(collection, ids, fields))

    async def _ask(self, action: Callable[[], Any]) -> Any:
        try:
            return await self._network.call(self._link, action)
        except LostError:
            raise ConnectionLostError("AutoReconnect") from None
