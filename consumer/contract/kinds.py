"""The kinds of message there are: what each says, where that is stored, and how it is written.

The four of the contract are declared here, and those of others beside them when the process starts
(``consumer.settings.own_kinds``). Whatever decodes, stores, proves or documents messages asks here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from itertools import permutations
from typing import Any, Final

from pydantic import BaseModel, TypeAdapter, ValidationError

from consumer.contract.messages import (
    FIRST_VERSION,
    EventRecorded,
    Message,
    MessageKind,
    SessionCompleted,
    SessionCreated,
    SessionFailed,
    Upcaster,
    unusable_functions,
)
from consumer.contract.times import parse_time
from consumer.errors import USER_CODE_ERRORS

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
    where it says none, that is its record's. ``example``: the fields of a message, for the
    contract's documents. ``upcasters``: what makes a message of version 1, 2, … one of the next.

    The rest is for kinds that share a document; of others it follows from what is above.
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
    upcasters: Sequence[Upcaster] = ()
    part: str = ""
    document: str = ""
    content: tuple[str, ...] = ()
    compared_time: str | None = None
    origin: str = "from"

    @property
    def newest_version(self) -> int:
        """The version that is read without an upcaster, and written."""
        return FIRST_VERSION + len(self.upcasters)


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
SESSION_FAILED: Final = replace(
    SESSION_COMPLETED, name=MessageKind.SESSION_FAILED.value, model=SessionFailed, upcasters=()
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
        self.endings = tuple((name, f".{name}") for name in self.kinds)
        self.collections: dict[str, list[Kind]] = {}
        for kind in self.kinds.values():
            self.collections.setdefault(kind.collection, []).append(kind)


_registry = _Registry()


def known_kinds() -> Mapping[str, Kind]:
    """Return all kinds by name, those of the contract first."""
    return _registry.kinds


def kind_of(message: Message) -> Kind:
    """Return the kind that the message is of."""
    return _registry.kinds[message.type]


def name_endings() -> Sequence[tuple[str, str]]:
    """Return each kind's name, and how a type ends that has a prefix; no type ends in two ways."""
    return _registry.endings


def collections() -> Mapping[str, Sequence[Kind]]:
    """Return the collections, sessions first, each with the kinds that are stored in it.

    All kinds of one have the same identity, and are inserted or not alike.
    """
    return _registry.collections


def key_of(collection: str) -> tuple[str, ...]:
    """Return the fields of a collection's unique index."""
    return _registry.collections[collection][0].identity


# --- kinds that others declare -----------------------------------------------------

_NAME: Final = re.compile(r"[a-z][a-z0-9]*(?:\.[a-z][a-z0-9]*)+")
_VERSION_SUFFIX: Final = re.compile(r"\.v[0-9]+$")
_COLLECTION: Final = re.compile(r"(?!system\.)(?=.{1,120}\Z)[A-Za-z_][\w-]*(?:\.[\w-]+)*", re.ASCII)
_RESERVED: Final = frozenset({"type", "schemaVersion", "from", "expireAt", "_id"})
"""What a message says of itself, and what a document says beside its message."""


def set_own_kinds(own: Iterable[Kind], taken: Iterable[str] = ()) -> None:
    """Let there be these kinds beside those of the contract. Called once, at the start.

    ``taken``: names of collections that are not theirs. Raises ``ValueError`` with one line for the
    first that cannot be stored idempotently, or is at odds with another.
    """
    known = {kind.name for kind in _OF_THE_CONTRACT}
    taken = {SESSIONS, EVENTS, *taken}
    complete: list[Kind] = []
    for kind in own:
        if problem := next(iter(_problems(kind, known, taken)), None):
            raise ValueError(f"kind {kind.name!r}: {problem}")
        known.add(kind.name)
        taken.add(kind.collection)
        complete.append(_complete(kind))
    global _registry  # noqa: PLW0603 -- the one moment in which it changes
    _registry = _Registry(*complete)


def _complete(kind: Kind) -> Kind:
    """Return the kind with what follows from the rest of it: it has its document to itself."""
    content = [one for one in model_schema(kind)["properties"] if one != kind.time]
    return replace(
        kind,
        part=kind.name,
        document=kind.name,
        content=tuple(one for one in content if one not in kind.identity),
        compared_time=kind.time,
        origin="from",
    )


def _problems(kind: Kind, known: Iterable[str], taken: Iterable[str]) -> Iterator[str]:
    if not _NAME.fullmatch(kind.name) or _VERSION_SUFFIX.search(kind.name):
        yield "its name must be lower-case words joined by dots, the last one no version"
    if kind.name in known:
        yield "there is another kind of this name"
    pairs = (pair for name in known for pair in permutations((kind.name, name)))
    if any(one.endswith(f".{other}") for one, other in pairs):
        yield "its name with a prefix is another kind's: they could not be told apart"
    if kind.collection in taken:
        yield f"collection {kind.collection!r} is another kind's, whose unique index differs"
    if not _COLLECTION.fullmatch(kind.collection):
        yield f"{kind.collection!r} cannot be the name of a collection"
    model: object = kind.model
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        yield "its model must be a class of pydantic.BaseModel"
    try:
        fields = model_schema(kind)["properties"]
        list(map(is_time, fields.values()))  # it is asked of each message
    except (RecursionError, KeyError):
        yield "its model must have fields, and must not hold itself"
    except USER_CODE_ERRORS as error:
        yield f"its model has no JSON Schema: {type(error).__name__}"
    yield from _field_problems(kind, fields)
    yield from _write_problems(kind, fields)
    if kind.example is not None:
        yield from (f"its example: {problem}" for problem in read_model(kind, kind.example)[1])


def _field_problems(kind: Kind, fields: Mapping[str, Any]) -> Iterator[str]:
    yield from unusable_functions(_adapter(kind).core_schema, kind.upcasters)
    for name in fields:
        if name in _RESERVED or name.startswith("$") or "." in name:
            yield f"its model must not have the field {name!r}, which has a meaning of its own"
    aliases = [field.validation_alias for field in kind.model.model_fields.values()]
    if not all(isinstance(alias, str | None) for alias in aliases):
        yield "each field of its model must have one name"
    required = model_schema(kind).get("required", ())
    for name in kind.identity:
        if name not in fields:
            yield f"its identity {name!r} is no field of its model"
        text = fields[name].get("type") == "string" and not is_time(fields[name])
        if not text or name not in required:
            yield f"its identity {name!r} must be text that every message has"
    if kind.identity[:1] != ("sessionId",) or len(set(kind.identity)) < len(kind.identity):
        yield "its identity must be sessionId, and other fields behind it, each once"
    if kind.time is not None and not _is_time_alone(fields.get(kind.time, {})):
        yield f"its time {kind.time!r} must be a field of its model that is a datetime"


def _write_problems(kind: Kind, fields: Mapping[str, Any]) -> Iterator[str]:
    """Refuse a write that would depend on the order, or the number, of messages."""
    if isinstance(kind.write, InsertOnce):
        return
    if not isinstance(kind.write, UpsertNewest):
        yield "its write must be InsertOnce() or UpsertNewest(by=…)"
        return
    by = kind.write.by
    if by in kind.identity or by not in fields:
        yield f"by {by!r} must be a field of its model that is not in its identity"
    always = by == kind.time or by in model_schema(kind).get("required", ())
    if not always or not (fields[by].get("type") == "integer" or _is_time_alone(fields[by])):
        must = "must be an integer or a datetime that every message has"
        yield f"by {by!r} {must}: what has no order cannot say which message is the newest"


@cache
def _adapter(kind: Kind) -> TypeAdapter[Any]:
    return TypeAdapter(kind.model)


@cache
def model_schema(kind: Kind) -> Mapping[str, Any]:
    """Return the JSON Schema of a kind's pydantic model, with all that it refers to in place."""
    made = _adapter(kind).json_schema()
    resolved: dict[str, Any] = _resolved(made, made.get("$defs", {}))
    return resolved


def _resolved(value: Any, definitions: Mapping[str, Any]) -> Any:  # noqa: ANN401 -- any JSON
    if isinstance(value, list):
        return [_resolved(one, definitions) for one in value]
    if not isinstance(value, Mapping):
        return value
    if "$ref" in value:
        return _resolved(definitions[value["$ref"].rpartition("/")[2]], definitions)
    inner = {name: _resolved(one, definitions) for name, one in value.items() if name != "$defs"}
    return {name: one for name, one in inner.items() if not (name == "title" and type(one) is str)}


def is_time(schema: Mapping[str, Any]) -> bool:
    """Tell whether a field's schema is that of a time, or of one that may be absent."""
    return any(one.get("format") == "date-time" for one in (schema, *schema.get("anyOf", ())))


def _is_time_alone(schema: Mapping[str, Any]) -> bool:
    """Tell whether a field, where it is there, is nothing but a time."""
    present = [one for one in schema.get("anyOf", (schema,)) if one != {"type": "null"}]
    return {one.get("format") for one in present} == {"date-time"}


def read_model(kind: Kind, said: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the fields of a message of a pydantic model, its times as times, and what is wrong.

    They are those that were said, whatever the model makes of them: a default or a validator that
    asks a clock would store something else each time. A null is an absent field.
    """
    properties = model_schema(kind)["properties"]
    values = {name: said[name] for name in properties if said.get(name) is not None}
    problems = _model_problems(kind, values)
    for name, value in values.items():
        if is_time(properties[name]) and isinstance(value, str):
            values[name] = parse_time(value)
            if values[name] is None:
                problems.append(f"{name}: must be a time of RFC 3339 with seconds and zone")
    return values, problems or list(_stored_problems(kind, values))


def _stored_problems(kind: Kind, values: Mapping[str, Any]) -> Iterator[str]:
    """Name what tells documents apart, or which is the newest, and is stored as another type."""
    # The model has judged what its validators and defaults make of a message.
    time = (datetime, "a time")
    types: dict[str, tuple[type, str]] = dict.fromkeys(kind.identity, (str, "text"))
    if isinstance(kind.write, UpsertNewest):
        found = model_schema(kind)["properties"][kind.write.by]
        types[kind.write.by] = time if is_time(found) else (int, "an integer")
    if kind.time is not None and kind.time in values:
        types[kind.time] = time
    for name, (wanted, words) in types.items():
        if type(values.get(name)) is not wanted:
            yield f"{name}: must be {words}"


def _model_problems(kind: Kind, values: Mapping[str, Any]) -> list[str]:
    """Name the fields that the model refuses, and its rules; never a value."""
    try:
        return list(dict.fromkeys(_refusals(kind, values)))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 -- a validator is others' code, and may exit
        return [f"its model raises {type(error).__name__}"]


def _refusals(kind: Kind, values: Mapping[str, Any]) -> Iterator[str]:
    # Pydantic reads no unpaired surrogate: "?" stands for it. BSON says itself that it holds none.
    said = json.dumps(values, ensure_ascii=False).encode(errors="replace")
    try:
        _adapter(kind).validate_json(said, strict=True, by_alias=True, by_name=False)
    except ValidationError as error:
        for one in error.errors(include_url=False, include_context=False, include_input=False):
            # Any other name than a field's may be one that the producer chose.
            name = str(one["loc"][0]) if one["loc"] else ""
            known = name in model_schema(kind)["properties"]
            yield f"{name if known else 'the message'}: {one['type']}"
