"""CloudEvents 1.0 over Kafka: which of its modes a record is in, and what its envelope says.

Only ``ce_`` headers or a ``content-type`` of CloudEvents make a record a CloudEvent. Names
of headers are compared exactly, as Kafka does; no other header is looked at or decoded.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Mapping
from enum import Enum, StrEnum
from typing import Any, Final, NamedTuple

from consumer.contract.json_text import NotAnObjectError, TooManyPartsError, parse_object
from consumer.contract.kinds import known_kinds, name_endings
from consumer.contract.record import Headers

SPECVERSION: Final = "1.0"

PREFIX: Final = "ce_"
CONTENT_TYPE: Final = "content-type"
_CLOUD_EVENTS: Final = b"application/cloudevents"
STRUCTURED_JSON: Final = b"application/cloudevents+json"

ATTRIBUTES: Final = ("specversion", "type", "id", "subject", "time")
"""Those that are read. The others, such as source, say nothing that would be stored."""
_ATTRIBUTE_OF: Final = {PREFIX + name: name for name in ATTRIBUTES}

_VERSION: Final = re.compile(r"v(0|[1-9][0-9]*)")
_REVERSE_DNS: Final = re.compile(r"[A-Za-z0-9_-]++(?:\.[A-Za-z0-9_-]++)*+")
_VERSION_DIGITS: Final = 9


class Mode(StrEnum):
    """How a record carries its message."""

    BARE = "bare"
    BINARY = "binary"
    STRUCTURED = "structured"
    UNREADABLE = "unreadable"
    """In a format of CloudEvents that is not read here, or said to be in two at once."""


class Unusable(Enum):
    """Stands for an attribute or for data that is there and cannot be used."""

    CONTRADICTORY = "stands twice with different values"
    TWICE = "must not stand beside data_base64"
    NOT_BASE64 = "must be Base64"


class CloudEvent(NamedTuple):
    """What an envelope says, unchecked: any attribute may be absent (None) or of any type.

    ``data``: an object, or whatever else stands there.
    """

    specversion: object
    type: object
    id: object
    subject: object
    time: object
    data: object


def mode_of(headers: Headers) -> Mode:
    """Tell how the record carries its message."""
    attributes = False
    media_types: set[bytes] = set()
    for name, value in headers:
        if name.startswith(PREFIX):
            attributes = True
        elif name == CONTENT_TYPE and value is not None:
            # Compared without case and parameters. A content-type may well stand twice.
            media_types.add(value.partition(b";")[0].strip().lower())
    if media_types and any(one.startswith(_CLOUD_EVENTS) for one in media_types):
        return Mode.STRUCTURED if media_types == {STRUCTURED_JSON} else Mode.UNREADABLE
    return Mode.BINARY if attributes else Mode.BARE


def read_binary(headers: Headers, value: bytes | None) -> CloudEvent:
    """Read the attributes from the headers and the data from the value.

    Raises what ``parse_object`` does where the value is not null.
    """
    attributes: dict[str, object] = {}
    for header, encoded in headers:
        name = _ATTRIBUTE_OF.get(header)
        if name is not None and encoded is not None:
            text = _text(encoded)
            if attributes.setdefault(name, text) != text:
                attributes[name] = Unusable.CONTRADICTORY
    data = None if value is None else parse_object(value)
    return CloudEvent._make((*map(attributes.get, ATTRIBUTES), data))


def read_structured(value: bytes | None) -> CloudEvent:
    """Read attributes and data from the value; ``ce_`` headers beside it count for nothing.

    Raises what ``parse_object`` does, of the value and of what its Base64 says.
    """
    envelope = {} if value is None else parse_object(value)
    return CloudEvent._make((*map(envelope.get, ATTRIBUTES), _data(envelope)))


def is_envelope(fields: Mapping[str, Any]) -> bool:
    """Tell whether a JSON object that was refused as a bare message is a structured CloudEvent."""
    return "specversion" in fields and ("data" in fields or "data_base64" in fields)


def split_type(written: str) -> tuple[str | None, int | None]:
    """Take the kind and the version out of ``com.example.event.recorded.v1``.

    The kind is None where it is not a known one, the version where none is written.
    """
    version: int | None = None
    head, dot, last = written.rpartition(".")
    if dot and (found := _VERSION.fullmatch(last)):
        # More digits than these say no more than that it is not a version of ours.
        version = int(found[1][:_VERSION_DIGITS])
        written = head
    if written in known_kinds():
        return written, version
    for kind, ending in name_endings():
        if written.endswith(ending):
            prefixed = _REVERSE_DNS.fullmatch(written, 0, len(written) - len(ending))
            return (kind if prefixed else None), version
    return None, version


def _text(encoded: bytes) -> str | bytes:
    """Return the text, or the bytes as they are: what asks for text refuses them."""
    try:
        return encoded.decode()
    except UnicodeDecodeError:
        return encoded


def _data(envelope: Mapping[str, Any]) -> object:
    plain, encoded = envelope.get("data"), envelope.get("data_base64")
    if encoded is None:
        return plain
    if plain is not None:
        return Unusable.TWICE
    if not isinstance(encoded, str):
        return Unusable.NOT_BASE64
    try:
        decoded = binascii.a2b_base64(encoded, strict_mode=True)
    except ValueError:
        # Also what is not ASCII.
        return Unusable.NOT_BASE64
    try:
        return parse_object(decoded)
    except (NotAnObjectError, TooManyPartsError) as error:
        raise type(error)(f"data_base64: {error}") from None
