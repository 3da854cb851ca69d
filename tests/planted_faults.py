"""A hundred thousand generated messages of several producers, with planted faults among them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import cycle, islice
from typing import Any, NamedTuple

from consumer.contract.record import Headers
from consumer.contract.rejection import Reason
from producer_tools.generate import GenerationPlan, generate_messages
from producer_tools.outgoing_message import EndState, Outgoing
from tests.builders import encoded

RECORDS = 100_000
ONE_IN = 500
"""How many records there are for each fault."""

PRODUCERS: dict[str, Headers] = {
    "(unnamed)": (),
    "gateway": (("client-id", b"gateway"),),
    "/voice": (("ce_source", b"/voice"), ("ce_specversion", b"1.0")),
    "web": (("client-id", b"web"),),
}
AVRO = (("content-type", b"application/cloudevents+avro"),)


class Planted(NamedTuple):
    """A record, who sent it, and why the consumer must refuse it, None where it is in order."""

    producer: str
    reason: Reason | None
    key: bytes | None
    value: bytes
    headers: Headers


Fault = Callable[[Planted, dict[str, Any]], Planted]
"""Makes of a record, and of the message that it holds, one that is refused."""


def saying(**fields: Any) -> Fault:
    return lambda record, message: record._replace(value=encoded({**message, **fields}))


def holding(text: str) -> Fault:
    """Let the payload or metadata hold ``text`` as JSON. An end has neither, and gets no fault."""

    def plant(record: Planted, message: dict[str, Any]) -> Planted:
        name = {"event.recorded": "payload", "session.created": "metadata"}.get(message["type"])
        if name is None:
            return record._replace(reason=None)
        inside = encoded({**message, name: "?"})
        return record._replace(value=inside.replace(b'"?"', text.encode()))

    return plant


def cut(record: Planted, _: dict[str, Any]) -> Planted:
    return record._replace(value=record.value[:-5])


def unreadable(record: Planted, _: dict[str, Any]) -> Planted:
    return record._replace(headers=record.headers + AVRO)


def keyed(key: bytes | None) -> Fault:
    return lambda record, _: record._replace(key=key)


def of_unknown_type(record: Planted, message: dict[str, Any]) -> Planted:
    headers = tuple((n, b"org.unknown" if n == "ce_type" else v) for n, v in record.headers)
    return record._replace(value=encoded({**message, "type": "unknown"}), headers=headers)


def of_unknown_event_type(record: Planted, message: dict[str, Any]) -> Planted:
    if message["type"] != "event.recorded":
        return record._replace(reason=None)
    return record._replace(value=encoded({**message, "eventType": "noise"}))


IN_THE_VALUE: tuple[tuple[Reason, Fault], ...] = (
    (Reason.UNDECODABLE, cut),
    (Reason.UNSUPPORTED_TYPE, of_unknown_type),
    (Reason.UNSUPPORTED_TYPE, of_unknown_event_type),
    (Reason.UNSUPPORTED_VERSION, saying(schemaVersion=2)),
    (Reason.INVALID, saying(sessionId=12345)),
    (Reason.INVALID, saying(sessionId="")),
    (Reason.INVALID, saying(startedAt="10:00", endedAt="10:00", timestamp="10:00")),
    (Reason.UNSTORABLE, holding('{"n":9223372036854775808}')),
    (Reason.UNSTORABLE, holding('{"a\\u0000b":1}')),
    (Reason.UNSTORABLE, holding('{"n":1e400}')),
    (Reason.UNSTORABLE, holding('{"t":"\\ud800"}')),
    (Reason.UNSTORABLE, holding('{"a":' * 120 + "1" + "}" * 120)),
)
BESIDE_IT: tuple[tuple[Reason, Fault], ...] = (
    (Reason.UNDECODABLE, unreadable),
    (Reason.KEY_MISMATCH, keyed(b"another")),
    (Reason.KEY_MISMATCH, keyed(None)),
)
"""What a line of a file cannot have."""


def planted(faults: tuple[tuple[Reason, Fault], ...], seed: int = 1) -> Iterator[Planted]:
    """Yield the records; with one seed always the same."""
    producers, planting = cycle(PRODUCERS.items()), cycle(faults)
    plan = GenerationPlan(seed=seed, sessions=RECORDS)
    messages = islice(generate_messages(plan, EndState()), RECORDS)
    for number, outgoing in enumerate(messages):
        record = _sent(outgoing, *next(producers))
        # 37 and the number of producers have no common divisor: each of them makes each fault.
        if number % ONE_IN == number // ONE_IN % 37:
            reason, fault = next(planting)
            record = fault(record._replace(reason=reason), json.loads(record.value))
        yield record


def _sent(outgoing: Outgoing, producer: str, headers: Headers) -> Planted:
    if producer == "/voice":
        said = json.loads(outgoing.value)
        headers += (("ce_type", said["type"].encode()), ("ce_id", b"of no event"))
    return Planted(producer, None, outgoing.key, outgoing.value, headers)
