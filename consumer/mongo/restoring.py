"""Putting documents back that somebody altered: the one place where anything is overwritten.

A document is restored only by the very record it says it came from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, assert_never

from bson.raw_bson import RawBSONDocument

from consumer.contract.record import Position
from consumer.mongo.clients import Client, collection_of, database_of
from consumer.mongo.collections import Collections
from consumer.mongo.dry_run import Memory, asking, is_taken
from consumer.mongo.duplicates import LookUp
from consumer.mongo.errors import driver_errors
from consumer.ports import Store, WriteBatch
from consumer.settings.model import MongoSettings
from consumer.state.batch import APPLIED
from consumer.state.bson_compare import raw_document
from consumer.state.outcomes import Outcome, Result
from consumer.state.writes import CreateWrite, EndWrite, EventWrite, Write

MET_ITS_OWN_PLACE = frozenset({Outcome.CONFLICT, Outcome.REDELIVERED})
"""How a record ends whose document has been altered: in what counts as content, or beside it."""

_OF_ENDS = ("eventCount", "reason")


class Restorer(Protocol):
    """Writes a record's content over what is stored in its place."""

    async def restore(self, write: Write) -> bool:
        """Restore, if the document says it came from this record; tell whether it did.

        Raises ``TransientError``.
        """
        ...


class RestoringStore:
    """``Store`` that restores the documents of some records where they differ from them."""

    def __init__(
        self, store: Store, restorer: Restorer, altered: Callable[[Position], bool]
    ) -> None:
        """``altered`` tells of which records' documents it is known that they were altered."""
        self._store = store
        self._restorer = restorer
        self._altered = altered
        self.restored = 0
        """How many documents have been put back."""

    def prepare(self, writes: Sequence[Write]) -> WriteBatch:
        """See ``Store``."""
        return _RestoringWriteBatch(self, self._store.prepare(writes), writes)

    def forget(self) -> None:
        """See ``Store``."""
        self._store.forget()

    async def restore(self, writes: Sequence[Write], results: Sequence[Result]) -> list[Result]:
        """Return the results after what can be restored has been. Raises ``TransientError``."""
        ended = list(results)
        restored = 0
        for index, (write, result) in enumerate(zip(writes, results, strict=True)):
            if (
                result.outcome in MET_ITS_OWN_PLACE
                and self._altered(write.position)
                and await self._restorer.restore(write)
            ):
                ended[index] = APPLIED
                restored += 1
        self.restored += restored
        return ended


@dataclass(frozen=True, slots=True)
class _RestoringWriteBatch:
    store: RestoringStore
    write_batch: WriteBatch
    writes: Sequence[Write]

    async def execute(self) -> Sequence[Result]:
        return await self.store.restore(self.writes, await self.write_batch.execute())


class MongoRestorer:
    """``Restorer`` over MongoDB."""

    def __init__(self, client: Client, settings: MongoSettings) -> None:
        """Work on the two collections that the settings name. No I/O yet."""
        database = database_of(client, settings)
        self._events = collection_of(database, settings.events)
        self._sessions = collection_of(database, settings.sessions)

    async def restore(self, write: Write) -> bool:
        """See ``Restorer``."""
        condition = own_place(write)
        with driver_errors():
            if isinstance(write, EventWrite):
                replaced = await self._events.replace_one(condition, write.content)
                return bool(replaced.matched_count)
            updated = await self._sessions.update_one(condition, restoring_update(write))
            return bool(updated.matched_count)


def own_place(write: Write) -> dict[str, Any]:
    """Return the filter of the one document that says it came from the write's record."""
    origin = _origin_field(write)
    condition: dict[str, Any] = {"sessionId": write.session_id}
    if isinstance(write, EventWrite):
        condition["eventId"] = write.event_id
    return condition | {
        f"{origin}.{name}": value for name, value in write.position._asdict().items()
    }


def restoring_update(write: CreateWrite | EndWrite) -> dict[str, Any]:
    """Return what makes the fields that a session's write owns say what it says."""
    update: dict[str, Any] = {"$set": write.content}
    if isinstance(write, EndWrite):
        strangers = {name: "" for name in _OF_ENDS if name not in write.content}
        if strangers:
            update["$unset"] = strangers
    if write.expire_at is not None:
        update["$max"] = {"expireAt": write.expire_at}
    return update


class DryRestorer:
    """``Restorer`` that only finds out what would be restored."""

    def __init__(self, collections: Collections, memory: Memory) -> None:
        """Read from ``collections``, remember in ``memory`` what would be restored."""
        self._collections = collections
        self._memory = memory

    async def restore(self, write: Write) -> bool:
        """See ``Restorer``."""
        came: list[bool] = []

        def tell(stored: RawBSONDocument | None) -> None:
            came.append(
                stored is not None and is_taken(write, stored) and _came_from(stored, write)
            )

        remembered = await self._memory.recall([write.identity])
        if write.identity in remembered:
            tell(raw_document(remembered[write.identity]))
        else:
            troubles = await LookUp(self._collections).ask([asking(write, tell)])
            if troubles:
                raise troubles[0]
        if not any(came):
            return False
        await self._memory.remember({write.identity: bytes(write.content.raw)})
        return True


def _came_from(stored: RawBSONDocument, write: Write) -> bool:
    origin = stored.get(_origin_field(write))
    if not isinstance(origin, Mapping):
        return False
    return all(origin.get(name) == value for name, value in write.position._asdict().items())


def _origin_field(write: Write) -> str:
    match write:
        case EventWrite():
            return "from"
        case CreateWrite():
            return "createdFrom"
        case EndWrite():
            return "endedFrom"
        case _:
            assert_never(write)
