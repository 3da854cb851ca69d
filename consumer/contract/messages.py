"""The kinds of message, schema version 1, as strict immutable values."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, InstanceOf, PlainValidator
from pydantic_core import PydanticCustomError

SCHEMA_VERSION = 1
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


Identifier = Annotated[
    str, Field(min_length=1, max_length=MAX_ID_CODE_POINTS, pattern=r"^[^\x00]*$")
]
"""Stored verbatim. Pydantic's text has no unpaired surrogates; index keys can hold no NUL."""


def _free_text(value: object) -> str:
    if not isinstance(value, str):
        raise PydanticCustomError("free_text", "must be text")
    return value


def _language(value: object) -> str:
    text = _free_text(value)
    if not 1 <= len(text) <= MAX_LANGUAGE_CODE_POINTS:
        raise PydanticCustomError(
            "language", f"must have 1 to {MAX_LANGUAGE_CODE_POINTS} characters"
        )
    return text


# In these, what text cannot be in BSON makes the message unstorable rather than invalid,
# so it has to get past pydantic's own notion of text.
FreeText = Annotated[str, PlainValidator(_free_text)]
Language = Annotated[str, PlainValidator(_language)]

JsonObject = InstanceOf[dict[str, Any]]
"""Any JSON object, not looked into: neither its names nor its values are the contract's."""


class _Kind(BaseModel):
    """What all kinds share. ``time_defaulted``: the time is the record's, the message had none."""

    model_config = ConfigDict(
        strict=True,
        frozen=True,
        extra="ignore",
        hide_input_in_errors=True,
        validate_by_alias=True,
        validate_by_name=True,
    )

    session_id: Identifier = Field(alias="sessionId")
    time_defaulted: bool


class SessionCreated(_Kind):
    """A session begins."""

    language: Language
    started_at: datetime = Field(alias="startedAt")
    metadata: JsonObject


class SessionCompleted(_Kind):
    """A session ends well. ``event_count``: how many events its producer says it has."""

    ended_at: datetime = Field(alias="endedAt")
    event_count: Annotated[int, Field(ge=0)] | None = Field(default=None, alias="eventCount")


class SessionFailed(_Kind):
    """A session ends badly."""

    ended_at: datetime = Field(alias="endedAt")
    reason: FreeText | None = None


class EventRecorded(_Kind):
    """Something was said, or happened, in a session."""

    event_id: Identifier = Field(alias="eventId")
    event_type: EventType = Field(alias="eventType")
    payload: JsonObject
    timestamp: datetime


Message = SessionCreated | SessionCompleted | SessionFailed | EventRecorded
