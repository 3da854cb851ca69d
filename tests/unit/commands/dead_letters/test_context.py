"""Topics that are missing, refused or of no use."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest

from consumer.commands.dead_letters import context as dead_letters
from consumer.commands.dead_letters.context import (
    STATUS_TOPIC_CONFIGS,
    DeadLetterContext,
    open_context,
    parking_configs,
    require_compacted,
)
from consumer.commands.dead_letters.dead_letter_selection import (
    DeadLetterRequest,
    DeadLetterSelection,
)
from consumer.kafka import admin
from consumer.kafka.admin import TopicDescription
from consumer.kafka.connection import BrokersError
from consumer.settings.model import DeadLetterSettings, KafkaSettings, Settings
from tests.unit.commands.dead_letters.builders import LETTERS, STATUS_TOPIC

KAFKA = KafkaSettings(bootstrap_servers=("kafka:9092",))
EXISTS, NOT_AUTHORIZED, TOO_MANY_REPLICAS = 36, 29, 38


def context() -> DeadLetterContext:
    request = DeadLetterRequest(Settings(kafka=KAFKA), DeadLetterSelection())
    topics = {LETTERS: TopicDescription(LETTERS, 6, 1)}
    return DeadLetterContext(request, topics, cast("Any", None), cast("Any", None))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Brokers that answer every creation with ``code``, and note what they were asked for."""
    note = SimpleNamespace(code=0, said=None, topics=[])

    class Raw:
        async def create_topics(self, new: Sequence[Any]) -> SimpleNamespace:
            note.topics.extend(new)
            return SimpleNamespace(topic_errors=[(new[0].name, note.code, note.said)])

    @asynccontextmanager
    async def open_admin(kafka: KafkaSettings) -> AsyncIterator[admin.Admin]:
        yield admin.Admin(Raw(), kafka)

    monkeypatch.setattr(admin, "open_admin", open_admin)
    return note


async def test_a_created_topic_is_said_with_its_settings(
    asked: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    await context().create_topic(STATUS_TOPIC, STATUS_TOPIC_CONFIGS)
    (new,) = asked.topics
    assert (new.name, new.num_partitions, new.topic_configs) == (
        STATUS_TOPIC,
        6,
        STATUS_TOPIC_CONFIGS,
    )
    said = capsys.readouterr().err
    assert said == (
        f"consumer: created the topic {STATUS_TOPIC} (6 partitions, cleanup.policy=compact)\n"
    )


@pytest.mark.parametrize(
    ("told", "largest"), [({"max.message.bytes": "2097152"}, "2097152"), ({}, "1065536")]
)
@pytest.mark.reliability("F85")
def test_the_parking_topic_takes_whatever_the_dead_letter_topic_holds(
    told: dict[str, str], largest: str
) -> None:
    settings = DeadLetterSettings(max_request_bytes=1_000_000)
    configs = parking_configs(TopicDescription("letters", 3, 1, told), settings)
    assert configs == {"retention.ms": "-1", "max.message.bytes": largest}


async def test_a_topic_that_another_has_just_created_will_do(
    asked: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    asked.code = EXISTS
    await context().create_topic(STATUS_TOPIC, STATUS_TOPIC_CONFIGS)
    assert capsys.readouterr().err == ""


async def test_why_the_brokers_create_no_such_topic_is_told_in_their_words(
    asked: SimpleNamespace,
) -> None:
    asked.code, asked.said = TOO_MANY_REPLICAS, "only 1 broker(s) are registered."
    with pytest.raises(BrokersError) as raised:
        await context().create_topic(STATUS_TOPIC, STATUS_TOPIC_CONFIGS)
    assert str(raised.value) == (
        f"topic {STATUS_TOPIC} cannot be created (InvalidReplicationFactorError: only 1 broker(s) "
        "are registered.)"
    )


async def test_who_may_not_create_a_topic_is_told_the_command(asked: SimpleNamespace) -> None:
    asked.code = NOT_AUTHORIZED
    with pytest.raises(BrokersError, match="TopicAuthorizationFailedError") as raised:
        await context().create_topic(STATUS_TOPIC, STATUS_TOPIC_CONFIGS)
    assert str(raised.value).endswith(
        f"kafka-topics.sh --bootstrap-server kafka:9092 --create --topic {STATUS_TOPIC} "
        "--partitions 6 --config cleanup.policy=compact"
    )


@pytest.mark.parametrize(
    ("parked", "said"),
    [
        (True, "the first redrive that parks creates it$"),
        (False, r"\(dead_letters\.topic\); fix: consumer init$"),
    ],
)
async def test_a_parking_topic_that_is_missing_is_not_to_be_created_by_hand(
    parked: bool, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def none(*_: object) -> dict[str, TopicDescription]:
        return {}

    monkeypatch.setattr(dead_letters, "describe_topics", none)
    request = DeadLetterRequest(Settings(kafka=KAFKA), DeadLetterSelection(), parked=parked)
    with pytest.raises(BrokersError, match=said):
        await open_context(request).__aenter__()


@pytest.mark.parametrize("policy", ["delete", "compact,delete"])
def test_a_state_topic_that_deletes_is_refused_with_the_fix(policy: str) -> None:
    topic = TopicDescription(STATUS_TOPIC, 6, 1, {"cleanup.policy": policy})
    with pytest.raises(BrokersError, match=r"--add-config cleanup\.policy=compact"):
        require_compacted(KAFKA, topic)


@pytest.mark.parametrize("configs", [{}, {"cleanup.policy": "compact"}])
def test_a_compacted_state_topic_will_do_and_so_will_one_of_a_silent_broker(
    configs: dict[str, str],
) -> None:
    require_compacted(KAFKA, TopicDescription(STATUS_TOPIC, 6, 1, configs))
