"""Which topics are made, what they are like, and what is said of each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from consumer.checks import Provision
from consumer.commands.init.init import Presence, Provided, shell_lines
from consumer.commands.init.topic_provisions import InitRequest, TopicPlan, dead_letter_topics
from consumer.kafka.admin import TopicDescription
from consumer.kafka.kafka_preflight import check_topics
from consumer.settings.model import Settings

SETTINGS = Settings()
SESSIONS, EVENTS = SETTINGS.kafka.topics
LETTERS, PARKING = SETTINGS.dead_letters.topic, SETTINGS.dead_letters.parking_topic
STATUSES = f"{LETTERS}.redriven"
NOBODY: Any = None
COMMAND = 'mongosh "$CONSUMER_MONGO__URI" --eval 1'
TO_BE_MADE = Provided(Provision("x", there=False, command=COMMAND), Presence.WOULD_BE_MADE)


def planned(request: InitRequest, *known: TopicDescription) -> dict[str, Provision]:
    plan = TopicPlan(SETTINGS, request, {topic.name: topic for topic in known})
    names = [*SETTINGS.kafka.topics, *dead_letter_topics(SETTINGS)]
    return {one.name.removeprefix("topic "): one for one in plan.provisions(NOBODY, names)}


def test_topics_that_are_read_are_made_only_where_that_is_asked_for() -> None:
    unasked, asked = planned(InitRequest()), planned(InitRequest(topics=True))
    assert list(unasked) == [SESSIONS, EVENTS, LETTERS, STATUSES, PARKING]
    assert [name for name, one in unasked.items() if one.make is None] == [SESSIONS, EVENTS]
    assert "--topics" in unasked[SESSIONS].detail
    assert all(one.make for one in asked.values())


def test_what_is_there_stays_as_it_is_and_a_difference_is_told() -> None:
    found = planned(InitRequest(topics=True, partitions=6), TopicDescription(EVENTS, 3, 1))
    assert found[EVENTS].there
    assert found[EVENTS].make is None
    assert found[EVENTS].detail == "3 partitions, not 6: left as it is"


def test_topics_have_as_many_partitions_as_those_that_are_read() -> None:
    found = planned(InitRequest(), TopicDescription(EVENTS, 12, 3))
    assert "--partitions 12 " in found[LETTERS].command


def test_a_topic_is_made_with_what_was_asked_for() -> None:
    request = InitRequest(topics=True, partitions=4, replicas=3, retention_days=2)
    command = planned(request)[EVENTS].command
    assert command.endswith(
        f"--create --topic {EVENTS} --partitions 4 --replication-factor 3 "
        "--config min.insync.replicas=2 --config retention.ms=172800000"
    )


@pytest.mark.parametrize(
    ("sessions", "events", "letters"),
    [("1000", "5000", "5000"), ("1000", "-1", "-1"), ("9000", "5000", "9000")],
)
def test_dead_letters_are_kept_as_long_as_the_records_they_tell_of(
    sessions: str, events: str, letters: str
) -> None:
    known = [
        TopicDescription(SESSIONS, 1, 1, {"retention.ms": sessions}),
        TopicDescription(EVENTS, 1, 1, {"retention.ms": events}),
    ]
    found = planned(InitRequest(), *known)
    assert f"--config retention.ms={letters}" in found[LETTERS].command
    assert "--config retention.ms=-1" in found[PARKING].command
    assert "--config cleanup.policy=compact" in found[STATUSES].command


def test_the_size_of_a_dead_letter_is_the_clusters_own_where_no_topic_tells_of_records() -> None:
    found = planned(InitRequest(topics=True))
    assert "max.message.bytes" not in found[LETTERS].command
    assert "max.message.bytes" not in found[PARKING].command
    done = [Provided(one, Presence.WOULD_BE_MADE) for one in found.values()]
    assert "print the rest again" in next(iter(shell_lines(done, SETTINGS)))
    done = [Provided(found[LETTERS], Presence.WOULD_BE_MADE)]
    assert list(shell_lines(done, SETTINGS)) == [found[LETTERS].command]


def test_a_dead_letter_may_be_as_large_as_the_largest_record_with_its_headers() -> None:
    large = TopicDescription(EVENTS, 1, 1, {"max.message.bytes": "2000000"})
    found = planned(InitRequest(), large)
    assert "--config max.message.bytes=2004096" in found[LETTERS].command
    assert "--config max.message.bytes=2004096" in found[PARKING].command


def test_a_check_says_of_a_missing_dead_letter_topic_what_makes_it_as_init_does() -> None:
    read = [
        TopicDescription(SESSIONS, 12, 1, {"max.message.bytes": "2000000", "retention.ms": "9"}),
        TopicDescription(EVENTS, 12, 1, {"max.message.bytes": "3000000", "retention.ms": "5"}),
    ]
    known = {topic.name: topic for topic in read}
    results = check_topics(SETTINGS.kafka, SETTINGS.dead_letters, known)
    (found,) = [one for one in results if one.name == f"dead-letter topic {LETTERS}"]
    assert found.fix == f"consumer init, or {planned(InitRequest(), *read)[LETTERS].command}"
    assert found.fix.endswith(
        "--partitions 12 --config max.message.bytes=3004096 --config retention.ms=9"
    )


def test_a_check_says_of_a_missing_topic_to_make_it_like_the_others() -> None:
    sessions = TopicDescription(SESSIONS, 12, 1)
    results = check_topics(SETTINGS.kafka, SETTINGS.dead_letters, {SESSIONS: sessions})
    fixes = {one.name: one.fix for one in results}
    assert fixes[f"topic {EVENTS}"].endswith(f"--topic {EVENTS} --partitions 12")
    assert fixes[f"dead-letter topic {LETTERS}"].startswith("consumer init --topics, or ")


def test_printed_commands_read_the_uri_from_its_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    uri, file = SETTINGS.mongo.uri.get_secret_value(), tmp_path / "uri"
    file.write_text(uri)
    monkeypatch.delenv("CONSUMER_MONGO__URI", raising=False)
    monkeypatch.setenv("CONSUMER_MONGO__URI_FILE", str(file))
    assert list(shell_lines([TO_BE_MADE], SETTINGS)) == [f'mongosh "$(cat {file})" --eval 1']


def test_where_printed_commands_cannot_find_the_uri_a_comment_asks_for_the_variable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("CONSUMER_MONGO__URI", raising=False)
    comment, command = shell_lines([TO_BE_MADE], SETTINGS)
    assert comment.startswith("# ")
    assert "CONSUMER_MONGO__URI" in comment
    assert command == TO_BE_MADE.provision.command
