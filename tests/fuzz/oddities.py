"""What is put in the place of what should stand there."""

from __future__ import annotations

from random import Random
from typing import Any

from tests.fuzz.examining import CANARY

LITERALS = (
    "NaN",
    "Infinity",
    "-Infinity",
    "1e400",
    "-1e400",
    "-0.0",
    "-0",
    "5.0",
    "1e2",
    "01",
    "1.",
    ".5",
    "+1",
    "0x1",
    "9007199254740993.0",
    str(2**63 - 1),
    str(2**63),
    str(-(2**63) - 1),
    str(2**64),
    "9" * 641,
    "9" * 5000,
    "-" + "9" * 5000,
    "0." + "1" * 1001,
    "1e" + "9" * 20,
    '"\\ud800"',
    '"\\udc00\\ud800"',
    '"\\ud83d\\ude00"',
    '"\\u0000"',
    '"\\x41"',
    '"\\u12"',
    '"unfinished',
    '"\t"',
    "[" * 99 + "]" * 99,
    '{"a":' * 101 + "1" + "}" * 101,
    "[" * 1500 + "]" * 1500,
    '{"a":' * 1500 + "1" + "}" * 1500,
    "[1," * 1200 + "1" + "]" * 1200,
    '{"a":1,"a":2}',
    '{"$ref":"a","$id":"b"}',
    '{"$numberLong":"1"}',
    '{"$date":"2026-03-04T10:00:00Z"}',
    '{"a.b":1,"$set":{},"_id":1,"":2,"__proto__":{}}',
    '{"a\\u0000b":1}',
    '{"\\ud800":1}',
    "tru",
    "None",
    "undefined",
    "[1,]",
    '{"a":1,}',
    "{'a':1}",
    "",
    " ",
    "//",
)
"""Written as they are into the text of a message."""

TEXTS = (
    "",
    " ",
    "\0",
    f"{CANARY}\0{CANARY}",
    "a" * 64,
    "a" * 65,
    "a" * 256,
    "a" * 257,
    "é" * 256,
    "😀" * 256,
    "é",
    "e\u0301",
    "\u202e" + CANARY,
    "\u200b",
    "\ufeff",
    "\x1b[2J",
    "line\nbreak",
    "$where",
    "a.b",
    "user_speech",
    "session.created",
    "event.recorded.v2",
    "com.example.session.completed.v1",
    ".event.recorded",
    "v1",
    "1.0",
    CANARY,
)

TIMES = (
    "2026-03-04T10:00:00Z",
    "2026-03-04t10:00:00z",
    "2026-03-04 10:00:00+14:00",
    "2026-03-04T10:00:00.123456789Z",
    "2026-03-04T10:00Z",
    "2026-03-04T10:00:00",
    "2026-03-04T10:00:60Z",
    "2026-03-04T24:00:00Z",
    "2026-02-29T10:00:00Z",
    "0000-12-31T23:59:59-14:00",
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-00:01",
    "10000-01-01T00:00:00Z",
    "2026-W10-3",
    "٢٠٢٦-03-04T10:00:00Z",
    "1772618400000",
    "Wed, 04 Mar 2026 10:00:00 GMT",
    "2026-03-04T10:00:00." + "1" * 400 + "Z",
)

NUMBERS = (0, 1, -1, 2, 2**31, 2**53 + 1, 2**63 - 1, 2**63, -(2**63), 2**64, 0.5, -0.0, 1e308)

TIMESTAMPS_MS = (-1, 0, 1, -2, 2**62, -(2**63), 2**63 - 1, 253402300800000, 1772618400000123)


def value(rng: Random, depth: int = 0) -> Any:
    """Return any JSON value, usually a small one."""
    draw = rng.random()
    if draw < 0.35:
        return rng.choice(TEXTS)
    if draw < 0.5:
        return rng.choice(NUMBERS)
    if draw < 0.6:
        return rng.choice((None, True, False))
    if draw < 0.7:
        return rng.choice(TIMES)
    if depth > 3:
        return rng.choice(({}, []))
    size = rng.randrange(4)
    if draw < 0.85:
        return [value(rng, depth + 1) for _ in range(size)]
    return {rng.choice(TEXTS): value(rng, depth + 1) for _ in range(size)}


def some_bytes(rng: Random) -> bytes:
    """Return bytes that are no text, or hardly any."""
    return rng.choice(
        (
            b"",
            b"\0",
            b"\xff",
            b"\xff\xfe",
            b"\xef\xbb\xbf",
            b"\xed\xa0\x80",
            b"\xc0\xaf",
            b"\0\0\0\0\1",
            "{}".encode("utf-16"),
            rng.randbytes(rng.randrange(40)),
        )
    )
