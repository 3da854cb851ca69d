"""The largest records that a broker lets through, each as hard to read as its bytes allow."""

from __future__ import annotations

import gc
import time
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from consumer.contract.decode import MAX_VALUE_BYTES
from consumer.contract.record import Headers, Record
from tests import builders
from tests.fuzz.examining import Input, processed

MIB = 1024 * 1024
RECORD_BYTES = MIB
"""What ``message.max.bytes`` of a broker is, about; in Kafka it is 12 bytes more."""

MAX_MEMORY = 50 * MIB
AIM = 0.1
"""Seconds of processor time that a record should take at most."""
MAX_SECONDS = 0.5
"""... and that none may take, on a processor that others use as well."""
TRIES = 5
"""The quickest counts."""

UNPACKED_BYTES = (6 * MIB, MAX_VALUE_BYTES)
"""What may become of a record that compresses well: about as large as its parts are still all
read, and as large as values are read at all."""
UNPACKED_MEMORY = 300 * MIB
UNPACKED_SECONDS = 3.0

SHOWN = 12

EVENT = (
    '{"type":"event.recorded","sessionId":"s","eventId":"e","eventType":"system",'
    '"timestamp":"2026-03-04T10:00:00Z",'
)
PAYLOAD = EVENT + '"payload":{"x":'
UNKNOWN = EVENT + '"payload":{},"x":'
BINARY: Headers = (
    ("ce_specversion", b"1.0"),
    ("ce_type", b"com.example.event.recorded.v1"),
    ("ce_id", b"ce-1"),
)
STRUCTURED: Headers = (("content-type", b"application/cloudevents+json"),)
ENVELOPE = '{"specversion":"1.0","type":"event.recorded","id":"e","source":"/s","data":'


@dataclass(frozen=True, slots=True)
class Weight:
    """What one input took: processor time in seconds, memory in bytes at the peak."""

    name: str
    end: str
    seconds: float
    memory: int
    size: int

    def __str__(self) -> str:
        return (
            f"{self.seconds * 1000:6.1f} ms {self.memory / MIB:5.1f} MiB  {self.end:16} {self.name}"
        )


def filled(unit: str, before: str = "", after: str = "", size: int = RECORD_BYTES) -> bytes:
    """Return so many units between the two that it is nearly ``size`` bytes."""
    room = size - len((before + after).encode())
    return (before + unit * (room // len(unit.encode())) + after).encode()


def _record(value: bytes | None, headers: Headers = (), key: bytes = b"s") -> Record:
    return Record("conversation.events", 0, 5, builders.STAMPED_MS, key, value, headers)


def _short(unit: str) -> str:
    return unit if len(unit) <= SHOWN else f"{unit[:SHOWN]}… ({len(unit)} characters)"


def shapes() -> Iterator[tuple[str, Record]]:
    """Give every heavy shape, by name."""
    for unit in _UNITS:
        yield (
            f"an array of {_short(unit)}",
            _record(filled(unit + ",", PAYLOAD + "[", unit + "]}}")),
        )
    for name, text in _TEXTS.items():
        yield f"a text of {name}", _record(filled(text, PAYLOAD + '"', '"}}'))
        yield f"texts of {name}", _record(filled(f'"{text}",', PAYLOAD + "[", '""]}}'))
    yield (
        "an object of many names",
        _record(
            (PAYLOAD + "{" + ",".join(f'"{n:x}":{n % 10}' for n in range(95_000)) + "}}}").encode()
        ),
    )
    yield "a number of a million digits", _record(filled("9", PAYLOAD, "}}"))
    yield "a fraction of a million digits", _record(filled("9", PAYLOAD + "0.", "}}"))
    yield "a version of a million digits", _record(filled("9", EVENT + '"schemaVersion":', "}"))
    yield (
        "a time with a million digits",
        _record(
            filled(
                "1",
                '{"type":"session.failed","sessionId":"s","endedAt":"2026-03-04T10:00:00.',
                'Z"}',
            )
        ),
    )
    yield (
        "an id of a million characters",
        _record(filled("s", '{"type":"session.failed","sessionId":"', '"}')),
    )
    yield "white space", _record(filled(" ", EVENT, '"payload":{}}'))
    yield "unknown fields", _record(filled('"":1,', EVENT, '"payload":{}}'))
    yield "not UTF-8", _record(b"\xff" * RECORD_BYTES)
    yield "UTF-16", _record(filled("[", PAYLOAD, size=MIB // 2).decode().encode("utf-16"))
    yield from _deep()
    yield from _enveloped()
    yield from _headed()


def unpacked() -> Iterator[tuple[str, Record]]:
    """Give the values that were larger before they were compressed."""
    for size in UNPACKED_BYTES:
        for unit in _UNITS:
            yield (
                f"{size // MIB} MiB of {_short(unit)}",
                _record(filled(unit + ",", PAYLOAD + "[", unit + "]}}", size)),
            )


_UNITS = (
    *("1", "1.5", "-0.0", "1e5", "1e308", "null", "true", "9" * 18, "9" * 600, "1e400"),
    *('""', '"a"', "[]", "{}", "[1]", '{"":1}', "[[]]", '{"":{}}', '{"":[]}', "[" * 9 + "]" * 9),
    "[" * 90 + "]" * 90,
    '{"":' * 90 + "1" + "}" * 90,
    "[" * 900 + "]" * 900,
    '{"":' * 900 + "1" + "}" * 900,
)

_TEXTS = {
    "letters": "a",
    "emoji": "😀",
    "control characters": "\\u0000",
    "escaped letters": "\\u00e9",
    "escaped pairs": "\\ud83d\\ude00",
    "unpaired surrogates": "\\ud800",
    "backslashes": "\\\\",
    "quotes": '\\"',
}


def _deep() -> Iterator[tuple[str, Record]]:
    levels = 20_000
    deep = "[" * 1500 + "]" * 1500
    half, third = RECORD_BYTES // 2 - 200, RECORD_BYTES // 6 - 200
    fifth = RECORD_BYTES // 5 - 200
    for place, before in (("the payload", PAYLOAD), ("an unknown field", UNKNOWN)):
        after = "}}" if before is PAYLOAD else "}"
        yield (
            f"deep arrays in {place}",
            _record((before + "[" * half + "]" * half + after).encode()),
        )
        yield (
            f"deep objects in {place}",
            _record((before + '{"a":' * third + "1" + "}" * third + after).encode()),
        )
        yield (
            f"scalars after each level in {place}",
            _record((before + "[" * fifth + "1],1" * (fifth - 1) + "1]" + after).encode()),
        )
        for unit in ("[]", "[[]]", "[[[]]]", '{"":[[]]}', "1", '"\\n"', "[" * 90 + "]" * 90):
            yield (
                f"{_short(unit)} below thousands of levels in {place}",
                _record(filled(unit + ",", before + "[" * levels, "1" + "]" * levels + after)),
            )
        yield (
            f"many deep values in {place}",
            _record(filled(deep + ",", before + "[", "1]" + after)),
        )
    yield "many deep members", _record(filled(f'"":{deep},', EVENT, '"payload":{}}'))
    for unit in ("1", "[]", "[[]]"):
        yield (
            f"many members with {unit} beside a deep one",
            _record(filled(f'"":{unit},', f'{EVENT}"a":{deep},', '"payload":{}}')),
        )
    yield (
        "many small arrays beside a deep one",
        _record(filled("[],", f'{EVENT}"payload":{{"a":[', f'1],"x":{deep}}}}}')),
    )
    yield "arrays that never end", _record(filled("[", PAYLOAD))
    yield "objects that never end", _record(filled('{"a":', PAYLOAD))
    yield "small arrays that never end", _record(filled("[[]],", PAYLOAD + "[" * levels))


def _enveloped() -> Iterator[tuple[str, Record]]:
    data = (
        '{"sessionId":"s","eventType":"system","timestamp":"2026-03-04T10:00:00Z","payload":{"x":'
    )
    deep = "[" * 1500 + "]" * 1500
    for unit in ("1", "[]", "[[]]", '{"":1}'):
        yield (
            f"an array of {unit} in binary mode",
            _record(filled(unit + ",", data + "[", "1]}}"), BINARY),
        )
        yield (
            f"an array of {unit} in structured mode",
            _record(filled(unit + ",", ENVELOPE + data + "[", "1]}}}"), STRUCTURED),
        )
        yield (
            f"an array of {unit} beside a deep one in structured mode",
            _record(filled(unit + ",", f"{ENVELOPE}{data}[", f'1],"d":{deep}}}}}}}'), STRUCTURED),
        )
    yield (
        "a million Base64 characters",
        _record(
            filled("e30g", '{"specversion":"1.0","type":"event.recorded","data_base64":"', '"}'),
            STRUCTURED,
        ),
    )
    long = b"com." * (RECORD_BYTES // 4)
    for name in ("ce_type", "ce_id", "ce_time", "ce_subject", "ce_specversion"):
        yield (
            f"a {name} of a mebibyte",
            _record(b"{}", (*(one for one in BINARY if one[0] != name), (name, long))),
        )
    yield (
        "a type with a million dots",
        _record(b"{}", (("ce_type", b"." * RECORD_BYTES + b"event.recorded"),)),
    )


def _headed() -> Iterator[tuple[str, Record]]:
    value = (EVENT + '"payload":{}}').encode()
    yield "ten thousand headers", _record(value, tuple((f"h{n}", b"x" * 90) for n in range(10_000)))
    yield "a hundred thousand empty headers", _record(value, (("", None),) * 100_000)
    yield "ten thousand ce_ headers", _record(value, (("ce_id", b"x"),) * 10_000)
    yield "ten thousand times our own headers", _record(value, (("dlq-attempt", b"9"),) * 10_000)
    yield "a header of a mebibyte", _record(value, (("traceparent", b"x" * RECORD_BYTES),))
    yield "a media type of a mebibyte", _record(value, (("content-type", b"a" * RECORD_BYTES),))
    yield "a key of a mebibyte", _record(value, key=b"k" * RECORD_BYTES)


def made_up(rng: Random) -> Record:
    """Return a record of nearly a mebibyte of a shape that nobody thought of."""
    parts = ("[", "]", '{"":', "}", "1", ",", '""', "null", " ", '"\\n"', "[]", "{}", "9.5")
    unit = "".join(rng.choice(parts) for _ in range(rng.randint(1, 12)))
    opening = rng.choice(("[", '{"":', "[1,", '{"a":1,"b":'))
    closing = "}" if opening.startswith("{") else "]"
    levels = rng.choice((0, 1, 95, 900, 1100, 20_000))
    end = rng.choice(("", "1" + closing * levels + "}}"))
    return _record(filled(unit, rng.choice((PAYLOAD, UNKNOWN)) + opening * levels, end))


def weigh(name: str, record: Record, tries: int = TRIES) -> Weight:
    """Measure what a record takes from its bytes to its write and its dead letter."""
    one = Input(record)
    seconds, end = float("inf"), ""
    for _ in range(tries):
        gc.collect()
        begun = time.process_time()
        end = processed(one)[0]
        seconds = min(seconds, time.process_time() - begun)
        if seconds < AIM:
            break
    tracemalloc.start()
    processed(one)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return Weight(name, end, seconds, peak, len(record.value or b""))


def too_heavy(weight: Weight) -> bool:
    """Tell whether a record takes more than any may."""
    if weight.size > RECORD_BYTES:
        return weight.seconds > UNPACKED_SECONDS or weight.memory > UNPACKED_MEMORY
    return weight.seconds > MAX_SECONDS or weight.memory > MAX_MEMORY
