"""The contract as an AsyncAPI 3 document: topics, keys, headers, every kind in every form."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from consumer.contract import dead_letter as letters
from consumer.contract.cloudevents import PREFIX, SPECVERSION
from consumer.contract.decode import Decoded, decode
from consumer.contract.encode import (
    CloudEventsFormat,
    Wrapped,
    as_cloud_event,
    encode_json,
    message_fields,
)
from consumer.contract.json_schemas import message_schema, optional
from consumer.contract.kinds import EVENT_RECORDED, Kind, known_kinds
from consumer.contract.messages import (
    EventRecorded,
    EventType,
    Message,
    MessageKind,
    SessionCompleted,
    SessionCreated,
    SessionFailed,
)
from consumer.contract.record import Record
from consumer.contract.rejection import KeyPolicy, Reason, Rejected
from consumer.contract.times import TIME_PATTERN

_SPOKEN: Final = datetime(2026, 3, 4, 10, 0, 5, 250_000, tzinfo=UTC)
_STAMPED_MS: Final = 1_772_618_405_250

EXAMPLES: Final[Mapping[str, Message]] = {
    MessageKind.SESSION_CREATED: SessionCreated("s-1", "en-US", _SPOKEN, {"channel": "voice"}),
    MessageKind.SESSION_COMPLETED: SessionCompleted("s-1", _SPOKEN, 1),
    MessageKind.SESSION_FAILED: SessionFailed("s-1", _SPOKEN, "the line broke"),
    MessageKind.EVENT_RECORDED: EventRecorded(
        "s-1", "e-1", EventType.USER_SPEECH, {"text": "hello"}, _SPOKEN
    ),
}
_BINARY: Final = CloudEventsFormat("/voice/gateway")
_STRUCTURED: Final = CloudEventsFormat("/voice/gateway", structured=True)

_KEY: Final = {
    "key": {"type": "string", "description": "The sessionId in UTF-8, partitioned by murmur2."},
    "bindingVersion": "0.5.0",
}
_MEDIA_TYPE: Final = {"type": "string", "pattern": "^application/cloudevents\\+json *(;.*)?$"}
_STRUCTURED_HEADERS: Final = {
    "type": "object",
    "properties": {"content-type": _MEDIA_TYPE},
    "required": ["content-type"],
}
_TEXT: Final = {"type": "string"}
_TEXT_OR_NULL: Final = {"type": ["string", "null"]}
_DIGITS: Final = {"type": "string", "pattern": "^[0-9]+$"}


@dataclass(frozen=True, slots=True)
class TopicNames:
    """The topics that the document tells of."""

    sessions: str
    events: str
    dead_letters: str


def asyncapi_document(topics: TopicNames, version: str) -> dict[str, Any]:
    """Return the document; ``version`` is the consumer's own."""
    messages: dict[str, Any] = {}
    schemas: dict[str, Any] = {}
    sessions: list[str] = []
    events: list[str] = []
    for kind in known_kinds().values():
        name = _name(kind)
        schemas[name] = _without_dialect(kind)
        schemas[f"{name}Data"] = _data(kind)
        schemas[f"{name}Envelope"] = _envelope(kind)
        schemas[f"{name}Headers"] = _cloud_event_headers(kind)
        forms = _messages(kind)
        (events if kind is EVENT_RECORDED else sessions).extend(forms)
        messages |= forms
    messages["DeadLetter"] = _dead_letter_message()
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "conversation-consumer",
            "version": version,
            "description": "What is read from the topics; docs/contract.md says what comes of it. "
            "Any message is accepted on any subscribed topic.",
            "license": {"name": "MIT"},
        },
        "defaultContentType": "application/json",
        "channels": {
            "sessions": _channel(topics.sessions, sessions),
            "events": _channel(topics.events, events),
            "deadLetters": _channel(topics.dead_letters, ["DeadLetter"]),
        },
        "operations": {
            "receiveSessions": _operation("receive", "sessions"),
            "receiveEvents": _operation("receive", "events"),
            "sendDeadLetters": _operation("send", "deadLetters"),
        },
        "components": {"messages": messages, "schemas": schemas},
    }


def _name(kind: Kind) -> str:
    """Return ``session.created`` as ``SessionCreated``."""
    return "".join(part.capitalize() for part in kind.name.split("."))


def _example(kind: Kind) -> Message | None:
    """Return a message of the kind, read as the consumer reads it."""
    if kind.name in EXAMPLES or kind.example is None:
        return EXAMPLES.get(kind.name)
    value = encode_json({"type": kind.name, "schemaVersion": kind.newest_version, **kind.example})
    read = decode(Record("", 0, 0, _STAMPED_MS, None, value), KeyPolicy.WARN)
    return read.message if isinstance(read, Decoded) else None


def _channel(topic: str, names: Iterable[str]) -> dict[str, Any]:
    return {
        "address": topic,
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in names},
        "bindings": {
            "kafka": {
                "topic": topic,
                "topicConfiguration": {"cleanup.policy": ["delete"]},
                "bindingVersion": "0.5.0",
            }
        },
    }


def _operation(action: str, channel: str) -> dict[str, Any]:
    return {"action": action, "channel": {"$ref": f"#/channels/{channel}"}}


def _messages(kind: Kind) -> dict[str, Any]:
    """Return a kind bare, and as a CloudEvent in both of its modes."""
    name, message = _name(kind), _example(kind)
    bare = binary = structured = None
    if message is not None:
        fields = message_fields(message)
        bare = Wrapped(encode_json(fields), ())
        binary = as_cloud_event(fields, message, _BINARY)
        structured = as_cloud_event(fields, message, _STRUCTURED)
    return {
        name: _told_message(kind, "", bare),
        f"{name}Binary": {
            **_told_message(kind, ", a CloudEvent in binary mode", binary),
            "headers": {"$ref": f"#/components/schemas/{name}Headers"},
            "payload": {"$ref": f"#/components/schemas/{name}Data"},
        },
        f"{name}Structured": {
            **_told_message(kind, ", a CloudEvent in structured mode", structured),
            "contentType": "application/cloudevents+json",
            "headers": _STRUCTURED_HEADERS,
            "payload": {"$ref": f"#/components/schemas/{name}Envelope"},
        },
    }


def _told_message(kind: Kind, form: str, example: Wrapped | None) -> dict[str, Any]:
    return {
        "name": kind.name,
        "title": kind.name + form,
        "contentType": "application/json",
        "payload": {"$ref": f"#/components/schemas/{_name(kind)}"},
        "bindings": {"kafka": _KEY},
        **({} if example is None else {"examples": [_shown(example)]}),
    }


def _shown(example: Wrapped) -> dict[str, Any]:
    shown: dict[str, Any] = {"payload": json.loads(example.value)}
    if example.headers:
        headers = example.headers
        shown["headers"] = {name: (content or b"").decode() for name, content in headers}
    return shown


def _without_dialect(kind: Kind) -> dict[str, Any]:
    return {name: said for name, said in message_schema(kind.name).items() if name != "$schema"}


def _data(kind: Kind) -> dict[str, Any]:
    """Return the schema of a CloudEvent's data, which may leave to it what it says, too."""
    schema = _without_dialect(kind)
    properties = {name: said for name, said in schema["properties"].items() if name != "type"}
    said = {"type"}
    if kind is EVENT_RECORDED:
        said.add("eventId")
        properties["eventId"] = optional(properties["eventId"])
    own = [name for name in schema["required"] if name not in said]
    title = f"{kind.name}, as data of a CloudEvent"
    return {**schema, "title": title, "properties": properties, "required": own}


def _attributes(kind: Kind, prefix: str) -> dict[str, Any]:
    """Return the attributes of a CloudEvent that are read, and its source, which is not."""
    pattern = rf"^([A-Za-z0-9_-]+\.)*{re.escape(kind.name)}(\.v{kind.newest_version})?$"
    attributes: dict[str, Any] = {
        "specversion": {"const": SPECVERSION},
        "type": {"type": "string", "pattern": pattern},
        "source": {"type": "string", "description": "Not read, but for producer-tools verify."},
        "id": {"type": "string", "description": "Serves as eventId where the data names none."},
        "subject": {**_TEXT_OR_NULL, "description": "Where it stands, the sessionId."},
        "time": {
            **_TEXT_OR_NULL,
            "format": "date-time",
            "pattern": TIME_PATTERN,
            "description": "Serves where the data has no time.",
        },
    }
    return {prefix + name: said for name, said in attributes.items()}


def _cloud_event_headers(kind: Kind) -> dict[str, Any]:
    required = [PREFIX + name for name in ("specversion", "type", "source", "id")]
    return {"type": "object", "properties": _attributes(kind, PREFIX), "required": required}


def _envelope(kind: Kind) -> dict[str, Any]:
    """Return the schema of a structured CloudEvent."""
    data = {"$ref": f"#/components/schemas/{_name(kind)}Data"}
    return {
        "type": "object",
        "properties": {**_attributes(kind, ""), "data": data, "data_base64": _TEXT_OR_NULL},
        "required": ["specversion", "type", "source", "id"],
        "anyOf": [{"required": ["data"]}, {"required": ["data_base64"]}],
    }


def _dead_letter_message() -> dict[str, Any]:
    """Return what goes to the dead-letter topic, with an example that the code itself makes."""
    record = Record("conversation.events", 3, 41, _STAMPED_MS, b"s-1", b'{"type": "event.rec', ())
    letter = letters.dead_letter(
        record,
        Rejected(Reason.UNDECODABLE, "not JSON, at character 9"),
        group="conversation-consumer",
        failed_at=_SPOKEN,
        consumer_version="0.1.0",
    )
    said = {name: (content or b"").decode() for name, content in letter.headers}
    return {
        "name": "dead letter",
        "title": "A record that can never be applied, as it came, and why",
        "contentType": "application/octet-stream",
        "headers": _dead_letter_headers(),
        "payload": {"description": "The value as it came, whatever it is, or its beginning."},
        "bindings": {"kafka": _KEY},
        "examples": [{"headers": said, "payload": (letter.value or b"").decode()}],
    }


def _dead_letter_headers() -> dict[str, Any]:
    properties: dict[str, Any] = dict.fromkeys(sorted(letters.NAMES), _TEXT)
    properties |= dict.fromkeys(
        (letters.PARTITION, letters.OFFSET, letters.ATTEMPT, letters.SIZE), _DIGITS
    )
    properties[letters.REASON] = {"enum": [reason.value for reason in Reason]}
    properties[letters.TIMESTAMP] = {"type": "string", "pattern": "^-?[0-9]+$"}
    properties[letters.SHA256] = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
    return {
        "type": "object",
        "description": "Beside the record's own headers. Those of a cut stand on cut letters only.",
        "properties": properties,
        "required": sorted(letters.NAMES - letters.TRUNCATION_NAMES),
    }


# --- as text ----------------------------------------------------------------------

_PLAIN_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_PLAIN_WORDS: Final = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})


def to_yaml(value: Mapping[str, Any]) -> str:
    """Return ``value`` as YAML: blocks, in which every text is quoted as JSON does it."""
    return "\n".join(_block(value, 0)) + "\n"


def _block(value: object, depth: int) -> Iterable[str]:
    indent = "  " * depth
    if isinstance(value, Mapping):
        for name, inner in value.items():
            plain = _PLAIN_NAME.fullmatch(name) and name.lower() not in _PLAIN_WORDS
            yield from _entry(f"{indent}{name if plain else json.dumps(name)}:", inner, depth)
    elif isinstance(value, list):
        for inner in value:
            yield from _entry(f"{indent}-", inner, depth)


def _entry(label: str, inner: object, depth: int) -> Iterable[str]:
    if isinstance(inner, Mapping | list) and inner:
        yield label
        yield from _block(inner, depth + 1)
    else:
        yield f"{label} {json.dumps(inner, ensure_ascii=False)}"


def json_schema_text(kind: str) -> str:
    """Return the schema of the kind of this name as the file that is published."""
    return json.dumps(message_schema(kind), indent=2) + "\n"
