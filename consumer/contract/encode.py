"""A message becomes what a record holds: the reverse of ``decode``, bare or as a CloudEvent."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple, assert_never

from consumer.contract.cloudevents import CONTENT_TYPE, PREFIX, SPECVERSION, STRUCTURED_JSON
from consumer.contract.messages import (
    TIME_FIELDS,
    EventRecorded,
    Message,
    MessageKind,
    SessionCompleted,
    SessionCreated,
    SessionFailed,
)
from consumer.contract.record import Headers
from consumer.contract.schema_versions import FIRST_VERSION, newest_version
from consumer.contract.times import format_time

TRACEPARENT: Final = "traceparent"
"""The header of W3C Trace Context, and the attribute of the same name in a CloudEvent."""

_TYPE_PREFIX: Final = re.compile(r"(?:[A-Za-z0-9_-]+\.)*")

_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def encode_json(value: object) -> bytes:
    """Return ``value`` as compact JSON in UTF-8, without any newline."""
    return _encode(value).encode()


def kind_of(message: Message) -> MessageKind:
    """Return the kind that the message is of."""
    match message:
        case SessionCreated():
            return MessageKind.SESSION_CREATED
        case SessionCompleted():
            return MessageKind.SESSION_COMPLETED
        case SessionFailed():
            return MessageKind.SESSION_FAILED
        case EventRecorded():
            return MessageKind.EVENT_RECORDED
        case _:
            assert_never(message)


def message_fields(message: Message) -> dict[str, Any]:
    """Return the JSON object that says ``message``. What is absent or defaulted is left out.

    Raises ``ValueError`` for a time without a zone, which would mean another one elsewhere.
    """
    kind = kind_of(message)
    fields: dict[str, Any] = {"type": kind.value, "sessionId": message.session_id}
    if (version := newest_version(kind)) > FIRST_VERSION:
        fields["schemaVersion"] = version
    match message:
        case SessionCreated():
            fields |= {"language": message.language, "metadata": message.metadata}
        case SessionCompleted():
            fields |= {} if message.event_count is None else {"eventCount": message.event_count}
        case SessionFailed():
            fields |= {} if message.reason is None else {"reason": message.reason}
        case EventRecorded():
            fields |= {"eventId": message.event_id, "eventType": message.event_type}
            fields["payload"] = message.payload
        case _:
            assert_never(message)
    if not message.time_defaulted:
        instant = _time_of(message)
        if instant.tzinfo is None:
            raise ValueError(f"{TIME_FIELDS[kind]}: must have a time zone")
        fields[TIME_FIELDS[kind]] = format_time(instant)
    return fields


def _time_of(message: Message) -> datetime:
    match message:
        case SessionCreated():
            return message.started_at
        case SessionCompleted() | SessionFailed():
            return message.ended_at
        case EventRecorded():
            return message.timestamp
        case _:
            assert_never(message)


@dataclass(frozen=True, slots=True)
class CloudEventsFormat:
    """How messages are wrapped as CloudEvents 1.0.

    ``source``: a URI reference that names the producer. ``structured``: the envelope is the
    value; else its attributes are headers and the value is the bare message (binary).
    ``type_prefix``: what stands before the kind in the type, such as ``com.example.``.
    """

    source: str
    structured: bool = False
    type_prefix: str = ""

    def __post_init__(self) -> None:
        """Refuse what no consumer would read. Raises ``ValueError``."""
        if not self.source:
            raise ValueError("source: must not be empty")
        if not _TYPE_PREFIX.fullmatch(self.type_prefix):
            raise ValueError("type_prefix: must be a reverse-DNS name that ends with a dot")


class Wrapped(NamedTuple):
    """What a record holds besides its key."""

    value: bytes
    headers: Headers


def as_cloud_event(
    fields: Mapping[str, Any],
    message: Message,
    form: CloudEventsFormat,
    traceparent: str | None = None,
) -> Wrapped:
    """Return the message whose JSON object is ``fields`` as a CloudEvent.

    Its id is made of the message's own ids, so that it is the same however often it is sent.
    """
    kind = kind_of(message)
    own = message.event_id if isinstance(message, EventRecorded) else kind.value
    attributes = {
        "specversion": SPECVERSION,
        "type": form.type_prefix + kind.value,
        "source": form.source,
        "id": f"{message.session_id}/{own}",
        "subject": message.session_id,
    }
    if not message.time_defaulted:
        attributes["time"] = format_time(_time_of(message))
    if traceparent is not None:
        attributes[TRACEPARENT] = traceparent
    if form.structured:
        envelope = {**attributes, "datacontenttype": "application/json", "data": fields}
        content_type = STRUCTURED_JSON + b"; charset=UTF-8"
        return Wrapped(encode_json(envelope), ((CONTENT_TYPE, content_type),))
    headers = [(PREFIX + name, text.encode()) for name, text in attributes.items()]
    return Wrapped(encode_json(fields), ((CONTENT_TYPE, b"application/json"), *headers))
