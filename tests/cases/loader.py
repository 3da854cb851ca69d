"""Cases from the field: inputs that broke other consumers, and what has to become of each.

``inputs/<case>.ndjson`` has one record a line, ``expected.json`` the outcome of each line.
Some cases have ``inputs/<case>.md`` instead or as well: the steps in which they happen.
"""

from __future__ import annotations

import json
from base64 import b64decode
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from consumer.contract.record import Record
from consumer.contract.rejection import Reason
from consumer.state.outcomes import Outcome

FOLDER = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Expected:
    """How a line must end. ``reasons``: those that would do, the best first; none if applied."""

    outcome: Outcome
    reasons: tuple[Reason, ...] = ()


def case_names() -> list[str]:
    """Return the names of the cases whose lines have expected outcomes."""
    return sorted(_expectations())


def load_case(name: str, *, partition: int = 0) -> list[Record]:
    """Return the records of a case in file order, with the offsets of a new partition."""
    lines = (FOLDER / "inputs" / f"{name}.ndjson").read_text(encoding="utf-8").splitlines()
    ends: Counter[str] = Counter()
    records = []
    for fields in map(json.loads, lines):
        topic = str(fields["topic"])
        records.append(_record(fields, topic, partition, ends[topic]))
        ends[topic] += 1
    return records


def expected(name: str) -> list[Expected]:
    """Return what must become of each line of a case."""
    return [_expected(line) for line in _expectations()[name]]


def _expectations() -> dict[str, list[dict[str, Any]]]:
    text = (FOLDER / "expected.json").read_text(encoding="utf-8")
    expectations: dict[str, list[dict[str, Any]]] = json.loads(text)
    return expectations


def _expected(line: dict[str, Any]) -> Expected:
    reasons = [line["reason"]] if "reason" in line else []
    return Expected(Outcome(line["outcome"]), tuple(map(Reason, reasons + line.get("accept", []))))


def _record(fields: dict[str, Any], topic: str, partition: int, offset: int) -> Record:
    return Record(
        topic=topic,
        partition=partition,
        offset=offset,
        timestamp_ms=fields["timestamp_ms"],
        key=_bytes(fields["key"]),
        value=_bytes(fields["value"]),
        headers=tuple((name, _bytes(value)) for name, value in fields["headers"]),
    )


def _bytes(written: str | dict[str, str] | None) -> bytes | None:
    """Return what a line says in text, in Base64 where it is no text, or with null."""
    match written:
        case None:
            return None
        case str():
            return written.encode()
        case _:
            return b64decode(written["base64"])
