"""The list of problems: where it goes is settled before anything is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from consumer.commands.audit.audit import AuditRequest, audited
from consumer.commands.audit.emitted import open_list
from consumer.commands.audit.problems import AuditProblem
from consumer.commands.audit.verdicts import AuditResult
from consumer.commands.replay.request import Request
from consumer.contract.record import Position
from consumer.errors import ExitCode, PreconditionError, SettingsError
from consumer.settings import EngineSettings, KafkaSettings, Settings

AWAY = Settings(
    kafka=KafkaSettings(
        bootstrap_servers=("127.0.0.1:9",),
        rebalance_timeout=1,
        request_timeout=2,
        heartbeat_interval=1,
        session_timeout=6,
    ),
    engine=EngineSettings(startup_timeout=0.5),
)


async def test_a_list_that_cannot_be_written_is_refused_before_a_server_is_asked(
    tmp_path: Path,
) -> None:
    name = str(tmp_path / "nowhere" / "problems.ndjson")
    with pytest.raises(SettingsError) as refused:
        await audited(AWAY, AuditRequest(Request(), name))
    assert str(refused.value) == f"--emit {name} cannot be written (No such file or directory)"
    assert refused.value.exit_code is ExitCode.USAGE


async def test_the_last_list_stays_until_there_is_a_new_one(tmp_path: Path) -> None:
    last = tmp_path / "problems.ndjson"
    last.write_text("the last list")
    with pytest.raises(PreconditionError):
        await audited(AWAY, AuditRequest(Request(), str(last)))
    assert last.read_text() == "the last list"


def test_a_new_list_takes_the_place_of_a_longer_one(tmp_path: Path) -> None:
    name = tmp_path / "problems.ndjson"
    name.write_text("the last list\n" * 99)
    position = Position("conversation.events", 2, 7)
    with open_list(str(name)) as emitted:
        emitted.write([AuditProblem(position, AuditResult.MISSING, ("session", "s"), "gone")])
    (line,) = name.read_text().splitlines()
    assert line == (
        '{"topic": "conversation.events", "partition": 2, "offset": 7, "problem": "missing", '
        '"document": ["session", "s"], "detail": "gone"}'
    )
