"""A message becomes what a record holds: the reverse of ``decode``, bare or as a CloudEvent."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from typing import Any, Final, NamedTuple

from pydantic.alias_generators import to_camel

from consumer.contract.cloudevents import CONTENT_TYPE, PREFIX, SPECVERSION, STRUCTURED_JSON
from consumer.contract.kinds import Kind, UpsertNewest, kind_of
from consumer.contract.messages import (
    FIRST_VERSION,
    EventRecorded,
    Message,
    OwnMessage,
    SessionCompleted,
    SessionCreated,
    SessionFailed,
)
from consumer.contract.record import Headers
from consumer.contract.times import format_time

TRACEPARENT: Final = "traceparent"
"""The header of W3C Trace Context, and the attribute of the same name in a CloudEvent."""

_TYPE_PREFIX: Final = re.compile(r"(?:[A-Za-z0-9_-]+\.)*")

_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def encode_json(value: object) -> bytes:
    """Return ``value`` as compact JSON in UTF-8, without any newline."""
    return _encode(value).encode()


def message_fields(message: Message) -> dict[str, Any]:
    """Return the JSON object that says ``message``. What is absent or defaulted is left out.

    Raises ``ValueError`` for a time without a zone, which would mean another one elsewhere.
    """
    kind = kind_of(message)
    version = kind.newest_version
    fields: dict[str, Any] = {"type": kind.name, "sessionId": message.session_id}
    fields |= {"schemaVersion": version} if version > FIRST_VERSION else {}
    fields |= _said(message)
    if kind.time is not None:
        instant = fields.pop(kind.time, None)
        if not message.time_defaulted:
            fields[kind.time] = instant
    return {name: _as_json(name, value) for name, value in fields.items() if value is not None}


_NAMES: Final = {
    model: [(to_camel(one.name), one.name) for one in dataclasses.fields(model)]
    for model in (SessionCreated, SessionCompleted, SessionFailed, EventRecorded)
}
"""What the fields of messages are called in JSON, and here."""


def _said(message: Message) -> Mapping[str, Any]:
    """Return the fields of a message by their names in JSON; None is absent."""
    if isinstance(message, OwnMessage):
        return message.fields
    names = _NAMES[type(message)]
    return {said: getattr(message, name) for said, name in names if name != "time_defaulted"}


def _as_json(name: str, value: object) -> object:
    if not isinstance(value, datetime):
        return value
    if value.tzinfo is None:
        raise ValueError(f"{name}: must have a time zone")
    return format_time(value)


def _own_id(kind: Kind, message: Message, fields: Mapping[str, Any]) -> str:
    """Return what tells the message from the others of its session."""
    if isinstance(message, EventRecorded):
        return message.event_id
    newest = message.fields if isinstance(message, OwnMessage) else {}
    names = kind.identity[1:]
    if isinstance(kind.write, UpsertNewest):
        names = (*names, kind.write.by)

    def said(name: str) -> object:
        if name == kind.time and message.time_defaulted:
            # Its record's time will tell it from others, and is not known yet.
            return blake2b(encode_json(fields), digest_size=8).hexdigest()
        value = fields.get(name)
        # An older version may call it otherwise.
        return newest.get(name) if value is None else value

    return "/".join((kind.name, *(str(said(name)) for name in names)))


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
    attributes = {
        "specversion": SPECVERSION,
        "type": form.type_prefix + kind.name,
        "source": form.source,
        "id": f"{message.session_id}/{_own_id(kind, message, fields)}",
        "subject": message.session_id,
    }
    instant = None if message.time_defaulted else _said(message).get(kind.time or "")
    if instant is not None:
        attributes["time"] = format_time(instant)
    if traceparent is not None:
        attributes[TRACEPARENT] = traceparent
    if form.structured:
        envelope = {**attributes, "datacontenttype": "application/json", "data": fields}
        content_type = STRUCTURED_JSON + b"; charset=UTF-8"
        return Wrapped(encode_json(envelope), ((CONTENT_TYPE, content_type),))
    headers = [(PREFIX + name, text.encode()) for name, text in attributes.items()]
    return Wrapped(encode_json(fields), ((CONTENT_TYPE, b"application/json"), *headers))
