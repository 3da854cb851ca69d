"""Records that nearly are what they should be: valid ones, damaged in form or in content."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from random import Random
from typing import Any

from consumer.contract import dead_letter as names
from consumer.contract.record import Headers, Record
from consumer.contract.rejection import KeyPolicy
from consumer.contract.times import REDRIVE_TIMESTAMP
from tests import builders
from tests.fuzz import oddities
from tests.fuzz.examining import Input

RAW = "\x1aliteral "
"""Begins the text that stands for an oddity that no encoder would write."""

FIELDS = (
    "type",
    "schemaVersion",
    "sessionId",
    "eventId",
    "eventType",
    "payload",
    "timestamp",
    "language",
    "startedAt",
    "endedAt",
    "metadata",
    "eventCount",
    "reason",
    "time_defaulted",
    "session_id",
    "data",
    "data_base64",
    "specversion",
    "subject",
    "id",
    "time",
)

MEDIA_TYPES = (
    b"application/cloudevents+json",
    b"Application/CloudEvents+JSON; charset=UTF-8",
    b"application/cloudevents-batch+json",
    b"application/cloudevents+avro",
    b"application/cloudevents",
    b"application/json",
    b"text/plain;application/cloudevents+json",
    b"\xff",
    b"",
)

Message = dict[str, Any]
Headed = list[tuple[str, bytes | None]]


def make(seed: int, number: int) -> Input:
    """Return the input of that number: the same for the same seed."""
    rng = Random(f"{seed} {number}")
    message = _message(rng)
    headers: Headed = []
    if rng.random() < 0.3:
        message = _wrapped(rng, message, headers)
    for _ in range(rng.choice((0, 0, 1, 1, 1, 2, 4))):
        rng.choice(CONTENT)(rng, message)
    written = _written(rng, message)
    for _ in range(rng.choice((0, 0, 0, 0, 0, 0, 1, 2))):
        written = rng.choice(DAMAGE)(rng, written)
    value = rng.choice((None, b"")) if rng.random() < 0.02 else written
    if rng.random() < 0.2:
        _more_headers(rng, headers)
    record = Record(
        *("conversation.events", rng.randrange(6), rng.randrange(2**40)),
        rng.choice(oddities.TIMESTAMPS_MS) if rng.random() < 0.2 else builders.STAMPED_MS,
        _key(rng, message),
        value,
        _damaged_headers(rng, headers),
    )
    return Input(
        record,
        rng.choice(list(KeyPolicy)),
        expires=rng.random() < 0.3,
        max_bytes=rng.choice((1024 * 1024, 1024 * 1024, 2000, 600)),
    )


# --- valid messages ---------------------------------------------------------------------


def _message(rng: Random) -> Message:
    session_id = rng.choice(("s", "s-1", "ümlaut", "a" * 256))
    kind = rng.choice((builders.created, builders.event, builders.completed, builders.failed))
    message = kind(session_id)
    if rng.random() < 0.3:
        inner = oddities.value(rng)
        message["payload" if kind is builders.event else "metadata"] = {"x": inner}
    return message


def _wrapped(rng: Random, message: Message, headers: Headed) -> Message:
    """Make a CloudEvent of it: in its headers, or in an envelope."""
    attributes: Message = {
        "specversion": "1.0",
        "type": f"com.example.{message.pop('type')}" + rng.choice(("", ".v1", ".v2", ".v0")),
        "source": "/fuzz",
        "id": "ce-1",
        "time": rng.choice(oddities.TIMES),
        "subject": message["sessionId"],
    }
    if rng.random() < 0.5:
        headers += [(f"ce_{name}", str(text).encode()) for name, text in attributes.items()]
        return message
    headers.append(("content-type", MEDIA_TYPES[0]))
    if rng.random() < 0.3:
        data = base64.b64encode(json.dumps(message).encode()).decode()
        return attributes | {"data_base64": data}
    return attributes | {"data": message}


# --- damage to the content -----------------------------------------------------------------


def _target(rng: Random, message: Message) -> Message:
    """Return the object to change: the message, or one inside it."""
    inner = [one for one in message.values() if isinstance(one, dict)]
    return rng.choice(inner) if inner and rng.random() < 0.4 else message


def _replace(rng: Random, message: Message) -> None:
    target = _target(rng, message)
    name = rng.choice((*target, *FIELDS))
    target[name] = oddities.value(rng)


def _literal(rng: Random, message: Message) -> None:
    target = _target(rng, message)
    target[rng.choice((*target, *FIELDS))] = RAW + rng.choice(oddities.LITERALS)


def _time(rng: Random, message: Message) -> None:
    target = _target(rng, message)
    target[rng.choice(("timestamp", "startedAt", "endedAt", "time"))] = rng.choice(oddities.TIMES)


def _drop(rng: Random, message: Message) -> None:
    target = _target(rng, message)
    if target:
        del target[rng.choice(list(target))]


def _swap(rng: Random, message: Message) -> None:
    target = _target(rng, message)
    if len(target) > 1:
        one, other = rng.sample(list(target), 2)
        target[one], target[other] = target[other], target[one]


CONTENT: tuple[Callable[[Random, Message], None], ...] = (
    _replace,
    _replace,
    _replace,
    _literal,
    _time,
    _drop,
    _swap,
)


def _written(rng: Random, message: Message) -> bytes:
    """Write the message down in one of many spellings, oddities as they are."""
    text = json.dumps(
        message,
        ensure_ascii=rng.random() < 0.5,
        separators=rng.choice(((",", ":"), (" ,\n", "\t: "))),
    )
    if rng.random() < 0.05:
        # Everything twice, under the same names.
        text = text[:-1] + "," + text[1:] if len(text) > 2 else text
    mark = json.dumps(RAW)[:-1]
    before, *literals = text.split(mark)
    for literal in literals:
        # Without the closing quote of the text that stood for it.
        odd, _, behind = _cut_text(literal)
        before += odd + behind
    return before.encode(errors="surrogatepass")


def _cut_text(written: str) -> tuple[str, str, str]:
    """Take a JSON text, whose opening quote is gone, off the beginning of ``written``."""
    at = 0
    while written[at] != '"':
        at += 2 if written[at] == "\\" else 1
    return str(json.loads(f'"{written[:at]}"')), '"', written[at + 1 :]


# --- damage to the bytes ---------------------------------------------------------------------


def _flip(rng: Random, value: bytes) -> bytes:
    if not value:
        return value
    at = rng.randrange(len(value))
    return value[:at] + bytes([value[at] ^ 1 << rng.randrange(8)]) + value[at + 1 :]


def _truncate(rng: Random, value: bytes) -> bytes:
    return value[: rng.randrange(len(value) + 1)]


def _insert(rng: Random, value: bytes) -> bytes:
    at = rng.randrange(len(value) + 1)
    return value[:at] + oddities.some_bytes(rng) + value[at:]


def _repeat(rng: Random, value: bytes) -> bytes:
    start = rng.randrange(len(value) + 1)
    end = rng.randrange(start, len(value) + 1)
    return value[:end] + value[start:end] * rng.choice((1, 2, 50)) + value[end:]


def _splice(rng: Random, value: bytes) -> bytes:
    other = _written(rng, _message(rng))
    return value[: rng.randrange(len(value) + 1)] + other[rng.randrange(len(other)) :]


def _prefix(rng: Random, value: bytes) -> bytes:
    return rng.choice((b"\xef\xbb\xbf", b"\0\0\0\0\1", b" \n", b"[", b'"', b"\x1e")) + value


def _suffix(rng: Random, value: bytes) -> bytes:
    return value + rng.choice((b" \r\n", b"\n{}", b"}", b",", b"\0", value))


def _recode(rng: Random, value: bytes) -> bytes:
    encoding = rng.choice(("utf-16", "utf-16-le", "utf-32", "utf-8-sig", "latin-1"))
    return value.decode(errors="replace").encode(encoding, errors="replace")


DAMAGE: tuple[Callable[[Random, bytes], bytes], ...] = (
    _flip,
    _flip,
    _truncate,
    _insert,
    _repeat,
    _splice,
    _prefix,
    _suffix,
    _recode,
)


# --- keys and headers --------------------------------------------------------------------------


def _key(rng: Random, message: Message) -> bytes | None:
    if rng.random() < 0.2:
        return rng.choice((None, b"", b"other", b"k" * 3000, oddities.some_bytes(rng)))
    return str(message.get("sessionId", "s")).encode(errors="surrogatepass")


def _more_headers(rng: Random, headers: Headed) -> None:
    odd: Headed = [
        ("content-type", rng.choice(MEDIA_TYPES)),
        ("ce_specversion", rng.choice((b"1.0", b"0.3", b"\xff", None))),
        ("ce_type", rng.choice((b"session.failed", b"", b"\xff", b"." * 3000, b"a." * 1500))),
        ("ce_datacontenttype", b"application/json"),
        ("ce-type", b"session.failed"),
        ("ce_", None),
        (REDRIVE_TIMESTAMP, rng.choice((b"1772618400000", b"-1", b"+1", b"9" * 30, b"", None))),
        (rng.choice(sorted(names.NAMES)), rng.choice((b"1", b"999999999", b"\xff", b"", None))),
        (names.SHA256, b"0" * 64),
        (names.SIZE, b"5"),
        (names.TRUNCATED, rng.choice((b"value", b"", b"key,headers", b"all"))),
        ("traceparent", b"00-1-2-01"),
        ("traceparent", None),
        ("\ud800", b"x"),
        ("", oddities.some_bytes(rng)),
    ]
    headers += rng.choices(odd, k=rng.choice((1, 2, 5, 40)))


def _damaged_headers(rng: Random, headers: Headed) -> Headers:
    if headers and rng.random() < 0.3:
        at = rng.randrange(len(headers))
        name, value = headers[at]
        headers[at] = rng.choice(
            (
                (name, None),
                (name, oddities.some_bytes(rng)),
                (name, _flip(rng, value or b"")),
                (name.upper(), value),
            )
        )
    if headers and rng.random() < 0.1:
        rng.shuffle(headers)
    if headers and rng.random() < 0.1:
        headers.append(rng.choice(headers))
    return tuple(headers)
