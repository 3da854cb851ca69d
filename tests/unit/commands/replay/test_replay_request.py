"""What may be asked of a replay, and what contradicts itself."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from consumer.commands.replay.replay_request import (
    ReplayProgress,
    ReplayRequest,
    StateFile,
    check_request,
    selection_facts,
)
from consumer.contract.messages import MessageKind
from consumer.errors import ExitCode, SettingsError
from consumer.settings.model import DeadLetterSettings, KafkaSettings, MongoSettings, Settings

SETTINGS = Settings()


@pytest.mark.parametrize(
    "request_",
    [
        ReplayRequest(everything=True),
        ReplayRequest(topics=("conversation.events",)),
        ReplayRequest(partitions=(0,)),
        ReplayRequest(from_offset=0),
        ReplayRequest(to_offset=5),
        ReplayRequest(from_time="2h ago"),
        ReplayRequest(to_time="2h ago"),
        ReplayRequest(sessions=("s",)),
        ReplayRequest(kinds=(MessageKind.EVENT_RECORDED,)),
        ReplayRequest(file="-"),
        ReplayRequest(file="list", repair=True),
        ReplayRequest(file="list", repair=True, dry_run=True),
        ReplayRequest(everything=True, state="state"),
        ReplayRequest(from_offset=3, to_offset=4),
    ],
)
def test_each_selection_alone_is_enough(request_: ReplayRequest) -> None:
    check_request(request_, SETTINGS)


@pytest.mark.parametrize(
    ("request_", "named"),
    [
        (ReplayRequest(), "--all"),
        (ReplayRequest(dry_run=True, rate=5.0), "--all"),
        (ReplayRequest(everything=True, partitions=(1,)), "--all"),
        (ReplayRequest(file="list", everything=True), "--file"),
        (ReplayRequest(file="list", sessions=("s",)), "--file"),
        (ReplayRequest(everything=True, repair=True), "--repair"),
        (ReplayRequest(everything=True, dry_run=True, state="state"), "--state"),
        (ReplayRequest(from_offset=4, to_offset=4), "--from-offset"),
        (ReplayRequest(sessions=("",)), "--session"),
        (ReplayRequest(sessions=("\udcff",)), "--session"),
        (ReplayRequest(topics=("conversation.dead-letters",)), "--topic"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(request_: ReplayRequest, named: str) -> None:
    with pytest.raises(SettingsError) as refused:
        check_request(request_, SETTINGS)
    assert named in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1
    assert refused.value.exit_code is ExitCode.USAGE


def test_dead_letters_may_be_looked_at_where_none_is_sent() -> None:
    topics = ("conversation.dead-letters",)
    check_request(ReplayRequest(topics=topics, dry_run=True), SETTINGS)
    check_request(ReplayRequest(topics=topics, send_dead_letters=False), SETTINGS)
    elsewhere = Settings(dead_letters=DeadLetterSettings(topic="other"))
    check_request(ReplayRequest(topics=topics), elsewhere)


def test_options_that_select_the_same_agree_on_a_state_file() -> None:
    one = ReplayRequest(topics=("b", "a"), sessions=("y", "x"), rate=5.0)
    other = ReplayRequest(topics=("a", "b"), sessions=("x", "y"), dry_run=True)
    assert selection_facts(one, SETTINGS, None) == selection_facts(other, SETTINGS, None)


def test_the_topics_of_the_settings_are_part_of_the_selection() -> None:
    facts = selection_facts(ReplayRequest(everything=True), SETTINGS, None)
    assert facts["--topic"] == ["conversation.events", "conversation.sessions"]


WHERE = Settings(
    mongo=MongoSettings(uri=SecretStr("mongodb://u:p@a:27017,b/?replicaSet=r"), database="one")
)


def mongo(**changed: object) -> Settings:
    return WHERE.model_copy(update={"mongo": WHERE.mongo.model_copy(update=changed)})


@pytest.mark.parametrize(
    ("elsewhere", "named"),
    [
        (mongo(uri=SecretStr("mongodb://c:27017")), "--mongo-uri"),
        (mongo(database="two"), "--database"),
        (mongo(sessions="rebuilt_sessions"), "mongo.sessions"),
        (mongo(events="rebuilt_events"), "mongo.events"),
        (
            WHERE.model_copy(update={"kafka": KafkaSettings(bootstrap_servers=("other:9092",))}),
            "--bootstrap-servers",
        ),
    ],
)
@pytest.mark.reliability("F63", "F90")
def test_a_state_file_belongs_to_the_servers_and_the_collections_it_was_written_for(
    elsewhere: Settings, named: str, tmp_path: Path
) -> None:
    request = ReplayRequest(everything=True)
    path = tmp_path / "state"
    StateFile(path, selection_facts(request, WHERE, None)).save(ReplayProgress([], {}))
    with pytest.raises(SettingsError, match=rf"\({named} differ"):
        StateFile(path, selection_facts(request, elsewhere, None)).load()
    assert "p@" not in path.read_text()


@pytest.mark.reliability("F63")
def test_the_same_servers_may_be_named_in_another_way() -> None:
    request, ids = ReplayRequest(everything=True), {"t": "id"}
    one = selection_facts(request, WHERE, None, ids)
    other = mongo(uri=SecretStr("mongodb://other:secret@B:27017,a:27017/admin?w=1")).model_copy(
        update={"kafka": KafkaSettings(bootstrap_servers=("elsewhere:9092",))}
    )
    assert selection_facts(request, other, None, ids) == one
    assert selection_facts(request, other, None, {"t": None}) != one
