"""What the consumer would refuse or warn of, counted by the producer that sent it. Pure.

Nothing here keeps or shows what a message says: only which fields are wrong, and where it lies.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict, astuple, dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple, assert_never

from consumer.contract.cloudevents import Mode, mode_of
from consumer.contract.decode import Decoded, Tombstone, decode
from consumer.contract.json_text import NotAnObjectError, TooManyPartsError, parse_object
from consumer.contract.record import Record, last_header
from consumer.contract.rejection import KeyPolicy, Reason, Rejected
from consumer.printable import printable
from consumer.quantities import plural
from consumer.state.writes import plan

UNNAMED: Final = "(unnamed)"
"""The producer of records that name none."""

OTHERS: Final = "(others)"
"""Stands for the producers, or for the details, beyond those that are told apart."""

MOST_PRODUCERS: Final = 1000
MOST_FINDINGS: Final = 1000
"""Headers are anybody's to write: neither may fill the memory."""

EXAMPLES: Final = 3

_LONGEST_NAME: Final = 200
_SOURCE: Final = "ce_source"

_OF_ONE_RECORD: Final = re.compile(r"(?<=at character )\d+|\d+(?= bytes, more)")
"""The numbers in a detail that differ from record to record."""


class Verdict(StrEnum):
    """What the consumer does with a record that is not in order."""

    REJECTED = "rejected"
    WARNED = "warned"


class Finding(NamedTuple):
    """One thing that is wrong with records of one producer. ``detail`` names fields, no values."""

    producer: str
    verdict: Verdict
    reason: str
    detail: str


@dataclass(slots=True)
class Found:
    """How many records have a finding, and where the first of them lie."""

    records: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, place: str) -> None:
        """Count one more, which lies there."""
        self.records += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(place)


@dataclass(slots=True)
class ProducerCounts:
    """What one producer sent. ``skipped``: null values, which mean nothing to the consumer."""

    records: int = 0
    rejected: int = 0
    warned: int = 0
    skipped: int = 0


@dataclass(slots=True)
class Verification:
    """Counts what is wrong, record by record.

    ``client_header``: the header that names a producer which sends no CloudEvents.
    """

    key_policy: KeyPolicy
    max_value_bytes: int
    client_header: str
    producers: dict[str, ProducerCounts] = field(default_factory=dict)
    findings: dict[Finding, Found] = field(default_factory=dict)

    def add(self, record: Record, home: int | None) -> None:
        """Look at a record of a topic. ``home``: the partition that its key leads to, if any."""
        producer = self._known(producer_of(record, self.client_header))
        place = f"{printable(record.topic)}-{record.partition} @ {record.offset}"
        warnings = []
        if home is not None and home != record.partition:
            words = "not the one that Kafka's default, murmur2, chooses for the key"
            warnings.append(("partition", words))
        self._add(producer, record, place, warnings)

    def add_line(self, number: int, value: bytes) -> None:
        """Look at a line of a file, which has neither key nor headers."""
        record = Record("", 0, number, 0, None, value)
        self._add(UNNAMED, record, f"line {number}", None)

    def refuse(self, place: str, reason: str, detail: str) -> None:
        """Count a line that is not read at all."""
        counts = self.producers.setdefault(UNNAMED, ProducerCounts())
        counts.records += 1
        counts.rejected += 1
        self._find(Finding(UNNAMED, Verdict.REJECTED, reason, detail), place)

    def total(self) -> ProducerCounts:
        """Return the counts of all producers together."""
        counts = map(astuple, self.producers.values())
        return ProducerCounts(*map(sum, zip(*counts, strict=True)))

    def _add(
        self, producer: str, record: Record, place: str, warnings: list[tuple[str, str]] | None
    ) -> None:
        """Count a record; ``warnings``: what its place says, None where it has no key either."""
        counts = self.producers.setdefault(producer, ProducerCounts())
        counts.records += 1
        policy = self.key_policy if warnings is not None else KeyPolicy.WARN
        judged = _judge(record, policy, self.max_value_bytes)
        match judged:
            case Rejected():
                counts.rejected += 1
                general = _OF_ONE_RECORD.sub("…", judged.detail)
                self._find(Finding(producer, Verdict.REJECTED, judged.reason, general), place)
                return
            case Tombstone():
                counts.skipped += 1
            case Decoded(key_mismatch=mismatch):
                if mismatch and warnings is not None:
                    words = "no key" if record.key is None else "the key is not the sessionId"
                    warnings.append((Reason.KEY_MISMATCH.value, words))
            case _:
                assert_never(judged)
        counts.warned += bool(warnings)
        for reason, detail in warnings or ():
            self._find(Finding(producer, Verdict.WARNED, reason, detail), place)

    def _find(self, finding: Finding, place: str) -> None:
        if finding not in self.findings and len(self.findings) >= MOST_FINDINGS:
            finding = finding._replace(detail=OTHERS)
        self.findings.setdefault(finding, Found()).add(place)

    def _known(self, producer: str) -> str:
        if producer in self.producers or len(self.producers) < MOST_PRODUCERS:
            return producer
        return OTHERS

    def lines(self) -> Iterator[str]:
        """Yield the report for people, safe to print, the producers with most faults first."""
        total = self.total()
        yield (
            f"{plural(total.records, 'record')} of {plural(len(self.producers), 'producer')}: "
            f"{total.rejected:,} would be rejected, {total.warned:,} warned of, "
            f"{total.skipped:,} skipped (null values)"
        )
        for producer, counts in self._worst_first():
            yield (
                f"{printable(producer)}: {plural(counts.records, 'record')}, "
                f"{counts.rejected:,} rejected, "
                f"{counts.warned:,} warned of, {counts.skipped:,} skipped"
            )
            for finding, found in self.findings.items():
                if finding.producer == producer:
                    yield f"  {_line(finding, found)}"

    def facts(self) -> dict[str, object]:
        """Return the report for JSON."""
        return {
            **asdict(self.total()),
            "producers": [{"producer": name, **asdict(one)} for name, one in self._worst_first()],
            "findings": [
                {**finding._asdict(), "records": found.records, "examples": found.examples}
                for finding, found in self.findings.items()
            ],
        }

    def _worst_first(self) -> list[tuple[str, ProducerCounts]]:
        return sorted(
            self.producers.items(), key=lambda one: (-one[1].rejected, -one[1].warned, one[0])
        )


def _judge(
    record: Record, key_policy: KeyPolicy, max_value_bytes: int
) -> Decoded | Tombstone | Rejected:
    """Return what the consumer makes of the record before it asks the database anything."""
    decoded = decode(record, key_policy, max_value_bytes)
    if isinstance(decoded, Decoded):
        planned = plan(decoded.message, record)
        if isinstance(planned, Rejected):
            return planned
    return decoded


def producer_of(record: Record, client_header: str) -> str:
    """Return who says to have sent the record: the source of a CloudEvent, or its header."""
    name = last_header(record.headers, _SOURCE)
    if record.headers and mode_of(record.headers) is Mode.STRUCTURED:
        try:
            source = parse_object(record.value or b"").get("source")
        except (NotAnObjectError, TooManyPartsError):
            source = None
        if isinstance(source, str) and source:
            return source[:_LONGEST_NAME]
    name = name or last_header(record.headers, client_header)
    return name[:_LONGEST_NAME].decode(errors="replace") if name else UNNAMED


def _line(finding: Finding, found: Found) -> str:
    where = ", ".join(found.examples)
    return (
        f"{finding.verdict}: {finding.reason}: {printable(finding.detail)}: "
        f"{plural(found.records, 'record')}, such as {where}"
    )
