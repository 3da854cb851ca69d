"""The collections in memory, with faults on demand. No clock, no thread, no chance."""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import product
from typing import Any

import bson
from bson.datetime_ms import DatetimeMS
from bson.raw_bson import RawBSONDocument

from consumer.contract.kinds import EVENTS, SESSIONS, key_of, known_kinds
from consumer.errors import ConsumerError
from consumer.mongo.collections import BulkReply, WriteFailure
from consumer.mongo.duplicates import ids_in
from consumer.state.bson_compare import SERVER_ID_BYTES, raw_document
from consumer.state.guards import Upsert
from tests.model import Document

DUPLICATE_KEY = 11000

_SERVER_ID = b"\x07_id\0" + bytes(12)


class Command(StrEnum):
    """The primitives, as faults name them."""

    INSERT_EVENTS = "insert_events"
    UPDATE_SESSIONS = "update_sessions"
    FIND_EVENTS = "find_events"
    FIND_SESSIONS = "find_sessions"
    INSERT_OTHERS = "insert_others"
    UPSERT_OTHERS = "upsert_others"
    FIND_OTHERS = "find_others"


FINDS = {EVENTS: Command.FIND_EVENTS, SESSIONS: Command.FIND_SESSIONS}


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong with one command.

    ``meanwhile`` happens just before it is carried out: a concurrent writer, an operator.
    ``failures`` befall statements, which are then not carried out.
    ``carried_out`` says how many of the first statements reach the store (None: all) before
    ``error`` is raised in place of the answer, or ``write_concern_code`` spoils it.
    ``hidden``: a find sees nothing, as on a primary that was deposed.
    """

    error: ConsumerError | None = None
    carried_out: int | None = None
    failures: Mapping[int, WriteFailure] = field(default_factory=dict)
    write_concern_code: int | None = None
    hidden: bool = False
    meanwhile: Callable[[MemoryCollections], None] | None = None


NO_FAULT = Fault()


def not_carried_out(error: ConsumerError) -> Fault:
    """Return the fault of a command that never reached the server."""
    return Fault(error=error, carried_out=0)


def answer_lost(error: ConsumerError) -> Fault:
    """Return the fault of a command that was carried out, but whose answer got lost."""
    return Fault(error=error)


def projected(session: Mapping[str, Any], fields: Collection[str] | None) -> bytes:
    """Return a session as a find yields it."""
    asked = session if fields is None else {"sessionId", *fields}
    return bson.encode({name: session[name] for name in session if name in asked})


def with_id(event: RawBSONDocument) -> bytes:
    """Return an event as a find yields it: behind an ``_id`` of the server's, if it had none."""
    encoded = bytes(event.raw)
    if "_id" in event:
        return encoded
    length = (len(encoded) + SERVER_ID_BYTES).to_bytes(4, "little")
    return length + _SERVER_ID + encoded[4:]


class MemoryCollections:
    """Implements ``Collections`` with the unique indexes of the design.

    Faults come from ``script`` (in order, by command), else from ``decide``, which is told
    the command and how many statements it has.
    """

    def __init__(self, decide: Callable[[Command, int], Fault | None] | None = None) -> None:
        self.events: dict[tuple[str, str], RawBSONDocument] = {}
        self.sessions: dict[str, dict[str, Any]] = {}
        self.others: defaultdict[str, dict[tuple[str, ...], RawBSONDocument]] = defaultdict(dict)
        """The documents of kinds that are not of the contract, by collection and identity."""
        self.commands: list[tuple[Command, int]] = []
        self._script: defaultdict[Command, deque[Fault]] = defaultdict(deque)
        self._decide = decide

    def script(self, command: Command, *faults: Fault) -> None:
        """Let the next commands of a kind meet these faults, one each."""
        self._script[command].extend(faults)

    def sizes(self, command: Command) -> list[int]:
        """Return how many statements, or ids, each command of a kind carried."""
        return [size for kind, size in self.commands if kind is command]

    def session(self, session_id: str) -> Document | None:
        """Return a session as a reader of the database gets it."""
        found = self.sessions.get(session_id)
        return None if found is None else bson.decode(bson.encode(found))

    def event(self, key: tuple[str, ...]) -> Document | None:
        """Return an event, by sessionId and eventId, as a reader of the database gets it."""
        found = None if len(key) != 2 else self.events.get((key[0], key[1]))
        return None if found is None else bson.decode(bytes(found.raw))

    def other(self, place: tuple[str, ...]) -> Document | None:
        """Return a document of an own kind, by its name and ids."""
        kind, *ids = place
        found = self.others[known_kinds()[kind].collection].get(tuple(ids))
        return None if found is None else bson.decode(bytes(found.raw))

    def other_documents(self) -> dict[str, list[Document]]:
        """Return all documents of own kinds, by kind."""
        own = {kind.collection: name for name, kind in known_kinds().items()}
        return {
            own[collection]: [bson.decode(bytes(one.raw)) for one in places.values()]
            for collection, places in self.others.items()
        }

    def documents(self) -> tuple[list[Document], list[Document]]:
        """Return all sessions and all events."""
        sessions = [one for name in self.sessions if (one := self.session(name)) is not None]
        events = [one for key in self.events if (one := self.event(key)) is not None]
        return sessions, events

    async def insert(self, collection: str, documents: Sequence[bytes]) -> BulkReply:
        command = Command.INSERT_EVENTS if collection == EVENTS else Command.INSERT_OTHERS
        return await self._bulk(command, [self._insert(collection, one) for one in documents])

    async def upsert(self, collection: str, upserts: Sequence[Upsert]) -> BulkReply:
        command = Command.UPDATE_SESSIONS if collection == SESSIONS else Command.UPSERT_OTHERS
        return await self._bulk(command, [self._upsert(collection, one) for one in upserts])

    async def find(
        self, collection: str, *ids: Sequence[str], fields: Collection[str] | None = None
    ) -> AsyncGenerator[Sequence[bytes], None]:
        fault = await self._begin(FINDS.get(collection, Command.FIND_OTHERS), len(ids[-1]))
        for document in self.found(collection, () if fault.hidden else product(*ids), fields):
            yield [document]

    def found(
        self, collection: str, keys: Iterable[tuple[str, ...]], fields: Collection[str] | None
    ) -> list[bytes]:
        """Return what stands at these places; one of another writer can stand in several."""
        if collection == SESSIONS:
            some = [self.sessions[key] for (key,) in keys if key in self.sessions]
            return [projected(one, fields) for one in {id(one): one for one in some}.values()]
        places: Mapping[Any, RawBSONDocument] = (
            self.events if collection == EVENTS else self.others[collection]
        )
        whole = [places[key] for key in keys if key in places]
        return [with_id(one) for one in {id(one): one for one in whole}.values()]

    def put_event(self, document: Mapping[str, Any]) -> None:
        """Store an event as somebody else would have: an array as id takes several places."""
        raw = raw_document(bson.encode(document))
        for session_id in ids_in(raw["sessionId"]):
            for event_id in ids_in(raw["eventId"]):
                self.events[(session_id, event_id)] = raw

    def put_session(self, document: Mapping[str, Any]) -> None:
        """Store a session likewise."""
        raw = raw_document(bson.encode(document))
        session = dict(raw.items())
        for session_id in ids_in(session["sessionId"]):
            self.sessions[session_id] = session

    async def _begin(self, command: Command, size: int) -> Fault:
        """Let others run, then find out what goes wrong; finds raise here."""
        await asyncio.sleep(0)
        self.commands.append((command, size))
        queue = self._script[command]
        fault = queue.popleft() if queue else None
        if fault is None and self._decide is not None:
            fault = self._decide(command, size)
        fault = fault or NO_FAULT
        if fault.meanwhile is not None:
            fault.meanwhile(self)
        if fault.error is not None and command.value.startswith("find_"):
            raise fault.error
        return fault

    async def _bulk(
        self, command: Command, statements: Sequence[Callable[[], WriteFailure | None]]
    ) -> BulkReply:
        fault = await self._begin(command, len(statements))
        failures: dict[int, WriteFailure] = {}
        reach = len(statements) if fault.carried_out is None else fault.carried_out
        for index, statement in enumerate(statements[:reach]):
            failure = fault.failures.get(index) or statement()
            if failure is not None:
                failures[index] = failure
        await asyncio.sleep(0)
        if fault.error is not None:
            raise fault.error
        return BulkReply(failures, fault.write_concern_code)

    def _insert(self, collection: str, encoded: bytes) -> Callable[[], WriteFailure | None]:
        document = raw_document(encoded)
        places: dict[Any, RawBSONDocument] = (
            self.events if collection == EVENTS else self.others[collection]
        )

        def insert() -> WriteFailure | None:
            key = tuple(document[name] for name in key_of(collection))
            if key in places:
                return WriteFailure(DUPLICATE_KEY, key_of(collection))
            places[key] = document
            return None

        return insert

    def _replace(self, collection: str, statement: Upsert) -> Callable[[], WriteFailure | None]:
        places, key = self.others[collection], key_of(collection)
        ids = tuple(statement.filter[name] for name in key)

        def replace() -> WriteFailure | None:
            stored = places.get(ids)
            if stored is not None and not _matches(stored, statement.filter):
                return WriteFailure(DUPLICATE_KEY, key)
            places[ids] = raw_document(bson.encode(statement.update))
            return None

        return replace

    def _upsert(self, collection: str, statement: Upsert) -> Callable[[], WriteFailure | None]:
        if collection != SESSIONS:
            return self._replace(collection, statement)

        def upsert() -> WriteFailure | None:
            session_id = statement.filter["sessionId"]
            stored = self.sessions.get(session_id)
            if stored is not None and not _matches(stored, statement.filter):
                # An upsert that matches nothing inserts, and the unique index has the key.
                return WriteFailure(DUPLICATE_KEY, key_of(SESSIONS))
            update = raw_document(bson.encode(statement.update))
            if stored is None:
                stored = self.sessions[session_id] = {"sessionId": session_id}
                stored.update(update.get("$setOnInsert", {}))
            stored.update(update.get("$set", {}))
            for name, value in update.get("$max", {}).items():
                if name not in stored or int(stored[name]) < int(value):
                    stored[name] = value
            return None

        return upsert


def _at_least(value: Any, least: Any) -> bool:
    """Compare as the server does: numbers with numbers, times with times, nothing else."""
    kinds = (int | float, DatetimeMS)
    comparable = any(isinstance(value, kind) and isinstance(least, kind) for kind in kinds)
    return comparable and not isinstance(value, bool) and bool(value >= least)


def _matches(stored: Mapping[str, Any], condition: Mapping[str, Any]) -> bool:
    """Evaluate the few kinds of condition that the guards are made of.

    As the server does: an array has every value that is in it.
    """
    for name, wanted in condition.items():
        value = stored.get(name)
        values = [*value, value] if isinstance(value, list) else [value]
        if isinstance(wanted, Mapping):
            match dict(wanted):
                case {"$nin": operands, **others} if not others:
                    if any(one in operands for one in values):
                        return False
                case {"$not": {"$gte": least, **others}} if not others:
                    if any(_at_least(one, least) for one in values):
                        return False
                case _:
                    raise NotImplementedError(f"the memory knows no {wanted}")
        elif wanted not in values:
            return False
    return True
