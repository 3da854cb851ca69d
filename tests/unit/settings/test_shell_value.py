"""Where a shell finds a secret that was read here."""

from __future__ import annotations

from pathlib import Path

import pytest

from consumer.settings.sources import shell_value

URI = "mongodb://user:secret@db.example"
VARIABLE = "CONSUMER_MONGO__URI"


@pytest.fixture(autouse=True)
def _no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.delenv(f"{VARIABLE}_FILE", raising=False)


def test_in_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, URI)
    assert shell_value("mongo.uri", URI) == f'"${VARIABLE}"'


def test_in_the_file_that_the_variable_names(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "the uri"
    file.write_text(URI + "\n")
    monkeypatch.setenv(f"{VARIABLE}_FILE", str(file))
    assert shell_value("mongo.uri", URI) == f"\"$(cat '{file}')\""


def test_nowhere_where_it_came_from_an_option(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shell_value("mongo.uri", URI) is None
    monkeypatch.setenv(VARIABLE, "mongodb://another.example")
    assert shell_value("mongo.uri", URI) is None
