"""The JSON Schema of each kind of message, made from its model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, TypeAdapter
from pydantic.alias_generators import to_camel
from pydantic.dataclasses import dataclass

from consumer.contract.kinds import Kind, known_kinds, model_schema
from consumer.contract.messages import FIRST_VERSION, MAX_ID_CODE_POINTS
from consumer.contract.times import TIME_PATTERN

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

_INTERNAL: Final = "timeDefaulted"

_ID: Final = {"minLength": 1, "maxLength": MAX_ID_CODE_POINTS, "pattern": "^[^\\u0000]*$"}

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


def message_schema(kind_name: str) -> Mapping[str, Any]:
    """Return the schema of the JSON object that a message of a kind is, in its newest version.

    What JSON Schema cannot say the decoder asks for all the same: integers without a fraction,
    no unpaired surrogates, days that there are, of years 1 to 9999, and what a document can hold.
    Unknown fields are ignored.
    """
    kind = known_kinds()[kind_name]
    fields, always = _fields_of(kind)
    required = [name for name in always if name != kind.time]
    newest = kind.newest_version
    version = {"type": "integer", "const": newest}
    properties: dict[str, Any] = {
        "type": {"const": kind.name},
        "schemaVersion": optional(version) if newest == FIRST_VERSION else version,
    }
    for name, found in fields.items():
        said = _with_form_of_times(found)
        said = {**said, "description": _TIME} if name == kind.time else said
        if name in kind.identity:
            said = said | {limit: most for limit, most in _ID.items() if limit not in said}
        properties[name] = said if name in required else optional(said)
    return {
        "$schema": DIALECT,
        "title": kind.name,
        "description": (kind.model.__doc__ or kind.name).partition(".")[0] + ".",
        "type": "object",
        "properties": properties,
        "required": ["type", *(["schemaVersion"] if newest > FIRST_VERSION else ()), *required],
    }


def _fields_of(kind: Kind) -> tuple[Mapping[str, Any], Sequence[str]]:
    """Return the schemas of the fields that a kind's model has, and which of them it requires."""
    if issubclass(kind.model, BaseModel):
        made = model_schema(kind)
        return made["properties"], made.get("required", ())
    # The class itself stays a plain one: messages are made by the million, and checked before.
    read = dataclass(kind.model, frozen=True, config=ConfigDict(alias_generator=to_camel))
    made = TypeAdapter(read).json_schema()
    fields = {}
    for name, found in made["properties"].items():
        if name != _INTERNAL:
            described = {"description": _DESCRIPTIONS[name]} if name in _DESCRIPTIONS else {}
            fields[name] = _inlined(found, made.get("$defs", {})) | described
    return fields, made["required"]


def _with_form_of_times(said: Mapping[str, Any]) -> dict[str, Any]:
    """Return a field's schema, which says of a time what form it has: most read no ``format``."""
    form = {"pattern": TIME_PATTERN} if said.get("format") == "date-time" else {}
    either = [_with_form_of_times(one) for one in said.get("anyOf", ())]
    return {**said, **form, **({"anyOf": either} if either else {})}


def _inlined(found: Mapping[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    """Return a field's schema without what only pydantic has a use for."""
    if "$ref" in found:
        found = definitions[found["$ref"].rpartition("/")[2]]
    if "anyOf" in found:  # a field that may be absent
        (found,) = (one for one in found["anyOf"] if one != {"type": "null"})
    unwanted = {"title", "default", "description", "additionalProperties"}
    return {name: value for name, value in found.items() if name not in unwanted}


def optional(said: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of a field that may be absent, which an explicit null says, too."""
    if {"type": "null"} in said.get("anyOf", ()):
        return dict(said)
    described = {"description": said["description"]} if "description" in said else {}
    value = {name: part for name, part in said.items() if name != "description"}
    return {**described, "anyOf": [value, {"type": "null"}]}
