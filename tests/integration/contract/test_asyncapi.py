"""What docs/asyncapi.yaml and docs/schemas say to other programs is what the decoder does.

``asyncapi-3.0.0.json`` is AsyncAPI's own schema, from the package ``@asyncapi/specs`` 6.11.1
(Apache-2.0, see the files beside it).
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from consumer.contract.asyncapi import TopicNames, asyncapi_document
from consumer.contract.cloudevents import Mode, mode_of
from consumer.contract.dead_letter import NAMES, origin_of
from consumer.contract.decode import Decoded, decode
from consumer.contract.messages import MessageKind
from consumer.contract.record import NO_TIMESTAMP, Headers, Record
from consumer.contract.rejection import KeyPolicy, Reason
from tests.builders import completed, created, encoded, event, failed, record
from tests.own_kinds import ACME, installed

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
COMMITTED = (ROOT / "docs" / "asyncapi.yaml").read_text("utf-8")
DOCUMENT: dict[str, Any] = yaml.safe_load(COMMITTED)
MESSAGES: dict[str, Any] = DOCUMENT["components"]["messages"]
ASYNCAPI = jsonschema.Draft7Validator(json.loads((HERE / "asyncapi-3.0.0.json").read_text("utf-8")))


def printed(*arguments: str) -> str:
    ran = subprocess.run(
        [sys.executable, "-m", "consumer", "contract", *arguments],
        capture_output=True,
        check=True,
        text=True,
    )
    return ran.stdout


def schema_of(kind: MessageKind) -> dict[str, Any]:
    path = ROOT / "docs" / "schemas" / f"{kind.value}.schema.json"
    read: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return read


def test_the_committed_documents_are_what_the_command_prints() -> None:
    assert printed("--asyncapi") == COMMITTED
    for kind in MessageKind:
        assert json.loads(printed("--json-schema", kind.value)) == schema_of(kind)


def test_it_is_a_document_of_asyncapi() -> None:
    assert [error.message for error in ASYNCAPI.iter_errors(DOCUMENT)] == []
    assert not ASYNCAPI.is_valid({**DOCUMENT, "channels": {"sessions": {"adress": "x"}}})


def test_it_is_one_with_own_kinds_in_it() -> None:
    with installed(**ACME):
        document = asyncapi_document(TopicNames("s", "e", "d"), "1")
    assert "SessionRatedEnvelope" in document["components"]["schemas"]
    assert [error.message for error in ASYNCAPI.iter_errors(document)] == []


def references(value: object) -> Iterator[str]:
    match value:
        case {"$ref": str(target)}:
            yield target
        case dict():
            for inner in value.values():
                yield from references(inner)
        case list():
            for inner in value:
                yield from references(inner)


def test_every_reference_leads_somewhere() -> None:
    for target in set(references(DOCUMENT)):
        found: Any = DOCUMENT
        for name in target.removeprefix("#/").split("/"):
            found = found[name]


def resolved(schema: dict[str, Any]) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator({**schema, "components": DOCUMENT["components"]})


@pytest.mark.parametrize("name", MESSAGES)
def test_every_example_keeps_the_schemas_that_it_is_an_example_of(name: str) -> None:
    message = MESSAGES[name]
    for example in message["examples"]:
        resolved(message["payload"]).validate(example["payload"])
        if "headers" in message:
            resolved(message["headers"]).validate(example["headers"])


KINDS = [name for name in MESSAGES if name != "DeadLetter"]


def test_there_is_every_kind_in_every_form() -> None:
    modes = {"": Mode.BARE, "Binary": Mode.BINARY, "Structured": Mode.STRUCTURED}
    expected = {
        ("".join(part.capitalize() for part in kind.split(".")) + ending, mode)
        for kind in MessageKind
        for ending, mode in modes.items()
    }
    assert {
        (name, mode_of(headers_of(MESSAGES[name]["examples"][0]))) for name in KINDS
    } == expected


def headers_of(example: dict[str, Any]) -> Headers:
    return tuple((name, text.encode()) for name, text in example.get("headers", {}).items())


@pytest.mark.parametrize("name", KINDS)
def test_every_example_is_applied_by_the_decoder(name: str) -> None:
    for example in MESSAGES[name]["examples"]:
        value = encoded(example["payload"])
        found = Record("t", 0, 0, NO_TIMESTAMP, b"s-1", value, headers_of(example))
        decoded = decode(found, KeyPolicy.DEAD_LETTER)
        assert isinstance(decoded, Decoded)
        assert not decoded.message.time_defaulted


def test_the_example_of_a_dead_letter_is_read_as_one() -> None:
    (example,) = MESSAGES["DeadLetter"]["examples"]
    letter = origin_of(headers_of(example))
    assert letter is not None
    assert (letter.origin, letter.reason) == (("conversation.events", 3, 41), Reason.UNDECODABLE)
    assert set(MESSAGES["DeadLetter"]["headers"]["properties"]) == NAMES


def test_what_is_internal_does_not_appear() -> None:
    assert re.findall("(?i)default(ed)?_?at|time_?defaulted|expireAt|createdFrom", COMMITTED) == []


RIGHT = (
    created(),
    created(startedAt=None, metadata={}),
    {**created(), "metadata": None, "schemaVersion": 1, "unknown": [1]},
    completed(eventCount=0),
    {**completed(), "eventCount": None},
    failed(reason="x"),
    event(),
    event(event_id="e" * 256),
)
WRONG = (
    {**created(), "sessionId": 1},
    created(""),
    created("a\0b"),
    created("s" * 257),
    created(language=""),
    created(language="x" * 65),
    created(metadata=[]),
    created(startedAt=5),
    {**created(), "schemaVersion": 2},
    completed(eventCount=-1),
    completed(eventCount="1"),
    failed(reason=1),
    event(eventType="noise"),
    event(payload="text"),
    event(eventId=None),
)


@pytest.mark.parametrize("message", [*RIGHT, *WRONG], ids=str)
def test_the_schema_and_the_decoder_say_the_same(message: dict[str, Any]) -> None:
    schema = jsonschema.Draft202012Validator(schema_of(MessageKind(message["type"])))
    said = {**record(created())._asdict(), "value": encoded(message)}
    applied = isinstance(decode(Record(**said), KeyPolicy.WARN), Decoded)
    assert schema.is_valid(message) is applied is (message in RIGHT)
