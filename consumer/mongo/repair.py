"""Putting documents back that somebody altered: the one place where anything is overwritten.

A document is put back only by the very record it says it came from.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from consumer.contract.record import Position
from consumer.mongo.clients import Client, collections_of, database_of
from consumer.mongo.driver_errors import driver_errors
from consumer.ports import Store, WriteBatch
from consumer.settings.model import MongoSettings
from consumer.state.outcomes import APPLIED, Outcome, Result
from consumer.state.writes import DocumentWrite, EventWrite, Write

FOUND_ITS_OWN = frozenset({Outcome.CONFLICT, Outcome.REDELIVERED, Outcome.SKIPPED})
"""How a record ends whose document has been altered: in what counts as content, or beside it,
or in what tells which of two versions is the newer one."""

_OF_ENDS = ("eventCount", "reason")


Repair = Callable[[Write], Awaitable[bool]]
"""Writes a record's content over what is stored in its place, if the document says that it came
from this record; tells whether it did. Raises ``TransientError``."""


@dataclass(slots=True)
class RepairingStore:
    """``Store`` that puts the documents of some records back where they differ from them.

    ``altered`` tells of which records' documents it is known that they were altered;
    ``repaired``: how many documents have been put back.
    """

    store: Store
    put_back: Repair
    altered: Callable[[Position], bool]
    repaired: int = 0

    def prepare(self, writes: Sequence[Write]) -> WriteBatch:
        """See ``Store``."""
        return partial(self._execute, self.store.prepare(writes), writes)

    def forget(self) -> None:
        """See ``Store``."""
        self.store.forget()

    async def _execute(self, batch: WriteBatch, writes: Sequence[Write]) -> Sequence[Result]:
        """Return the results after what can be put back has been. Raises ``TransientError``."""
        results = list(await batch())
        repaired = 0
        for index, (write, result) in enumerate(zip(writes, results, strict=True)):
            if (
                result.outcome in FOUND_ITS_OWN
                and self.altered(write.position)
                and await self.put_back(write)
            ):
                results[index] = APPLIED
                repaired += 1
        self.repaired += repaired
        return results


async def put_back(client: Client, settings: MongoSettings, write: Write) -> bool:
    """Overwrite a document in MongoDB, see ``Repair``."""
    collection = collections_of(database_of(client, settings), settings)[write.kind.collection]
    condition = origin_filter(write)
    with driver_errors():
        if isinstance(write, EventWrite) or write.is_whole:
            replaced = await collection.replace_one(condition, write.content)
            return bool(replaced.matched_count)
        updated = await collection.update_one(condition, repairing_update(write))
        return bool(updated.matched_count)


def origin_filter(write: Write) -> dict[str, Any]:
    """Return the filter of the one document that says it came from the write's record."""
    condition: dict[str, Any] = dict(zip(write.kind.identity, write.ids, strict=True))
    origin = write.kind.origin
    return condition | {
        f"{origin}.{name}": value for name, value in write.position._asdict().items()
    }


def repairing_update(write: DocumentWrite) -> dict[str, Any]:
    """Return what makes the fields that a session's write owns say what it says."""
    update: dict[str, Any] = {"$set": write.content}
    if write.ends_as is not None:
        foreign_fields = {name: "" for name in _OF_ENDS if name not in write.content}
        if foreign_fields:
            update["$unset"] = foreign_fields
    if write.expire_at is not None:
        update["$max"] = {"expireAt": write.expire_at}
    return update
