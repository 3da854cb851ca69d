"""The command line, as far as it answers without brokers."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from consumer.cli import app
from consumer.errors import ExitCode, SettingsError

NO_BROKERS = {"CONSUMER_KAFKA__BOOTSTRAP_SERVERS": "localhost:1", "COLUMNS": "200"}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("list --reason=haunted", "is no reason"),
        ("list --since=never", "is not a time"),
        ("list --letter=x", "is not PARTITION"),
        ("show --origin=a/b", "is not TOPIC"),
        ("redrive --transform=no_such_module:f", "cannot be imported"),
        ("redrive --limit=0", "--limit"),
        ("redrive --rate=0", "--rate"),
        ("discard --because=x", "--everything"),
        ("discard --everything", "--because"),
        ("discard --everything --because=", "--because"),
        ("list --since=1h --until=2h", "--since 1h is not before --until 2h"),
    ],
)
def test_a_wrong_option_is_refused_before_any_broker_is_asked(arguments: str, says: str) -> None:
    done = CliRunner().invoke(app, ["dead-letters", *arguments.split()], env=NO_BROKERS)
    refused = isinstance(done.exception, SettingsError)
    assert (ExitCode.USAGE if refused else done.exit_code) == ExitCode.USAGE
    assert says in f"{done.output}{done.exception}"
