"""What a multiset of messages must leave behind, whatever their order, number, batches and writers.

Written from the design and not from the code: nothing of the consumer runs here. Every message
claims a place: an event its (sessionId, eventId), a creation and an end their session's, one of an
own kind its identity. One claimant of each place wins and its part is stored; the others say the
same (duplicates) or something else (conflicts, dead-lettered). Order decides only who wins among
those that may. Where the newest version stays, only those of the highest may win.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from consumer.contract.kinds import UpsertNewest, is_time, known_kinds, model_schema
from consumer.contract.record import Position
from consumer.contract.rejection import Reason

Document = Mapping[str, Any]
Place = tuple[str, ...]
"""("event", sessionId, eventId), ("create", sessionId), ("end", sessionId); a kind and its ids."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
PAST_INITIATED = ("active", "completed", "failed")
ENDED = ("completed", "failed")


@dataclass(frozen=True, slots=True)
class Sent:
    """One record, and what its producer knows of it.

    ``says``: a message, nothing (a tombstone), or why it can never be applied. ``log`` tells
    the logs of a topic that was deleted and made again apart. Not ``surely_read``: it may
    have been deleted unread, or its send was never acknowledged. ``refused``: the database
    refuses its document for good.
    """

    position: Position
    timestamp_ms: int
    says: Document | Reason | None
    log: int = 0
    surely_read: bool = True
    refused: bool = False


Letters = list[tuple[Sent, set[Reason]]]
"""Records that are due to have a dead letter, and for which reasons."""


@dataclass(frozen=True, slots=True)
class _Shape:
    """What a kind of message stores: fields that must agree, then a time, then where it is from."""

    place: str
    content: tuple[str, ...]
    time: str
    time_agrees: bool
    origin: str
    lesser: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _OwnShape(_Shape):
    """The same of an own kind, as its declaration says it: one document for each identity."""

    identity: tuple[str, ...] = ()
    newest_by: str | None = None
    times: frozenset[str] = frozenset()


def _own_shape(name: str) -> _OwnShape:
    kind = known_kinds()[name]
    fields = model_schema(kind)["properties"]
    content = tuple(sorted(fields.keys() - {*kind.identity, kind.time}))
    newest_by = kind.write.by if isinstance(kind.write, UpsertNewest) else None
    times = frozenset(one for one in fields if is_time(fields[one]))
    return _OwnShape(
        name,
        content,
        kind.time or "",
        kind.time is not None,
        "from",
        (),
        kind.identity,
        newest_by,
        times,
    )


def _shape_of(place: str) -> _Shape:
    return _SHAPES.get(place) or _own_shape(place)


_SHAPES = {
    "event": _Shape("event", ("type", "payload"), "timestamp", True, "from"),
    "create": _Shape("create", ("language", "metadata"), "startedAt", True, "createdFrom"),
    "end": _Shape("end", ("status",), "endedAt", False, "endedFrom", ("reason", "eventCount")),
}


def place_of(message: Document) -> Place:
    """Return what the message claims."""
    match message["type"]:
        case "event.recorded":
            return ("event", message["sessionId"], message["eventId"])
        case "session.created":
            return ("create", message["sessionId"])
        case "session.completed" | "session.failed":
            return ("end", message["sessionId"])
        case other:
            return (other, *(message[name] for name in known_kinds()[other].identity))


def part_of(sent: Sent) -> dict[str, Any]:
    """Return what is stored where this record wins its place, without the ids."""
    message = sent.says
    assert isinstance(message, Mapping)
    shape = _shape_of(place_of(message)[0])
    origin: dict[str, Any] = sent.position._asdict()
    part: dict[str, Any] = {shape.origin: origin}
    if shape.time:
        written = message.get(shape.time)
        if written is None:
            origin["defaulted"] = True
        part[shape.time] = _time(written, sent.timestamp_ms)
    if isinstance(shape, _OwnShape):
        said = {name: message[name] for name in shape.content if message.get(name) is not None}
        times = {name: _time(said[name], 0) for name in shape.times if name in said}
        return part | said | times
    match message["type"]:
        case "event.recorded":
            part |= {"type": message["eventType"], "payload": message["payload"]}
        case "session.created":
            part |= {"language": message["language"], "metadata": message.get("metadata") or {}}
        case kind:
            part["status"] = str(kind).removeprefix("session.")
    return part | {name: message[name] for name in shape.lesser if message.get(name) is not None}


def agree(kind: str, one: Document, other: Document) -> bool:
    """Tell whether two parts say the same; times count only where both messages carried them."""
    shape = _shape_of(kind)
    fields = shape.content
    defaulted = [part.get(shape.origin, {}).get("defaulted", False) for part in (one, other)]
    if shape.time_agrees and not any(defaulted):
        fields = (*fields, shape.time)
    return all(plain(one.get(name)) == plain(other.get(name)) for name in fields)


def plain(value: object) -> object:
    """Return a value whose ``==`` is sameness in the store: 1, 1.0 and true are three things."""
    match value:
        case bool() | str() | None:
            return value if not isinstance(value, bool) else ("boolean", value)
        case int():
            return ("integer", int(value))
        case float():
            return ("double", value + 0.0)
        case datetime():
            aware = value if value.tzinfo else value.replace(tzinfo=UTC)
            return aware.replace(microsecond=aware.microsecond // 1000 * 1000)
        case Mapping():
            return {name: plain(inner) for name, inner in value.items()}
        case Sequence():
            return [plain(inner) for inner in value]
        case _:
            raise TypeError(f"not a stored kind of value: {type(value)}")


def may_win(claimants: Iterable[Sent]) -> list[Sent]:
    """Return who may have the place: in each partition the first by offset that was read.

    A topic that was made again is read on from where the old one had been until that is noticed,
    so that there the first by offset need not be the first that was read.
    """
    logs: defaultdict[tuple[str, int, int], list[Sent]] = defaultdict(list)
    for sent in claimants:
        if not sent.refused:
            logs[sent.position.topic, sent.position.partition, sent.log].append(sent)
    candidates: list[Sent] = []
    for (*_, number), log in logs.items():
        for sent in sorted(log, key=lambda sent: sent.position.offset):
            candidates.append(sent)
            if sent.surely_read and number == 0:
                break
    return candidates


def problems(
    sent: Iterable[Sent],
    sessions: Iterable[Document],
    events: Iterable[Document],
    letters: Iterable[tuple[Position, Reason]],
    others: Mapping[str, Iterable[Document]] | None = None,
) -> list[str]:
    """Return how documents and dead letters differ from what ``sent`` allows; [] where they fit.

    ``others``: the documents of own kinds, by kind.
    """
    everything = list(sent)
    sessions, events = list(sessions), list(events)
    claims: defaultdict[Place, list[Sent]] = defaultdict(list)
    for one in everything:
        if isinstance(one.says, Mapping):
            claims[place_of(one.says)].append(one)
    stored, found = _stored_parts(sessions, events)
    for kind, documents in (others or {}).items():
        _add_own_parts(kind, documents, stored, found)
    due: Letters = [(one, {one.says}) for one in everything if isinstance(one.says, Reason)]
    may_be_due: Letters = []
    for place, claimants in claims.items():
        part = stored.pop(place, None)
        candidates = _candidates(place[0], claimants)
        if part is None:
            if any(candidate.surely_read for candidate in candidates):
                found.append(f"{place}: nothing is stored")
        elif all(plain(part_of(candidate)) != plain(part) for candidate in candidates):
            found.append(f"{place}: no message that may have its place says {part}")
        for one in claimants:
            older = part is not None and _is_older(place[0], one, part)
            # An older one may have met another of its own version before the newer one came.
            (may_be_due if older else due).extend(_letter_due(place[0], one, part))
    found += [f"{place}: nobody said {part}" for place, part in stored.items()]
    found += _status_problems(claims, sessions)
    return found + _letter_problems(due, letters, may_be_due)


def _candidates(place: str, claimants: Sequence[Sent]) -> list[Sent]:
    """Return who may have the place: where the newest stays, nobody older than a sure one."""
    shape = _shape_of(place)
    if not isinstance(shape, _OwnShape) or shape.newest_by is None:
        return may_win(claimants)
    versions: defaultdict[Any, list[Sent]] = defaultdict(list)
    for one in claimants:
        versions[_version(shape, part_of(one))].append(one)
    sure = [v for v, some in versions.items() if any(one.surely_read for one in some)]
    newest = [some for v, some in versions.items() if not sure or v >= max(sure)]
    return [one for some in newest for one in may_win(some)]


def _letter_due(place: str, sent: Sent, part: Document | None) -> Letters:
    conflict = part is not None and not agree(place, part_of(sent), part)
    if sent.refused:
        # Who waits behind another of its batch is judged without being sent.
        return [(sent, {Reason.UNSTORABLE, *([Reason.CONFLICT] * conflict)})]
    return [(sent, {Reason.CONFLICT})] if conflict else []


def _is_newer(place: str, sent: Sent, part: Document) -> bool:
    shape = _shape_of(place)
    if not isinstance(shape, _OwnShape) or shape.newest_by is None:
        return False
    return bool(_version(shape, part_of(sent)) > _version(shape, part))


def _version(shape: _OwnShape, part: Document) -> Any:
    """Return what tells which of two versions is the newer one."""
    return plain(part[shape.newest_by or ""])


def _is_older(place: str, sent: Sent, part: Document) -> bool:
    shape = _shape_of(place)
    if not isinstance(shape, _OwnShape) or shape.newest_by is None:
        return False
    return bool(_version(shape, part_of(sent)) < _version(shape, part))


def _add_own_parts(
    kind: str, documents: Iterable[Document], parts: dict[Place, dict[str, Any]], found: list[str]
) -> None:
    for document in documents:
        rest = {name: value for name, value in document.items() if name != "_id"}
        place = (kind, *(rest.pop(name) for name in known_kinds()[kind].identity))
        if place in parts:
            found.append(f"{place}: several documents")
        parts[place] = rest


def _stored_parts(
    sessions: Iterable[Document], events: Iterable[Document]
) -> tuple[dict[Place, dict[str, Any]], list[str]]:
    """Take the documents apart by place; also return what should not be in them."""
    parts: dict[Place, dict[str, Any]] = {}
    ids: list[tuple[str, ...]] = [("session", one["sessionId"]) for one in sessions]
    ids += [("event", one["sessionId"], one["eventId"]) for one in events]
    found = [f"{key}: {count} documents" for key, count in Counter(ids).items() if count > 1]
    for document in events:
        rest = {name: value for name, value in document.items() if name != "_id"}
        parts["event", rest.pop("sessionId"), rest.pop("eventId")] = rest
    for document in sessions:
        rest = {name: value for name, value in document.items() if name != "_id"}
        session_id, status = rest.pop("sessionId"), rest.pop("status", None)
        for kind, there in (("create", "startedAt" in rest), ("end", status in ENDED)):
            if there:
                shape = _SHAPES[kind]
                names = (*shape.content, shape.time, shape.origin, *shape.lesser)
                parts[kind, session_id] = {name: rest.pop(name) for name in names if name in rest}
        if status in ENDED:
            parts["end", session_id]["status"] = status
        if rest:
            found.append(f"session {session_id}: has {sorted(rest)}")
    return parts, found


def _status_problems(
    claims: Mapping[Place, Sequence[Sent]], sessions: Iterable[Document]
) -> list[str]:
    """Check the statuses: an end's own, else active where an event came, else initiated."""
    kinds: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for place, claimants in claims.items():
        for one in claimants:
            if place[0] in _SHAPES and (place[0] == "event" or not one.refused):
                kinds[place[1]][place[0]] += 1
                kinds[place[1]][f"sure {place[0]}"] += one.surely_read
    statuses = {one["sessionId"]: one.get("status") for one in sessions}
    found = [f"session {name}: nobody spoke of it" for name in statuses.keys() - kinds.keys()]
    for name, count in kinds.items():
        status = statuses.get(name)
        allowed = {
            *(ENDED if count["end"] else ()),
            *(("active",) if count["event"] and not count["sure end"] else ()),
            *(("initiated",) if count["create"] and not count["sure event"] else ()),
        }
        if count["sure end"]:
            allowed = set(ENDED)
        missing_is_fine = not any(count[f"sure {kind}"] for kind in _SHAPES)
        if status not in allowed and not (
            status is None and name not in statuses and missing_is_fine
        ):
            found.append(f"session {name}: status {status}, expected one of {sorted(allowed)}")
    return found


def _letter_problems(
    due: Letters,
    letters: Iterable[tuple[Position, Reason]],
    may_be_due: Letters,
) -> list[str]:
    """Every record that is due must have a dead letter, more than one do no harm."""
    lettered: defaultdict[Position, set[Reason]] = defaultdict(set)
    for position, reason in letters:
        lettered[position].add(reason)
    allowed: defaultdict[Position, set[Reason]] = defaultdict(set)
    found = []
    for one, reasons in may_be_due:
        allowed[one.position] |= reasons
    for one, reasons in due:
        allowed[one.position] |= reasons
        if one.surely_read and not lettered[one.position] & reasons:
            found.append(f"{one.position}: no dead letter for {sorted(reasons)}")
    for position, said in lettered.items():
        if said - allowed[position]:
            found.append(f"{position}: dead letter for {sorted(said)}, which is not due")
    return found


def accounted_for(
    sent: Sent,
    session: Callable[[str], Document | None],
    event: Callable[[tuple[str, ...]], Document | None],
    lettered: Iterable[Reason],
    other: Callable[[Place], Document | None] = lambda _: None,
) -> bool:
    """Tell whether the record may be forgotten: what it says is stored, or its letter is sent.

    ``session`` and ``event`` find what is stored now, by sessionId and (sessionId, eventId);
    ``other`` what is of an own kind, by its name and ids.
    """
    if sent.says is None:
        return True
    if isinstance(sent.says, Reason):
        return sent.says in lettered
    place = place_of(sent.says)
    if place[0] not in _SHAPES:
        stored = other(place)
        return stored is not None and (
            _is_older(place[0], sent, stored)
            or (not _is_newer(place[0], sent, stored) and agree(place[0], part_of(sent), stored))
            or Reason.CONFLICT in lettered
        )
    stored = session(place[1])
    status = None if stored is None else stored.get("status")
    if place[0] == "event" and status not in PAST_INITIATED:
        return False
    if sent.refused:
        return Reason.UNSTORABLE in lettered or Reason.CONFLICT in lettered
    if place[0] == "event":
        stored = event(place[1:])
    if stored is None or (place[0] == "create" and "startedAt" not in stored):
        return False
    if place[0] == "end" and status not in ENDED:
        return False
    return agree(place[0], part_of(sent), stored) or Reason.CONFLICT in lettered


def _time(written: str | None, timestamp_ms: int) -> datetime:
    """Return a message's time, or else its record's, in whole milliseconds."""
    if written is None:
        return EPOCH + timedelta(milliseconds=timestamp_ms)
    parsed = datetime.fromisoformat(written).astimezone(UTC)
    return parsed.replace(microsecond=parsed.microsecond // 1000 * 1000)
