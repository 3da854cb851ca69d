"""Kinds come from entry points; one that cannot be used ends a start with exit code 2."""

from __future__ import annotations

import pytest

from consumer.contract.kinds import known_kinds
from consumer.errors import ExitCode, SettingsError
from consumer.settings import own_kinds
from consumer.settings.model import MongoSettings
from consumer.settings.sources import load_settings
from tests.own_kinds import ACME, installed


def test_the_group_has_the_name_of_the_distribution() -> None:
    assert own_kinds.GROUP == "conversation_consumer.kinds"


def test_loading_the_settings_lets_the_installed_kinds_be_known() -> None:
    contract = list(known_kinds())
    with installed(**ACME):
        load_settings({}, variables={})
        assert [*known_kinds()] == [*contract, "session.rated", "session.summarized"]
    assert [*known_kinds()] == contract


@pytest.mark.reliability("F148")
@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("tests.own_kinds.nowhere:KIND", "cannot be loaded: ModuleNotFoundError"),
        ("tests.own_kinds.acme_kinds:NOTHING", "cannot be loaded: AttributeError"),
        ("tests.own_kinds.acme_kinds:Rating", "is no consumer.contract.kinds.Kind"),
        ("tests.own_kinds.program:KIND", "cannot be loaded: SystemExit: 0"),
    ],
)
def test_an_entry_point_that_names_no_kind_is_one_line(value: str, problem: str) -> None:
    with pytest.raises(SettingsError, match=problem) as refusal, installed(bad=value):
        pass
    assert refusal.value.exit_code is ExitCode.USAGE
    assert f"bad = {value} of conversation_consumer.kinds" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_the_same_kind_twice_is_one_line() -> None:
    rated = ACME["rated"]
    with pytest.raises(SettingsError, match="there is another kind"), installed(a=rated, b=rated):
        pass


def test_a_collection_that_the_settings_name_is_taken() -> None:
    with (
        installed(**ACME),
        pytest.raises(SettingsError, match="'session_ratings' is another kind's"),
    ):
        own_kinds.load_own_kinds(MongoSettings(events="session_ratings"))
