"""The list of problems: where it goes is settled before anything is read."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from consumer.commands.audit.audit import show_audit
from consumer.commands.common.record_selection import RecordSelection
from consumer.errors import ExitCode, PreconditionError, SettingsError
from consumer.settings.model import EngineSettings, KafkaSettings, Settings

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
        await show_audit(AWAY, RecordSelection(), emit=name, as_json=False)
    assert str(refused.value) == f"--emit {name} cannot be written (No such file or directory)"
    assert refused.value.exit_code is ExitCode.USAGE


def test_no_list_goes_into_a_file_by_the_name_of_standard_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError, match="--emit -: the report goes to standard output"):
        asyncio.run(show_audit(AWAY, RecordSelection(), emit="-", as_json=False))
    assert list(tmp_path.iterdir()) == []


async def test_the_last_list_stays_until_there_is_a_new_one(tmp_path: Path) -> None:
    last = tmp_path / "problems.ndjson"
    last.write_text("the last list")
    with pytest.raises(PreconditionError):
        await show_audit(AWAY, RecordSelection(), emit=str(last), as_json=False)
    assert last.read_text() == "the last list"


async def test_an_audit_that_fails_leaves_no_list_that_says_nothing_is_wrong(
    tmp_path: Path,
) -> None:
    with pytest.raises(PreconditionError):
        await show_audit(
            AWAY, RecordSelection(), emit=str(tmp_path / "problems.ndjson"), as_json=False
        )
    assert not (tmp_path / "problems.ndjson").exists()
