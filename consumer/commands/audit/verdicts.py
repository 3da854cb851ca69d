"""What accounts for one record. Pure: documents and letters are handed in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

from consumer.contract.record import Position
from consumer.contract.rejection import Reason, Rejected
from consumer.state.bson_compare import Stored, differing_fields, same_but_for_id
from consumer.state.duplicates import classify_duplicate
from consumer.state.outcomes import Outcome
from consumer.state.writes import (
    PAST_INITIATED,
    CreateWrite,
    EndWrite,
    EventWrite,
    Write,
    guard_of,
    status_of,
)

Identity = tuple[str, ...]
"""A document: ("event", sessionId, eventId) or ("session", sessionId)."""


class DocumentPart(StrEnum):
    """What of a document a record writes: a session is created and ended by two of them."""

    EVENT = "event"
    CREATE = "create"
    END = "end"


class AuditResult(StrEnum):
    """What was found for a record.

    ``repeated``: more than one document has its identity. ``unknown``: all it can have left is
    a dead letter, and letters of its time have expired. ``suspect`` is settled at the end: a
    conflict without its dead letter is missing, unless the document it differs from turns out
    to be altered. ``unread`` is what the group has not committed: an audit leaves it out.
    """

    APPLIED = "applied"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    DEAD = "dead"
    SKIPPED = "skipped"
    MISSING = "missing"
    ALTERED = "altered"
    REPEATED = "repeated"
    UNKNOWN = "unknown"
    SUSPECT = "suspect"
    UNREAD = "unread"


@dataclass(frozen=True, slots=True)
class Judgement:
    """A record's account; for a problem, the document it is about, and what is wrong.

    ``part``: the part of the document that the record itself should have written.
    """

    result: AuditResult
    document: Identity | None = None
    detail: str = ""
    part: DocumentPart | None = None


APPLIED = Judgement(AuditResult.APPLIED)
DUPLICATE = Judgement(AuditResult.DUPLICATE)
SKIPPED = Judgement(AuditResult.SKIPPED)

FINDINGS = (AuditResult.MISSING, AuditResult.ALTERED, AuditResult.REPEATED, AuditResult.UNKNOWN)
"""What an audit is there to find: each is listed, and ends the command with exit code 1."""

NOT_SAID = frozenset({"expireAt"})
"""What no record says: it follows from a setting, which may have changed since."""

_TRACELESS = (AuditResult.MISSING, AuditResult.UNKNOWN, AuditResult.SUSPECT)


@dataclass(frozen=True, slots=True)
class DeadLetterEntry:
    """The dead letter of a record: its reason, None where there is no letter of its group.

    ``expired``: letters of the record's time may have been deleted, so absence says nothing.
    """

    reason: Reason | None
    expired: bool

    def result(self) -> AuditResult:
        """Return what the letter alone says of its record."""
        match self.reason:
            case None:
                return AuditResult.UNKNOWN if self.expired else AuditResult.MISSING
            case Reason.CONFLICT:
                return AuditResult.CONFLICT
            case _:
                return AuditResult.DEAD


def rejected(letter: DeadLetterEntry) -> Judgement:
    """Judge a record that can never be applied: its dead letter is all there can be."""
    account = letter.result()
    return Judgement(account, None, "its dead letter is not there" if letter.reason is None else "")


def document_of(write: Write) -> Identity:
    """Return the document that a write is about."""
    match write:
        case EventWrite():
            return ("event", write.session_id, write.event_id)
        case CreateWrite() | EndWrite():
            return ("session", write.session_id)
        case _:
            assert_never(write)


def part_of(write: Write) -> DocumentPart:
    """Return the part of its document that a write is about."""
    match write:
        case EventWrite():
            return DocumentPart.EVENT
        case CreateWrite():
            return DocumentPart.CREATE
        case EndWrite():
            return DocumentPart.END
        case _:
            assert_never(write)


def stored(
    write: Write,
    document: Stored | None,
    sessions: Sequence[Stored],
    letter: DeadLetterEntry,
) -> Judgement:
    """Judge a record by the document that should hold it, and an event by its session too.

    ``document`` is the only one that has its identity, ``sessions`` are all of its session.
    """
    if document is None:
        return _without(write, letter, "the document is not there")
    if isinstance(write, EventWrite) and same_but_for_id(write.content, document):
        # By far the most, and byte for byte: nothing has to be decoded.
        return _with_session(write, sessions, APPLIED)
    if not isinstance(write, EventWrite) and guard_of(write).holds(document):
        if _came_from(write, document):
            return _about(write, AuditResult.ALTERED, f"{_noun(write)} taken back")
        return _without(write, letter, f"{_noun(write)} is not in it")
    return _compared(write, document, sessions, letter)


def repeated(write: Write, documents: int) -> Judgement:
    """Judge a record whose identity more than one document has."""
    return _about(write, AuditResult.REPEATED, f"{documents} documents have this identity")


def _compared(
    write: Write,
    document: Stored,
    sessions: Sequence[Stored],
    letter: DeadLetterEntry,
) -> Judgement:
    own = _came_from(write, document)
    if own:
        # Whatever its letters say: a replay over an altered document leaves one of a conflict.
        fields = differing_fields(write.content, document, write.content.keys() - NOT_SAID)
        if fields:
            return _about(write, AuditResult.ALTERED, f"changed: {', '.join(sorted(fields))}")
    result = classify_duplicate(write, document)
    match result.outcome:
        case Outcome.CONFLICT if letter.reason is not None:
            return Judgement(letter.result())
        case Outcome.CONFLICT:
            account = AuditResult.UNKNOWN if letter.expired else AuditResult.SUSPECT
            return _about(write, account, "conflicts, and no dead letter is there")
        case _:
            return _with_session(write, sessions, APPLIED if own else DUPLICATE)


def _with_session(write: Write, sessions: Sequence[Stored], found: Judgement) -> Judgement:
    """An event's session must be there, once, and know that it has events."""
    if not isinstance(write, EventWrite):
        return found
    session = ("session", write.session_id)
    if len(sessions) > 1:
        return Judgement(
            AuditResult.REPEATED, session, f"{len(sessions)} documents have this identity"
        )
    if sessions and status_of(sessions[0].get("status")) in PAST_INITIATED:
        return found
    detail = "its session has not begun" if sessions else "its session is not there"
    return Judgement(AuditResult.MISSING, session, detail)


def _without(write: Write, letter: DeadLetterEntry, detail: str) -> Judgement:
    """Judge a record that decodes and is not stored.

    A letter accounts for it where it was refused for good. One of a conflict does not: what
    the record conflicted with should be there. Nor does one that may have expired.
    """
    if letter.reason is None or letter.reason is Reason.CONFLICT:
        return _about(write, AuditResult.MISSING, detail)
    return Judgement(letter.result())


def unread(write: Write | Rejected | None, found: Judgement) -> Judgement:
    """Judge a record that the group has not committed: it may have left no trace yet.

    ``found`` is what a record that was read would be. What has a document or a letter of its
    own was read all the same.
    """
    has_document = isinstance(write, EventWrite) and found.document != document_of(write)
    if has_document or found.result not in _TRACELESS:
        return found
    return Judgement(
        AuditResult.UNREAD, found.document, "the group has not read it yet", found.part
    )


def _about(write: Write, result: AuditResult, detail: str) -> Judgement:
    return Judgement(result, document_of(write), detail, part_of(write))


def _noun(write: CreateWrite | EndWrite) -> str:
    return "its creation" if isinstance(write, CreateWrite) else "its end"


def _came_from(write: Write, document: Stored) -> bool:
    """Tell whether the document says that this very record wrote it."""
    name = {EventWrite: "from", CreateWrite: "createdFrom", EndWrite: "endedFrom"}[type(write)]
    origin = document.get(name)
    if not isinstance(origin, Stored):
        return False
    return position_of(origin) == tuple(write.position)


def position_of(origin: Stored) -> tuple[object, ...]:
    """Return a stored origin as the parts of a position."""
    return tuple(origin.get(name) for name in Position._fields)
