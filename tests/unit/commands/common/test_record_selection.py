"""A selection that makes no sense is refused before a server is asked, whichever command it is."""

from __future__ import annotations

import pytest

from consumer.cli import app
from consumer.commands.audit.audit import show_audit
from consumer.commands.common.record_selection import RecordSelection, check_selection
from consumer.commands.explain import explain_session
from consumer.commands.show import show_session
from consumer.errors import ExitCode, SettingsError
from consumer.settings.model import Settings

SETTINGS = Settings()


@pytest.mark.parametrize(
    ("selection", "said"),
    [
        (
            RecordSelection(from_offset=50, to_offset=10),
            "--from-offset 50 is not below --to-offset 10",
        ),
        (
            RecordSelection(sessions=("\udcff",)),
            "--session is not the id of a session: it must be text, and not empty",
        ),
        (
            RecordSelection(sessions=("s", "")),
            "--session is not the id of a session: it must be text, and not empty",
        ),
    ],
)
async def test_an_audit_refuses_what_a_replay_refuses(
    selection: RecordSelection, said: str
) -> None:
    with pytest.raises(SettingsError) as refused:
        await show_audit(SETTINGS, selection, emit=None, as_json=True)
    assert str(refused.value) == said
    assert refused.value.exit_code is ExitCode.USAGE


@pytest.mark.parametrize(
    ("command", "option"),
    [
        ("replay", "--from-time"),
        ("replay", "--to-time"),
        ("audit", "--from-time"),
        ("audit", "--to-time"),
        ("explain s", "--from-time"),
    ],
)
def test_a_time_that_is_none_is_refused_before_a_server_is_asked(command: str, option: str) -> None:
    servers = ("--bootstrap-servers", "127.0.0.1:1", "--mongo-uri", "mongodb://127.0.0.1:1")
    with pytest.raises(SettingsError, match=f"^{option}: 'nonsense' is not a time"):
        app([*command.split(), option, "nonsense", *servers], standalone_mode=False)


@pytest.mark.parametrize(
    "selection", [RecordSelection(), RecordSelection(from_offset=3, to_offset=4)]
)
def test_an_audit_of_everything_needs_no_selection(selection: RecordSelection) -> None:
    check_selection(selection)


@pytest.mark.parametrize("session_id", ["", "\udcff"])
async def test_what_cannot_be_the_id_of_a_session_is_not_looked_for(session_id: str) -> None:
    said = "SESSION_ID is not the id of a session: it must be text, and not empty"
    with pytest.raises(SettingsError) as refused:
        await explain_session(SETTINGS, RecordSelection(sessions=(session_id,)), as_json=True)
    assert str(refused.value) == said
    with pytest.raises(SettingsError) as refused:
        await show_session(SETTINGS, session_id, as_json=True)
    assert str(refused.value) == said
