"""Messages of each kind in its newest version, what their fields may hold, and older versions.

Which versions a kind has is declared with it. What is compatible, and what needs a new version, is
in docs/contract.md.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Final

from annotated_types import Ge, Len

MAX_ID_CODE_POINTS = 256
MAX_LANGUAGE_CODE_POINTS = 64


class MessageKind(StrEnum):
    """What a message tells of: the value of its ``type``."""

    SESSION_CREATED = "session.created"
    SESSION_COMPLETED = "session.completed"
    SESSION_FAILED = "session.failed"
    EVENT_RECORDED = "event.recorded"


class EventType(StrEnum):
    """Who or what an event comes from."""

    USER_SPEECH = "user_speech"
    BOT_SPEECH = "bot_speech"
    SYSTEM = "system"


Id = Annotated[str, Len(1, MAX_ID_CODE_POINTS)]
"""An id, stored as it is; ``identifier_problem`` says what else is asked of it."""


@dataclass(frozen=True, slots=True)
class SessionCreated:
    """A session begins.

    ``time_defaulted``, as in all kinds, is no field of the message: it had no time of its own.
    """

    type: ClassVar = MessageKind.SESSION_CREATED
    session_id: Id
    language: Annotated[str, Len(1, MAX_LANGUAGE_CODE_POINTS)]
    started_at: datetime
    metadata: dict[str, Any] = field(default_factory=dict)
    time_defaulted: bool = False


@dataclass(frozen=True, slots=True)
class SessionCompleted:
    """A session ends well. ``event_count``: how many events its producer says it has."""

    type: ClassVar = MessageKind.SESSION_COMPLETED
    session_id: Id
    ended_at: datetime
    event_count: Annotated[int, Ge(0)] | None = None
    time_defaulted: bool = False


@dataclass(frozen=True, slots=True)
class SessionFailed:
    """A session ends badly."""

    type: ClassVar = MessageKind.SESSION_FAILED
    session_id: Id
    ended_at: datetime
    reason: str | None = None
    time_defaulted: bool = False


@dataclass(frozen=True, slots=True)
class EventRecorded:
    """Something was said, or happened, in a session. Its payload is not looked into."""

    type: ClassVar = MessageKind.EVENT_RECORDED
    session_id: Id
    event_id: Id
    event_type: EventType
    payload: dict[str, Any]
    timestamp: datetime
    time_defaulted: bool = False


@dataclass(frozen=True, slots=True)
class OwnMessage:
    """A message of a kind that others have declared (``consumer.contract.kinds``).

    ``type``: the kind's name. ``fields``: those of its model that it has, by their names in the
    message and in the model's order; texts that say a time as times.
    """

    type: str
    session_id: Id
    fields: dict[str, Any]
    time_defaulted: bool = False


Message = SessionCreated | SessionCompleted | SessionFailed | EventRecorded | OwnMessage


def identifier_problem(value: object) -> str | None:
    """Say why a value is no id, None where it is one: stored verbatim, and in index keys.

    Text that BSON cannot hold makes a message unstorable rather than invalid, but for ids.
    """
    if not isinstance(value, str):
        return "must be text"
    if not 1 <= len(value) <= MAX_ID_CODE_POINTS:
        return "too long" if value else "must not be empty"
    if "\0" in value:
        return "must not contain NUL"
    try:
        value.encode()
    except UnicodeEncodeError:
        return "must not contain an unpaired surrogate"
    return None


# --- older versions ---------------------------------------------------------------

FIRST_VERSION: Final = 1
"""The version of a message that states none."""

Fields = dict[str, Any]
"""The JSON object of a message, in a CloudEvent its data: names and values of any type."""

Upcaster = Callable[[Fields], Fields]
"""Returns the fields of a message as the next version writes them. Pure.

It gets what was sent, unchecked; the result is validated. What it raises makes the message
``invalid``. What an older version stored must stay what it stores.
"""


class NoFieldsError(TypeError):
    """An upcaster returned something else than fields. The text quotes no value."""


def close_awaitable(returned: object) -> bool:
    """Tell whether a function of others returned something to be awaited, which nobody will do.

    A function need not be ``async`` itself for that. Unless it is closed Python warns of it.
    """
    if inspect.iscoroutine(returned):
        returned.close()
    return inspect.isawaitable(returned)


def why_unusable(function: object, *arguments: object, awaited: bool = False) -> str | None:
    """Say why a function of others cannot be called with such arguments; None where it can.

    ``awaited``: what it returns is.
    """
    if not callable(function):
        return "is no function"
    if not awaited and holds_async(function):
        return "is asynchronous; it must return what is wanted: write it without async"
    if inspect.isgeneratorfunction(function):
        return "yields; it must return what is wanted"
    try:
        inspect.signature(function).bind(*arguments)
    except TypeError as error:
        return f"takes other arguments ({error})"
    except ValueError:  # what is not written in Python may tell no arguments
        pass
    return None


def holds_async(value: object) -> bool:
    """Tell whether a function is ``async``, or one of those in lists and mappings is."""
    match value:
        case dict():
            return any(map(holds_async, value.values()))
        case list() | tuple():
            return any(map(holds_async, value))
        case _:
            return inspect.iscoroutinefunction(value) or inspect.isasyncgenfunction(value)


def unusable_functions(schema: object, upcasters: Sequence[object]) -> Iterator[str]:
    """Say what is wrong with an own kind's functions. ``schema``: pydantic's own of its model."""
    if holds_async(schema):
        yield "a function of its model is async: nothing awaits it"
    for upcaster in upcasters:
        if why := why_unusable(upcaster, {}):
            yield f"an upcaster {why}"


def upcast(upcasters: Sequence[Upcaster], version: int, fields: Fields) -> Fields:
    """Return the fields of a message of ``version`` in the newest.

    Raises ``NoFieldsError``, and what upcasters raise.
    """
    for at, upcaster in enumerate(upcasters[version - FIRST_VERSION :], version):
        made: object = upcaster(fields)  # others' code: it may forget what it is to return
        if not isinstance(made, dict):
            close_awaitable(made)
            raise NoFieldsError(f"the upcaster of version {at} must return an object")
        fields = made
    return fields
