"""What the consumer would refuse or warn of is counted by who sent it, and never quoted."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Self

import pytest

from consumer.contract.decode import MAX_VALUE_BYTES
from consumer.contract.record import Headers, OffsetRange, Record, TopicPartition
from consumer.contract.rejection import KeyPolicy
from consumer.errors import ExitCode
from consumer.kafka.ranges import UnreadRange
from consumer.settings.model import KafkaSettings
from producer_tools import verification, verify
from producer_tools.verification import OTHERS, UNNAMED, Finding, Verdict, Verification
from producer_tools.verify import VerifyRequest, verify_lines, verify_topics
from tests.builders import completed, created, encoded, event, failed, record

VOICE: Headers = (
    ("ce_specversion", b"1.0"),
    ("ce_type", b"event.recorded"),
    ("ce_id", b"e"),
    ("ce_source", b"/voice"),
)
ENVELOPE = {"specversion": "1.0", "type": "event.recorded", "id": "e", "source": "/chat"}
STRUCTURED: Headers = (("content-type", b"application/cloudevents+json"),)


def looking(policy: KeyPolicy = KeyPolicy.WARN) -> Verification:
    return Verification(policy, MAX_VALUE_BYTES, "client-id")


def test_each_record_is_counted_for_its_producer() -> None:
    found = looking()
    found.add(record(event(), headers=VOICE), 0)
    found.add(record(encoded({**ENVELOPE, "data": event()}), key=b"s", headers=STRUCTURED), 0)
    found.add(record(created(), headers=(("client-id", b"gateway"),)), 0)
    found.add(record(created()), 0)
    assert {name: counts.records for name, counts in found.producers.items()} == {
        "/voice": 1,
        "/chat": 1,
        "gateway": 1,
        UNNAMED: 1,
    }
    assert found.findings == {}


def test_what_would_be_rejected_is_told_with_reason_fields_and_places() -> None:
    found = looking()
    for offset in range(5):
        says = {**event(payload={"text": "SECRET"}), "sessionId": 12345}
        found.add(record(encoded(says), offset, headers=VOICE), None)
    ((finding, where),) = found.findings.items()
    assert finding == Finding("/voice", Verdict.REJECTED, "invalid", "sessionId: must be text")
    assert (where.records, len(where.examples)) == (5, 3)
    assert where.examples[0] == "conversation.events-0 @ 0"
    assert found.total().rejected == 5
    assert "SECRET" not in "".join(found.lines()) + json.dumps(found.facts())


@pytest.mark.reliability("F101")
@pytest.mark.parametrize(
    ("says", "detail"),
    [
        (event(payload={"n": 2**63}), "payload: an integer beyond 64 bits"),
        (event(payload={"a\0": 1}), "payload: NUL in a field name"),
        (created(metadata={"t": "\ud800"}), "metadata: an unpaired surrogate"),
        (completed(eventCount=2**63), "eventCount: an integer beyond 64 bits"),
        (failed(reason="x" * 70_000), "takes more than the 63488 bytes it may"),
    ],
)
def test_what_no_document_can_hold_would_be_rejected(says: dict[str, object], detail: str) -> None:
    found = looking()
    found.add(record(json.dumps(says).encode(), key=b"s"), 0)
    (finding,) = found.findings
    assert finding == Finding(UNNAMED, Verdict.REJECTED, "unstorable", detail)


@pytest.mark.parametrize(("key", "detail"), [(b"t", "the key is not the"), (None, "no key")])
def test_a_key_that_is_not_the_session_is_warned_of_or_rejected_as_the_policy_says(
    key: bytes | None, detail: str
) -> None:
    for policy, verdict in (
        (KeyPolicy.WARN, Verdict.WARNED),
        (KeyPolicy.DEAD_LETTER, Verdict.REJECTED),
    ):
        found = looking(policy)
        found.add(record(event(), key=key), 0)
        (finding,) = found.findings
        assert (finding.verdict, finding.reason) == (verdict, "key_mismatch")
        assert policy is KeyPolicy.DEAD_LETTER or detail in finding.detail


def test_a_record_that_does_not_lie_where_its_key_leads_is_warned_of() -> None:
    found = looking()
    found.add(record(event(), partition=1), 2)
    found.add(record(event(), partition=2), 2)
    (finding,) = found.findings
    assert (finding.verdict, finding.reason) == (Verdict.WARNED, "partition")
    assert found.total().warned == 1


def test_a_null_value_is_counted_as_skipped() -> None:
    found = looking()
    found.add(record(None, key=b"s"), 0)
    assert (found.total().skipped, found.total().rejected) == (1, 0)


def test_the_same_fault_at_another_character_is_no_other_finding() -> None:
    found = looking()
    for value in (b'{"a":1,', b'{"a":1,"b":', b'{"a":1} '[:-2]):
        found.add(record(value, key=b"s"), 0)
    assert {finding.detail for finding in found.findings} == {"not JSON, at character …"}


def test_names_that_anybody_may_write_do_not_fill_the_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(verification, "MOST_PRODUCERS", 2)
    monkeypatch.setattr(verification, "MOST_FINDINGS", 2)
    found = looking()
    for number in range(9):
        headers: Headers = (("client-id", b"%d" % number),)
        found.add(record(encoded({"type": "session.created", f"{number}": 1}), headers=headers), 0)
    assert set(found.producers) == {"0", "1", OTHERS}
    assert len(found.findings) == 3
    assert found.total().records == 9


def test_faults_that_differ_without_end_do_not_fill_the_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(verification, "MOST_FINDINGS", 2)
    found = looking()
    names = ["sessionId", "eventId", "eventType", "payload", "timestamp"]
    for name in names:
        found.add(record(encoded({**event(), name: 1}), key=b"s"), 0)
    first, second, *rest = found.findings
    assert [first.detail, second.detail] == ["sessionId: must be text", "eventId: must be text"]
    assert [one.detail for one in rest] == [OTHERS]
    assert sum(where.records for where in found.findings.values()) == len(names)


def test_a_name_that_a_terminal_would_obey_is_escaped() -> None:
    found = looking()
    found.add(record(event(), headers=(("client-id", b"\x1b[2J"),)), 0)
    assert "\x1b" not in "".join(found.lines())


def test_an_envelope_that_is_none_is_of_an_unnamed_producer() -> None:
    found = looking()
    found.add(record(b"{", key=b"s", headers=STRUCTURED), 0)
    assert found.producers[UNNAMED].rejected == 1


REQUEST = VerifyRequest(KafkaSettings())


@pytest.mark.parametrize(
    ("lines", "code"),
    [([created(), event()], ExitCode.DONE), ([created(), {"type": "?"}], ExitCode.FOUND)],
)
async def test_a_file_is_looked_at_line_by_line(
    tmp_path: Path,
    lines: list[dict[str, object]],
    code: ExitCode,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "messages.ndjson"
    file.write_bytes(b"\n".join(map(encoded, lines)))
    with file.open("rb") as opened:
        assert await verify_lines("f", opened.fileno(), REQUEST) == code
    said = capsys.readouterr().out
    assert ("unsupported_type" in said) is (code is ExitCode.FOUND)
    assert ("such as line 2" in said) is (code is ExitCode.FOUND)
    assert "not looked at: keys, headers and partitions" in said
    assert "not looked at: what the database alone refuses" in said
    assert "not looked at: whether records contradict each other" in said


class HalfReadable:
    """Topics of which one partition cannot be read."""

    def __init__(self, _: KafkaSettings) -> None:
        self.partitions = [TopicPartition("t", 0), TopicPartition("t", 1)]
        self.unread = [UnreadRange(self.partitions[1], 0, 3, "CorruptRecordError")]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None: ...

    async def ranges(self, _: object) -> list[OffsetRange]:
        return [OffsetRange(one, 0, 3) for one in self.partitions]

    async def read(self, _: object) -> AsyncIterator[tuple[TopicPartition, list[Record]]]:
        yield (
            self.partitions[0],
            [record(event(event_id=str(n)), n, topic="t") for n in range(3)],
        )


async def test_what_could_not_be_read_is_no_better_than_what_is_wrong(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(verify, "open_range_reader", HalfReadable)
    assert await verify_topics(REQUEST) is ExitCode.FOUND
    said = capsys.readouterr().out
    assert "3 records of 1 producer: 0 would be rejected" in said
    assert "not looked at: t-1: offsets 0 to 2 not read (CorruptRecordError)" in said
