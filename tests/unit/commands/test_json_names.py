"""One spelling of names in all JSON that is printed; metrics have rules of their own."""

from __future__ import annotations

import ast
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from consumer.checks import CheckResult, Provision
from consumer.commands import check, explain, status
from consumer.commands.audit.audit_report import AuditReport, print_audit
from consumer.commands.audit.judging import JudgedRecord
from consumer.commands.audit.problems import Disagreement, Disagreements
from consumer.commands.audit.verdicts import AuditResult, Judgement
from consumer.commands.common.record_list import ListedRecord, RecordProblem
from consumer.commands.dead_letters import list_and_show, redrive_and_discard
from consumer.commands.dead_letters.dead_letter_record import DeadLetterRecord, read_dead_letter
from consumer.commands.dead_letters.dead_letter_selection import (
    DeadLetterRequest,
    DeadLetterSelection,
)
from consumer.commands.dead_letters.dead_letter_status import DeadLetterStatus
from consumer.commands.dead_letters.redrive_policy import (
    RefusalReason,
    SkipReason,
    StatusChange,
)
from consumer.commands.init import init
from consumer.commands.init.topic_provisions import InitRequest
from consumer.commands.replay.replay_report import OutcomeCounts, ReplayReport, print_replay
from consumer.commands.replay.replay_request import ReplayProgress
from consumer.contract.dead_letter import origin_of
from consumer.contract.record import Headers, OffsetRange, Record, TopicPartition
from consumer.contract.rejection import Reason
from consumer.kafka.committed import CommittedHold
from consumer.kafka.producer import OutgoingRecord
from consumer.kafka.ranges import DELETED, UnreadRange
from consumer.observability.instance_status import as_document
from consumer.settings.model import KafkaSettings, Settings
from consumer.state.writes import EventWrite
from producer_tools import producer_runs
from producer_tools import verify as verify_module
from producer_tools.outgoing_message import EndState
from producer_tools.publisher import Publisher
from tests.fakes.instance import instance_in_trouble

ROOT = Path(__file__).parents[3]
PARTITION = TopicPartition("t", 0)
UNREAD = UnreadRange(PARTITION, 0, 1, DELETED)
HEADERS: Headers = (
    ("dlq-topic", b"t"),
    ("dlq-partition", b"0"),
    ("dlq-offset", b"1"),
    ("dlq-timestamp", b"5"),
    ("dlq-reason", b"invalid"),
    ("dlq-failed-at", b"2026-03-04T10:00:00Z"),
)
RECORD = Record("dlq", 0, 7, 5, b"\xff", b"value", HEADERS)
DATA = ("session", "headers")
"""What stands under these names is what somebody has stored."""


def names_in(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield name
            if name not in DATA:
                yield from names_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from names_in(inner)


def _letter() -> DeadLetterRecord:
    letter = read_dead_letter(RECORD)
    assert isinstance(letter, DeadLetterRecord)
    return letter


async def _check() -> None:
    async def fine(*_: object) -> list[CheckResult]:
        return [CheckResult.ok("n", "d")]

    with pytest.MonkeyPatch.context() as patch:
        for name in ("_check_kafka", "_check_mongo", "_check_target"):
            patch.setattr(check, name, fine)
        await check.check_everything(Settings(), as_json=True)


def _init() -> None:
    done = [init.Provided(Provision("topic t", there=True), init.Presence.THERE)]
    init._print(done, InitRequest(as_json=True), Settings())


def _status() -> None:
    held = CommittedHold("2026-03-04T10:00:00.000Z", 1, {"invalid": 1})
    part = status.PartitionStatus("t", 0, "m", "h", 0, 1, 2, 1, None, None, 0, held)
    status._print(
        status.GroupStatus("", "g", True, "Stable", 1, 1, None, None, [part]), as_json=True
    )


def _audit() -> None:
    problem = ListedRecord(topic="t", partition=0, offset=0, problem=RecordProblem.MISSING)
    counts = {PARTITION: Counter({AuditResult.MISSING: 1})}
    disagreements = Disagreements(1, [Disagreement("s", 1, 2)])
    documents = Counter({AuditResult.MISSING: 1})
    report = AuditReport(counts, documents, [problem], 0, 0, disagreements, 1.0, [UNREAD], ["s"])
    print_audit(report, as_json=True)
    print(problem.line(), end="")  # noqa: T201 -- as --emit writes it


def _replay() -> None:
    counts = {PARTITION: OutcomeCounts(reasons=Counter({Reason.INVALID: 1}))}
    ranges = [OffsetRange(PARTITION, 0, 2)]
    report = ReplayReport(False, True, ReplayProgress(ranges, {}, [UNREAD]), counts, 1.0, "dlq")
    print_replay(report, as_json=True)


def _explain() -> None:
    info = origin_of(HEADERS)
    assert info is not None
    judged = JudgedRecord(
        RECORD, EventWrite("s", "e", b""), Judgement(AuditResult.MISSING, None, "")
    )
    session = {"sessionId": "s", "startedAt": datetime(2026, 3, 4, tzinfo=UTC)}
    found = explain.Explanation("s", [PARTITION], [judged], [(RECORD, info)], session, 1)
    list_and_show.print_json(explain._facts(found))


def _dead_letters() -> None:
    groups = list_and_show.DeadLetterGroups()
    groups.add(_letter(), None, copy=False)
    list_and_show.print_groups(groups, with_state=True, as_json=True)
    list_and_show.print_line(_letter(), None, keys=True, as_json=True)
    list_and_show.print_dead_letter(_letter(), None, full=True, as_json=True)
    record = OutgoingRecord("t", None, None, b"k", None, HEADERS)
    change = StatusChange(_letter(), DeadLetterStatus.REDRIVEN, record)
    list_and_show.print_change(change, as_json=True)


def _redrive_and_discard() -> None:
    counts = redrive_and_discard.RunCounts(
        1,
        Counter(DeadLetterStatus),
        Counter(DeadLetterStatus),
        Counter(SkipReason),
        Counter(RefusalReason),
    )
    request = DeadLetterRequest(Settings(), DeadLetterSelection(), as_json=True)
    for dry_run in (True, False):
        options = redrive_and_discard.RunOptions(dry_run=dry_run)
        redrive_and_discard._print_redriven(request, options, counts)
        redrive_and_discard._print_discarded(request, counts, dry_run=dry_run)


def _status_page() -> None:
    list_and_show.print_json(as_document(instance_in_trouble().status()))


def _publish() -> None:
    state = EndState(malformed=Counter(Reason))
    with producer_runs._reported(Publisher(), as_json=True) as result:
        result.update(state.summary())


def _verify() -> None:
    found = verify_module._verification(verify_module.VerifyRequest(KafkaSettings()))
    found.add_line(1, b"nonsense")
    request = verify_module.VerifyRequest(KafkaSettings(), as_json=True)
    verify_module._show(found, [], request, complete=True)


OUTPUTS: dict[Callable[[], Any], tuple[str, ...]] = {
    _check: ("consumer/commands/check.py",),
    _init: ("consumer/commands/init/init.py",),
    _status: ("consumer/commands/status.py",),
    _audit: (
        "consumer/commands/audit/audit_report.py",
        "consumer/commands/common/record_list.py",
    ),
    _replay: ("consumer/commands/replay/replay_report.py",),
    _explain: ("consumer/commands/explain.py",),
    _dead_letters: ("consumer/commands/dead_letters/list_and_show.py",),
    _redrive_and_discard: ("consumer/commands/dead_letters/redrive_and_discard.py",),
    _status_page: ("consumer/observability/http_server.py",),
    _publish: ("producer_tools/producer_runs.py",),
    _verify: ("producer_tools/verify.py",),
}

OF_ANOTHER_KIND = {
    "consumer/commands/common/output.py": "it is what the others print with",
    "consumer/commands/audit/problems.py": "a scratch table of its own",
    "consumer/commands/dead_letters/dead_letter_record.py": "a record of the status topic",
    "consumer/commands/dead_letters/transform.py": "the value of a record that is sent back",
    "consumer/commands/replay/replay_request.py": "the state file, which only a replay reads",
    "consumer/commands/show.py": "documents as they are stored",
    "consumer/contract/asyncapi.py": "the contract",
    "consumer/contract/kinds.py": "what a message says, for its model to judge",
    "consumer/demo/dataset.py": "a digest of documents",
    "consumer/kafka/committed.py": "the text beside a committed offset",
    "consumer/mongo/collection_provisions.py": "commands of mongosh",
    "consumer/mongo/indexes.py": "commands of mongosh",
    "consumer/observability/incidents.py": "the text of a log line's value",
    "consumer/terminal.py": "it is what the others print with",
}


@pytest.mark.parametrize("output", OUTPUTS)
async def test_names_in_json_are_words_in_lower_case_with_underscores(
    output: Callable[[], Any], capsys: pytest.CaptureFixture[str]
) -> None:
    if (waited := output()) is not None:
        await waited
    lines = capsys.readouterr().out.splitlines()
    names = {name for line in lines for name in names_in(json.loads(line))}
    assert names
    assert {name for name in names if not re.fullmatch(r"[a-z0-9]+(_[a-z0-9]+)*", name)} == set()


def test_every_module_that_writes_json_is_looked_at() -> None:
    writers = {"dumps", "to_json", "print_json", "print_results"}
    found = {
        str(path.relative_to(ROOT))
        for package in ("consumer", "producer_tools")
        for path in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call)
        and getattr(node.func, "attr", getattr(node.func, "id", "")) in writers
    }
    known = {path for paths in OUTPUTS.values() for path in paths}
    assert found - OF_ANOTHER_KIND.keys() == known
    assert OF_ANOTHER_KIND.keys() <= found
