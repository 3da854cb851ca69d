"""The question after a duplicate key: is what is stored this message, a copy, or another one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from bson.raw_bson import RawBSONDocument

from consumer.contract.record import Position
from consumer.contract.rejection import Reason, Rejected
from consumer.state.bson_compare import differing_fields, same_but_for_id
from consumer.state.outcomes import Outcome, Result
from consumer.state.writes import CreateWrite, EndWrite, EventWrite, Write


@dataclass(frozen=True, slots=True)
class ComparedFields:
    """Which fields make one message say the same as another.

    ``time`` is compared only where both messages carried it: a relayed copy without a time
    of its own has another record's timestamp. ``origin`` names the record it came from.
    """

    fields: tuple[str, ...]
    time: str | None
    origin: str


_EVENT = ComparedFields(("type", "payload"), "timestamp", "from")
_CREATE = ComparedFields(("language", "metadata"), "startedAt", "createdFrom")
_END = ComparedFields(("status",), None, "endedFrom")

REDELIVERED = Result(Outcome.REDELIVERED)
DUPLICATE = Result(Outcome.DUPLICATE)


def classify_duplicate(write: Write, stored: RawBSONDocument) -> Result:
    """Return how a record ends whose place in the store is taken by ``stored``.

    ``conflict``: other content; what is stored stays. ``redelivered``: the same content from
    this very record. ``duplicate``: the same content from another record. A position alone
    proves nothing: a topic that was created anew has the same offsets with other content.
    """
    if isinstance(write, EventWrite) and same_but_for_id(write.content, stored):
        return REDELIVERED
    foreign = _foreign_ids(write, stored)
    if foreign:
        return conflict(write, foreign)
    content = _content_of(write)
    fields = content.fields
    if content.time is not None and not (
        _time_defaulted(write.content, content) or _time_defaulted(stored, content)
    ):
        fields = (*fields, content.time)
    differing = differing_fields(write.content, stored, fields)
    if differing:
        return conflict(write, differing)
    return REDELIVERED if came_from(stored, write) else DUPLICATE


def compared_fields(write: Write) -> tuple[str, ...]:
    """Return the fields of a document by which ``judge`` judges a write."""
    content = _content_of(write)
    time = () if content.time is None else (content.time,)
    return (*content.fields, *time, content.origin)


def came_from(stored: RawBSONDocument, write: Write) -> bool:
    """Tell whether this very record wrote the document."""
    return origin_of(stored, write) == tuple(write.position)


def origin_of(stored: RawBSONDocument, write: Write) -> tuple[object, ...] | None:
    """Return topic, partition and offset of the record that wrote the document's part.

    None where it names no record: an older writer may have left no origin.
    """
    origin = _origin(stored, _content_of(write))
    return None if origin is None else tuple(origin.get(name) for name in Position._fields)


def origin_field(write: Write) -> str:
    """Return the field in which a document names the record that wrote the write's part."""
    return _content_of(write).origin


def _content_of(write: Write) -> ComparedFields:
    match write:
        case EventWrite():
            return _EVENT
        case CreateWrite():
            return _CREATE
        case EndWrite():
            return _END
        case _:
            assert_never(write)


def _foreign_ids(write: Write, stored: RawBSONDocument) -> tuple[str, ...]:
    """Return the ids that another writer stored in another shape.

    A unique index takes an array for each of its elements, so that it stands in our place.
    """
    ids = {"sessionId": write.session_id}
    if isinstance(write, EventWrite):
        ids["eventId"] = write.event_id
    return tuple(name for name, value in ids.items() if stored.get(name, value) != value)


def conflict(write: Write, differing: tuple[str, ...]) -> Result:
    """Return how a record ends whose place is taken by a document that differs in these."""
    noun = "event" if isinstance(write, EventWrite) else "session"
    detail = f"the stored {noun} differs in {', '.join(differing)}"
    return Result(Outcome.CONFLICT, Rejected(Reason.CONFLICT, detail))


def _origin(document: RawBSONDocument, content: ComparedFields) -> RawBSONDocument | None:
    origin = document.get(content.origin)
    return origin if isinstance(origin, RawBSONDocument) else None


def _time_defaulted(document: RawBSONDocument, content: ComparedFields) -> bool:
    origin = _origin(document, content)
    return origin is not None and origin.get("defaulted") is True
