"""The options of the command become a request and settings."""

from __future__ import annotations

import pytest

from consumer import cli, signals
from consumer.commands.replay import run_replay as module
from consumer.commands.replay.replay_request import ReplayRequest
from consumer.contract.messages import MessageKind
from consumer.errors import ExitCode
from consumer.settings.model import Settings


def asked(monkeypatch: pytest.MonkeyPatch, *options: str) -> tuple[Settings, ReplayRequest]:
    """What ``consumer replay`` is asked for by these options."""
    calls: list[tuple[Settings, ReplayRequest]] = []

    async def replay(settings: Settings, request: ReplayRequest) -> ExitCode:
        calls.append((settings, request))
        return ExitCode.DONE

    monkeypatch.setattr(module, "show_replay", replay)
    assert cli.app(["replay", *options], standalone_mode=False) == ExitCode.DONE
    return calls[0]


def test_every_option_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    settings, request = asked(
        monkeypatch,
        *("--topic", "a", "--topic", "b", "--partition", "0", "--partition", "2"),
        *("--from-offset", "5", "--to-offset", "9", "--from-time", "2h ago", "--to-time", "1h ago"),
        *("--session", "s", "--session", "t", "--type", "event.recorded", "--rate", "2.5"),
        *("--state", "state", "--dead-letters", "letters", "--json"),
        *("--database", "rebuilt", "--mongo-uri", "mongodb://db", "--bootstrap-servers", "k:1"),
        *("--set", "engine.max_poll_records=7"),
    )
    assert request == ReplayRequest(
        topics=("a", "b"),
        partitions=(0, 2),
        from_offset=5,
        to_offset=9,
        from_time="2h ago",
        to_time="1h ago",
        sessions=("s", "t"),
        kinds=(MessageKind.EVENT_RECORDED,),
        rate=2.5,
        state="state",
        as_json=True,
    )
    assert settings.dead_letters.topic == "letters"
    assert settings.mongo.database == "rebuilt"
    assert settings.kafka.bootstrap_servers == ("k:1",)
    assert settings.engine.max_poll_records == 7


def test_flags_arrive(monkeypatch: pytest.MonkeyPatch) -> None:
    _, request = asked(monkeypatch, "--file", "-", "--repair", "--dry-run")
    assert request == ReplayRequest(file="-", repair=True, dry_run=True)
    _, request = asked(monkeypatch, "--all")
    assert request == ReplayRequest(everything=True)


def test_none_stands_for_no_dead_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    settings, request = asked(monkeypatch, "--all", "--dead-letters", "none")
    assert not request.send_dead_letters
    assert settings.dead_letters.topic == Settings().dead_letters.topic


def test_without_a_selection_the_command_ends_at_once_in_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.argv", ["consumer", "replay", "--dry-run"])
    code, words = signals.run_app(cli.app, "consumer")
    assert code == ExitCode.USAGE
    (line,) = words.splitlines()
    assert line.startswith("consumer: nothing is selected")


def test_dead_letters_cannot_go_where_records_are_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    arguments = ["consumer", "replay", "--all", "--dead-letters", "conversation.events"]
    monkeypatch.setattr("sys.argv", arguments)
    code, words = signals.run_app(cli.app, "consumer")
    assert code == ExitCode.USAGE
    assert "conversation.events" in words
