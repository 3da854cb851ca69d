"""The kinds of message there are: what each says, where that is stored, and how it is written.

The four of the contract are declared here, and those of others beside them when the process starts
(``consumer.own_kinds``). Whatever decodes, stores, proves or documents messages asks here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from consumer.contract.messages import (
    EventRecorded,
    MessageKind,
    SessionCompleted,
    SessionCreated,
    SessionFailed,
)

SESSIONS: Final = "sessions"
"""The collection that the setting ``mongo.sessions`` names."""
EVENTS: Final = "events"
"""The collection that the setting ``mongo.events`` names."""


@dataclass(frozen=True, slots=True)
class InsertOnce:
    """The first message of an identity is stored, and stays as it is."""


@dataclass(frozen=True, slots=True)
class UpsertNewest:
    """The message stays whose ``by`` is the highest of its identity; it is the whole document.

    ``by``: an integer or a time that every message has. It never goes back, so that no order of
    messages, and no repetition, ends in another document.
    """

    by: str


@dataclass(frozen=True, slots=True)
class SetOnce:
    """Fields of a document that several kinds share: set unless ``field`` has a ``refused`` value.

    None: any value. No such field goes back, so a guard that has failed once fails for ever.
    """

    field: str
    refused: frozenset[str] | None

    def condition(self) -> dict[str, Any]:
        """Return the guard as part of a filter."""
        if self.refused is None:
            return {self.field: None}
        return {self.field: {"$nin": sorted(self.refused)}}

    def holds(self, stored: Mapping[str, Any]) -> bool:
        """Tell whether the write applies to what is stored: the same as ``condition`` matching."""
        value = stored.get(self.field)
        if self.refused is None:
            return value is None
        return not (isinstance(value, str) and value in self.refused)


@dataclass(frozen=True, eq=False, slots=True)
class Kind:
    """One kind of message. ``name`` is its ``type``.

    ``model``: a class of pydantic's, or one of ``messages``. ``collection``: the name of a
    collection of its own, or one of the two above. ``identity``: the fields of the document in its
    unique index; the first is sessionId. ``time``: the field in which a message says its own time;
    where it says none, that is its record's. ``example``: a message, for the contract's documents.

    ``part`` is what it writes of a document, ``document`` what people call that, and ``origin`` the
    field of it that names the record. Two messages say the same where the fields of ``content`` are
    equal, and ``compared_time`` where both carried it: a relayed copy without a time of its own
    has another record's timestamp.
    """

    name: str
    model: type[Any]
    collection: str
    identity: tuple[str, ...]
    write: InsertOnce | UpsertNewest | SetOnce
    time: str | None = None
    example: Mapping[str, Any] | None = None
    part: str = ""
    document: str = ""
    content: tuple[str, ...] = ()
    compared_time: str | None = None
    origin: str = "from"


ENDED_STATUSES: Final = frozenset({"completed", "failed"})
_UNLESS_ENDED: Final = SetOnce("status", ENDED_STATUSES)

SESSION_CREATED: Final = Kind(
    MessageKind.SESSION_CREATED.value,
    SessionCreated,
    SESSIONS,
    ("sessionId",),
    SetOnce("startedAt", None),
    time="startedAt",
    part="create",
    document="session",
    content=("language", "metadata"),
    compared_time="startedAt",
    origin="createdFrom",
)
SESSION_COMPLETED: Final = Kind(
    MessageKind.SESSION_COMPLETED.value,
    SessionCompleted,
    SESSIONS,
    ("sessionId",),
    _UNLESS_ENDED,
    time="endedAt",
    part="end",
    document="session",
    content=("status",),
    origin="endedFrom",
)
SESSION_FAILED: Final = Kind(
    MessageKind.SESSION_FAILED.value,
    SessionFailed,
    SESSIONS,
    ("sessionId",),
    _UNLESS_ENDED,
    time="endedAt",
    part="end",
    document="session",
    content=("status",),
    origin="endedFrom",
)
EVENT_RECORDED: Final = Kind(
    MessageKind.EVENT_RECORDED.value,
    EventRecorded,
    EVENTS,
    ("sessionId", "eventId"),
    InsertOnce(),
    time="timestamp",
    part="event",
    document="event",
    content=("type", "payload"),
    compared_time="timestamp",
)

_OF_THE_CONTRACT: Final = (SESSION_CREATED, SESSION_COMPLETED, SESSION_FAILED, EVENT_RECORDED)


class _Registry:
    """What is known, looked up once: filled at the start of the process, and never changed."""

    def __init__(self, *own: Kind) -> None:
        self.kinds = {kind.name: kind for kind in (*_OF_THE_CONTRACT, *own)}
        self.collections: dict[str, list[Kind]] = {}
        for kind in self.kinds.values():
            self.collections.setdefault(kind.collection, []).append(kind)


_registry = _Registry()


def known_kinds() -> Mapping[str, Kind]:
    """Return all kinds by name, those of the contract first."""
    return _registry.kinds


def collections() -> Mapping[str, Sequence[Kind]]:
    """Return the collections, sessions first, each with the kinds that are stored in it.

    All kinds of one have the same identity, and are inserted or not alike.
    """
    return _registry.collections


def key_of(collection: str) -> tuple[str, ...]:
    """Return the fields of a collection's unique index."""
    return _registry.collections[collection][0].identity
