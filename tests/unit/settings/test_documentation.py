"""What is written about the settings is what the code says."""

from __future__ import annotations

import pytest

from consumer.settings.sources import CATALOGUE, SettingRow, load_settings


@pytest.mark.parametrize("row", CATALOGUE.values(), ids=lambda row: row.name)
def test_every_setting_says_what_it_means_and_takes_its_own_default(
    row: SettingRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert row.meaning.endswith(".")
    assert row.allowed
    monkeypatch.setenv(row.env, row.default)
    load_settings()


def test_the_settings_that_scripts_rely_on_keep_their_names() -> None:
    assert CATALOGUE.keys() >= {
        "kafka.bootstrap_servers",
        "kafka.topics",
        "kafka.group_id",
        "kafka.key_policy",
        "dead_letters.topic",
        "mongo.uri",
        "mongo.database",
        "mongo.sessions",
        "mongo.events",
        "mongo.driver",
        "log.format",
        "log.level",
        "http.port",
    }
