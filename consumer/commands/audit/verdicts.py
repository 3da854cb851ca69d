"""What the stored documents and the dead letter say of one record. Pure: both are handed in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from consumer.commands.common.record_list import RecordProblem
from consumer.contract.rejection import Reason, Rejected
from consumer.state.bson_compare import Stored, differing_fields, same_but_for_id
from consumer.state.guards import has_place_taken
from consumer.state.outcomes import Outcome, came_from, classify_duplicate
from consumer.state.writes import PAST_INITIATED, EventWrite, Write, status_of

Identity = tuple[str, ...]
"""A document: ("event", sessionId, eventId), ("session", sessionId), or a kind and its ids."""


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
    """What was found for a record; for a problem, the document it is about, and what is wrong.

    ``part``: which part of it the record itself should have written, as its kind names it.
    """

    result: AuditResult
    document: Identity | None = None
    detail: str = ""
    part: str = ""


APPLIED = Judgement(AuditResult.APPLIED)
DUPLICATE = Judgement(AuditResult.DUPLICATE)
SKIPPED = Judgement(AuditResult.SKIPPED)

PROBLEMS = tuple(map(AuditResult, RecordProblem))
"""What an audit is there to find: each is listed, and ends the command with exit code 1."""

NOT_SAID = frozenset({"expireAt"})
"""What no record says: it follows from a setting, which may have changed since."""

_NOUNS = {"create": "its creation", "end": "its end"}

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


NO_LETTER = DeadLetterEntry(None, expired=False)


def judge_rejected(dead_letter: DeadLetterEntry) -> Judgement:
    """Judge a record that can never be applied: its dead letter is all there can be."""
    detail = "its dead letter is not there" if dead_letter.reason is None else ""
    return Judgement(dead_letter.result(), None, detail)


def judge_repeated(write: Write, documents: int) -> Judgement:
    """Judge a record whose identity more than one document has."""
    return _about(write, AuditResult.REPEATED, f"{documents} documents have this identity")


def judge_stored(
    write: Write, document: Stored | None, sessions: Sequence[Stored], dead_letter: DeadLetterEntry
) -> Judgement:
    """Judge a record by the document that should hold it, and an event by its session too.

    ``document`` is the only one that has its identity, ``sessions`` are all of its session.
    """
    if document is None:
        return _judge_absent(write, dead_letter, "the document is not there")
    if write.is_whole and same_but_for_id(write.content, document):
        return judge_session(write, sessions)
    own = came_from(document, write)
    if not has_place_taken(write, document):
        noun = _NOUNS.get(write.kind.part, "its version")
        if own:
            return _about(write, AuditResult.ALTERED, f"{noun} taken back")
        return _judge_absent(write, dead_letter, f"{noun} is not in it")
    if own:
        # Whatever its letters say: a replay over an altered document leaves one of a conflict.
        fields = differing_fields(write.content, document, write.content.keys() - NOT_SAID)
        if fields:
            return _about(write, AuditResult.ALTERED, f"changed: {', '.join(sorted(fields))}")
    match classify_duplicate(write, document).outcome:
        case Outcome.CONFLICT if dead_letter.reason is not None:
            return Judgement(dead_letter.result())
        case Outcome.CONFLICT:
            result = AuditResult.UNKNOWN if dead_letter.expired else AuditResult.SUSPECT
            return _about(write, result, "conflicts, and no dead letter is there")
        case Outcome.SKIPPED:
            found = SKIPPED
        case _:
            found = APPLIED if own else DUPLICATE
    return judge_session(write, sessions, found)


def judge_unread(write: Write | Rejected | None, found: Judgement) -> Judgement:
    """Judge a record that the group has not committed: it may have left no trace yet.

    ``found`` is what a record that was read would be. What has a document or a letter of its
    own was read all the same.
    """
    is_there = isinstance(write, Write) and write.is_whole and found.document != _document_of(write)
    if is_there or found.result not in _TRACELESS:
        return found
    detail = "the group has not read it yet"
    return Judgement(AuditResult.UNREAD, found.document, detail, found.part)


def judge_session(
    write: Write, sessions: Sequence[Stored], found: Judgement = APPLIED
) -> Judgement:
    """Judge a record whose own document is right: an event's session must be there, once.

    And know that it has events. ``found``: what is said of the record where all that is so.
    """
    if not isinstance(write, EventWrite):
        return found
    session = ("session", write.session_id)
    if len(sessions) > 1:
        detail = f"{len(sessions)} documents have this identity"
        return Judgement(AuditResult.REPEATED, session, detail)
    if sessions and status_of(sessions[0].get("status")) in PAST_INITIATED:
        return found
    detail = "its session has not begun" if sessions else "its session is not there"
    return Judgement(AuditResult.MISSING, session, detail)


def _judge_absent(write: Write, dead_letter: DeadLetterEntry, detail: str) -> Judgement:
    """Judge a record that decodes and is not stored.

    A letter accounts for it where it was refused for good. One of a conflict does not: what
    the record conflicted with should be there. Nor does one that may have expired.
    """
    if dead_letter.reason is None or dead_letter.reason is Reason.CONFLICT:
        return _about(write, AuditResult.MISSING, detail)
    return Judgement(dead_letter.result())


def _about(write: Write, result: AuditResult, detail: str) -> Judgement:
    return Judgement(result, _document_of(write), detail, part=write.kind.part)


def _document_of(write: Write) -> Identity:
    """Return the document: creation and end are two parts of one."""
    return (write.kind.document, *write.ids)
