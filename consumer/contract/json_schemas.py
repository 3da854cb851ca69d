"""The JSON Schema of each kind of message, made from the classes of ``messages``."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from pydantic import ConfigDict, TypeAdapter
from pydantic.alias_generators import to_camel
from pydantic.dataclasses import dataclass

from consumer.contract.messages import (
    TIME_FIELDS,
    EventRecorded,
    Message,
    MessageKind,
    SessionCompleted,
    SessionCreated,
    SessionFailed,
)
from consumer.contract.schema_versions import FIRST_VERSION, newest_version

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

CLASSES: Final[Mapping[MessageKind, type[Message]]] = MappingProxyType(
    {
        MessageKind.SESSION_CREATED: SessionCreated,
        MessageKind.SESSION_COMPLETED: SessionCompleted,
        MessageKind.SESSION_FAILED: SessionFailed,
        MessageKind.EVENT_RECORDED: EventRecorded,
    }
)

_INTERNAL: Final = "timeDefaulted"

_ID_PATTERN: Final = "^[^\\u0000]*$"

_DESCRIPTIONS: Final = {
    "sessionId": "Stored as it is. It is the record's key, too.",
    "eventId": "Unique within the session, and the same each time the event is sent.",
    "language": "Free text, such as en-US.",
    "metadata": "Arbitrary JSON, stored inert; absent: {}.",
    "payload": "Arbitrary JSON, stored inert.",
    "eventCount": "How many events the session has, as its producer says.",
    "reason": "Why it failed, for people.",
}
_TIME: Final = "RFC 3339 with seconds and zone; absent: the record's timestamp."


def message_schema(kind: MessageKind) -> Mapping[str, Any]:
    """Return the schema of the JSON object that a message of ``kind`` is, in its newest version.

    What JSON Schema cannot say the decoder asks for all the same: no unpaired surrogates, times
    of years 1 to 9999, and what a document can hold. Unknown fields are ignored.
    """
    cls = CLASSES[kind]
    # The class itself stays a plain one: messages are made by the million, and checked before.
    read = dataclass(cls, frozen=True, config=ConfigDict(alias_generator=to_camel))
    made = TypeAdapter(read).json_schema()
    time = TIME_FIELDS[kind]
    required = [name for name in made["required"] if name != time]
    newest = newest_version(kind)
    version = {"type": "integer", "const": newest}
    properties: dict[str, Any] = {
        "type": {"const": kind.value},
        "schemaVersion": _optional(version) if newest == FIRST_VERSION else version,
    }
    for name, found in made["properties"].items():
        if name == _INTERNAL:
            continue
        said = _inlined(found, made.get("$defs", {}))
        if name == time:
            said["description"] = _TIME
        elif name in _DESCRIPTIONS:
            said["description"] = _DESCRIPTIONS[name]
        if name.endswith("Id"):
            said["pattern"] = _ID_PATTERN
        properties[name] = said if name in required else _optional(said)
    return {
        "$schema": DIALECT,
        "title": kind.value,
        "description": (cls.__doc__ or "").partition(".")[0] + ".",
        "type": "object",
        "properties": properties,
        "required": ["type", *(["schemaVersion"] if newest > FIRST_VERSION else ()), *required],
    }


def _inlined(found: Mapping[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    """Return a field's schema without what only pydantic has a use for."""
    if "$ref" in found:
        found = definitions[found["$ref"].rpartition("/")[2]]
    if "anyOf" in found:  # a field that may be absent
        (found,) = (one for one in found["anyOf"] if one != {"type": "null"})
    unwanted = {"title", "default", "description", "additionalProperties"}
    return {name: value for name, value in found.items() if name not in unwanted}


def _optional(said: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of a field that may be absent, which an explicit null says, too."""
    described = {"description": said["description"]} if "description" in said else {}
    value = {name: part for name, part in said.items() if name != "description"}
    return {**described, "anyOf": [value, {"type": "null"}]}
