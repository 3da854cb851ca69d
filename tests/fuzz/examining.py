"""What must hold of any record: it is decoded, planned and, where it has to be, dead-lettered."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta

import bson

from consumer.contract import dead_letter as names
from consumer.contract.dead_letter import (
    MAX_ATTEMPT,
    DeadLetter,
    DeadLetterInfo,
    Truncation,
    attempt_of,
    dead_letter,
    origin_of,
    serialized_size,
    truncate,
    truncation_of,
)
from consumer.contract.decode import MAX_VALUE_BYTES, Decoded, Tombstone, decode
from consumer.contract.record import Headers, Record
from consumer.contract.rejection import KeyPolicy, Reason, Rejected
from consumer.contract.times import parse_time
from consumer.state.bson_compare import RAW
from consumer.state.fast_path import plan_quickly
from consumer.state.outcomes import REDELIVERED, classify_duplicate
from consumer.state.retention import FOR_EVER, Retention
from consumer.state.writes import Write, plan

CANARY = "hush"
"""Stands in values of the inputs, and must never stand in the detail of a rejection."""

GROUP = "fuzz"
VERSION = "0"
FAILED_AT = datetime(2026, 3, 4, 12, tzinfo=UTC)
RETENTION = Retention(timedelta(days=30))
OWN_HEADERS_BYTES = 4096
"""More than the headers of a letter that are ours can take."""


@dataclass(frozen=True, slots=True)
class Input:
    """One record, and the settings under which it is read."""

    record: Record
    key_policy: KeyPolicy = KeyPolicy.WARN
    expires: bool = False
    max_bytes: int = 1024 * 1024

    def encoded(self) -> str:
        """Return it as one word, from which ``Input.of`` makes it again."""
        plain = asdict(self)
        plain["record"] = record = self.record._asdict()
        record["key"], record["value"] = _text(self.record.key), _text(self.record.value)
        record["headers"] = [(name, _text(value)) for name, value in self.record.headers]
        return base64.b64encode(json.dumps(plain).encode()).decode()

    @staticmethod
    def of(word: str) -> Input:
        """Return the input that ``encoded`` turned into this word."""
        plain = json.loads(base64.b64decode(word))
        record = plain.pop("record")
        record["key"], record["value"] = _bytes(record["key"]), _bytes(record["value"])
        record["headers"] = tuple((name, _bytes(value)) for name, value in record["headers"])
        key_policy = KeyPolicy(plain.pop("key_policy"))
        return Input(Record(**record), key_policy, **plain)


def processed(one: Input) -> tuple[str, Write | None, Rejected | None, DeadLetter]:
    """Do with a record all that is done without I/O; return how it ends, in a word first.

    A letter is built of every record: any of them may turn out to be a conflict.
    """
    record = one.record
    found = decode(record, one.key_policy)
    end, write, rejected = "tombstone", None, None
    if isinstance(found, Rejected):
        end, rejected = found.reason.value, found
    elif not isinstance(found, Tombstone):
        lifetime = RETENTION.lifetime(record, FAILED_AT) if one.expires else FOR_EVER
        planned = plan(found.message, record, lifetime.expire_at)
        if isinstance(planned, Rejected):
            end, rejected = planned.reason.value, planned
        elif lifetime.over:
            end = "expired"
        else:
            end, write = type(planned).__name__, planned
    letter = dead_letter(
        record,
        rejected or Rejected(Reason.CONFLICT, "the stored event differs"),
        group=GROUP,
        failed_at=FAILED_AT,
        consumer_version=VERSION,
    )
    return end, write, rejected, truncate(letter, one.max_bytes)


def examine(one: Input) -> str:
    """Process a record and look at what came of it; return how it ended.

    Raises ``AssertionError`` where something does not hold, and whatever the subject raises,
    which it never may.
    """
    end, write, rejected, letter = processed(one)
    again = processed(one)
    assert again[0] == end, "the same record ends in another way"
    if write is not None:
        assert again[1] is not None
        assert again[1].content.raw == write.content.raw, "the same record writes other bytes"
        _check_write(write)
    _check_fast_path(one)
    if rejected is not None:
        assert CANARY not in rejected.detail, "a detail quotes a value"
    _check_letter(one, letter, rejected)
    return end


def _check_write(write: Write) -> None:
    bson.decode(write.content.raw, RAW)
    assert classify_duplicate(write, write.content) is REDELIVERED, (
        "what is stored is not known again"
    )


def _check_fast_path(one: Input) -> None:
    """Hold the fast way to the slow one; where the planner would not take it, too."""
    expire_at = FAILED_AT if one.expires else None
    planned = plan_quickly(one.record, expire_at, MAX_VALUE_BYTES)
    if planned is not None:
        found = decode(one.record, KeyPolicy.DEAD_LETTER)
        assert isinstance(found, Decoded), "the fast way takes what the slow way refuses"
        slow = plan(found.message, one.record, expire_at)
        assert planned == slow, "the fast way and the slow way make different writes"


def _check_letter(one: Input, letter: DeadLetter, rejected: Rejected | None) -> None:
    record = one.record
    info = origin_of(letter.headers)
    assert info is not None, "a letter without an origin"
    assert info == _expected(record, rejected, info), "a letter says something else"
    ours = [name for name, _ in letter.headers if name in names.NAMES]
    assert len(ours) == len(set(ours)), "a header of ours stands twice"
    size = serialized_size(letter.key, letter.value, letter.headers)
    assert size <= max(one.max_bytes, OWN_HEADERS_BYTES), f"a letter of {size} bytes"
    _check_content(record, letter, truncation_of(letter.headers))
    returned = Record("t", 0, 1, record.timestamp_ms, letter.key, letter.value, letter.headers)
    once_more = processed(replace(one, record=returned))[3]
    told = attempt_of(once_more.headers)
    assert told == _next_attempt(letter.headers), "the attempts are not counted"


def _expected(record: Record, rejected: Rejected | None, info: DeadLetterInfo) -> DeadLetterInfo:
    """Return what must be told; what only the letter itself knows is taken from there."""
    return DeadLetterInfo(
        origin=record.position,
        reason=Reason.CONFLICT if rejected is None else rejected.reason,
        detail=info.detail,
        timestamp_ms=info.timestamp_ms,
        group=GROUP,
        failed_at=parse_time("2026-03-04T12:00:00Z"),
        attempt=_next_attempt(record.headers),
    )


def _next_attempt(headers: Headers) -> int:
    return min(attempt_of(headers) + 1, MAX_ATTEMPT)


def _check_content(record: Record, letter: DeadLetter, truncation: Truncation | None) -> None:
    foreign, kept = tuple(_foreign(record.headers)), tuple(_foreign(letter.headers))
    if truncation is None:
        assert (letter.key, letter.value) == (record.key, record.value), "a letter is changed"
        assert kept == foreign, "the headers of others are changed"
    else:
        assert (record.key or b"").startswith(letter.key or b""), "a cut key is no beginning"
        assert (record.value or b"").startswith(letter.value or b""), "a cut value is none"
        assert foreign[: len(kept)] == kept, "the headers that were kept are not the first"


def _foreign(headers: Headers) -> Iterator[tuple[str, bytes | None]]:
    return (header for header in headers if header[0] not in names.NAMES)


def _text(value: bytes | None) -> str | None:
    return None if value is None else base64.b64encode(value).decode()


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text)
