"""What an administrative client answers, and what it fails with, in our words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
from aiokafka.errors import (
    IncompatibleBrokerVersion,
    KafkaConnectionError,
    LeaderNotAvailableError,
    NodeNotReadyError,
    NoError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)

from consumer.checks import CheckResult, CheckStatus
from consumer.errors import PreconditionError, TransientError
from consumer.kafka.admin import Admin, TopicDescription, refuses, require_topics
from consumer.kafka.connection import BrokersError
from consumer.kafka.dead_letter_topic import max_dead_letter_bytes
from consumer.kafka.kafka_preflight import check_topics
from consumer.kafka.topic_ids import Operation
from consumer.settings.model import DeadLetterSettings, KafkaSettings, Settings


class Configs(NamedTuple):
    resources: Sequence[object]


class Created(NamedTuple):
    topic_errors: Sequence[tuple[str, int]]


class Node:
    """Answers for the brokers: which operations are granted, or an error, by topic."""

    def __init__(self, grants: Mapping[str, int] | None = None) -> None:
        self.grants = grants
        self.cluster = SimpleNamespace(brokers=lambda: [SimpleNamespace(nodeId=1)])

    async def send(self, _node: int, _request: object) -> Any:
        if self.grants is None:
            raise IncompatibleBrokerVersion("an old one")
        refused = TopicAuthorizationFailedError.errno
        topics: list[tuple[object, ...]] = [
            (0 if granted else refused, name, bytes(16), False, [], granted, {})
            for name, granted in self.grants.items()
        ]
        return SimpleNamespace(topics=topics)


class Client:
    """Answers with ``topics``; ``failing`` names the method that raises ``error`` instead."""

    def __init__(
        self, failing: str = "", error: Exception | None = None, topic_error: int = NoError.errno
    ) -> None:
        self._client = Node()
        self.failing = failing
        self.error = error
        self.topic_error = topic_error

    def _check(self, method: str) -> None:
        if method == self.failing:
            assert self.error is not None
            raise self.error

    async def describe_topics(self, names: Sequence[str]) -> list[dict[str, Any]]:
        self._check("describe_topics")
        partitions = [{"replicas": [1, 2]}, {"replicas": [1, 2, 3]}]
        missing = UnknownTopicOrPartitionError.errno
        return [
            {
                "topic": name,
                "error_code": self.topic_error if name == "there" else missing,
                "partitions": partitions,
            }
            for name in names
        ]

    async def describe_configs(self, resources: Sequence[object]) -> list[Configs]:
        self._check("describe_configs")
        entries = [("cleanup.policy", "compact"), ("retention.ms", None)]
        return [Configs([(0, "", 2, "there", entries)])]

    async def create_topics(self, topics: Sequence[object]) -> Created:
        self._check("create_topics")
        return Created([("new", self.topic_error)])


async def test_a_topic_that_is_there_is_described_and_another_one_is_absent() -> None:
    described = await Admin(Client(), KafkaSettings()).describe(["there", "missing"])
    assert list(described) == ["there"]
    topic = described["there"]
    assert (topic.partitions, topic.replicas, topic.compacted) == (2, 2, True)


@pytest.mark.parametrize("method", ["describe_topics", "describe_configs"])
@pytest.mark.parametrize(
    "error", [NodeNotReadyError("node 1"), KafkaConnectionError("closed"), OSError("reset")]
)
async def test_a_broker_that_goes_away_meanwhile_is_trouble_that_passes(
    method: str, error: Exception
) -> None:
    with pytest.raises(TransientError) as raised:
        await Admin(Client(method, error), KafkaSettings()).describe(["there"])
    assert raised.value.cause == type(error).__name__


async def test_a_topic_without_a_leader_for_the_moment_is_not_missing() -> None:
    with pytest.raises(TransientError):
        await Admin(Client(topic_error=LeaderNotAvailableError.errno), KafkaSettings()).describe(
            ["there"]
        )


async def test_a_topic_that_was_deleted_meanwhile_is_missing() -> None:
    gone = Client(topic_error=UnknownTopicOrPartitionError.errno)
    assert await Admin(gone, KafkaSettings()).describe(["there"]) == {}


async def test_an_imitation_that_does_not_tell_settings_leaves_them_open() -> None:
    client = Client("describe_configs", IncompatibleBrokerVersion("no such request"))
    assert (await Admin(client, KafkaSettings()).describe(["there"]))["there"].configs == {}


async def test_a_topic_cannot_be_created_while_no_broker_answers() -> None:
    with pytest.raises(TransientError):
        await Admin(Client("create_topics", NodeNotReadyError("node 1")), KafkaSettings()).create(
            "new", 3
        )


async def test_a_refused_creation_says_why() -> None:
    with pytest.raises(PreconditionError, match="LeaderNotAvailableError"):
        await Admin(Client(topic_error=LeaderNotAvailableError.errno), KafkaSettings()).create(
            "new", 3
        )


@pytest.mark.parametrize(
    ("configs", "oldest"),
    [
        ({"retention.ms": "604800000", "segment.ms": "604800000"}, timedelta(days=15)),
        ({"retention.ms": "-1", "segment.ms": "604800000"}, None),
        ({"retention.ms": str(2**63 - 1), "segment.ms": "604800000"}, None),
        ({"retention.ms": "604800000"}, None),
        ({}, None),
    ],
)
@pytest.mark.reliability("F50")
def test_how_old_a_record_can_be_that_a_topic_still_has(
    configs: dict[str, str], oldest: timedelta | None
) -> None:
    assert TopicDescription("t", 6, 3, configs).oldest_possible == oldest


@pytest.mark.parametrize("told", [{}, {"message.timestamp.type": "CreateTime"}])
@pytest.mark.reliability("F50")
def test_topics_that_producers_stamp_are_warned_of_where_documents_expire(
    told: dict[str, str],
) -> None:
    def warned(configs: dict[str, str], *, expiring: bool) -> set[str]:
        wide = {"max.message.bytes": "2000000"}
        topics = {
            "t": TopicDescription("t", 6, 3, configs),
            "l": TopicDescription("l", 6, 3, configs | wide),
        }
        kafka, letters = KafkaSettings(topics=("t",)), DeadLetterSettings(topic="l")
        results = check_topics(kafka, letters, topics, expiring=expiring)
        return {one.name for one in results if one.status is CheckStatus.WARNING}

    assert warned(told, expiring=True) == {"timestamps of t"}
    assert warned(told, expiring=False) == set()
    assert warned({"message.timestamp.type": "LogAppendTime"}, expiring=True) == set()


def check_letters(told: int | None, most: int | None = None) -> list[CheckResult]:
    """What is said about the dead-letter topic that takes ``told`` bytes."""
    source = {"max.message.bytes": "1000000", "min.insync.replicas": "2"}
    taken = {} if told is None else {"max.message.bytes": str(told)}
    topics = {
        "t": TopicDescription("t", 6, 3, source),
        "l": TopicDescription("l", 6, 3, taken),
    }
    letters = DeadLetterSettings(topic="l", max_request_bytes=most)
    results = check_topics(KafkaSettings(topics=("t",)), letters, topics)
    return [one for one in results if one.name == "dead-letter topic l"]


@pytest.mark.parametrize(
    ("told", "most", "status", "words"),
    [
        pytest.param(
            1_004_096, None, CheckStatus.OK, "takes 1004096 bytes", id="all of any record"
        ),
        pytest.param(100_000, None, CheckStatus.WARNING, "max.message.bytes is 100000", id="cut"),
        pytest.param(
            2_000_000,
            500_000,
            CheckStatus.WARNING,
            "dead_letters.max_request_bytes is 500000",
            id="set",
        ),
        pytest.param(None, None, CheckStatus.WARNING, "not told", id="not told"),
        pytest.param(1_000, None, CheckStatus.FAILED, "max.message.bytes is 1000", id="too small"),
        pytest.param(
            2_000_000,
            1_000,
            CheckStatus.FAILED,
            "dead_letters.max_request_bytes is 1000",
            id="set small",
        ),
    ],
)
@pytest.mark.reliability("F58")
def test_a_dead_letter_topic_is_judged_by_what_it_takes(
    told: int | None, most: int | None, status: CheckStatus, words: str
) -> None:
    (found,) = check_letters(told, most)
    assert found.status is status
    assert words in found.detail
    assert (found.fix == "") is (status is CheckStatus.OK)
    if found.fix.startswith("kafka-configs.sh"):
        assert "--bootstrap-server localhost:9092 --alter" in found.fix
        assert found.fix.endswith("--entity-name l --add-config max.message.bytes=1004096")


@pytest.mark.parametrize(
    ("told", "most", "limit"),
    [
        (5_000_000, None, 5_000_000),
        (5_000_000, 1_000_000, 1_000_000),
        (100_000, 1_000_000, 100_000),
        (None, 1_000_000, 1_000_000),
        (None, None, 1_048_588),
    ],
)
@pytest.mark.reliability("F58")
def test_a_letter_may_be_as_large_as_the_topic_and_the_settings_allow(
    told: int | None, most: int | None, limit: int
) -> None:
    assert max_dead_letter_bytes(DeadLetterSettings(max_request_bytes=most), told) == limit


def test_a_missing_topic_is_to_be_created_with_as_many_partitions_as_the_others() -> None:
    with pytest.raises(BrokersError, match=r"no topic t; create with: .* --topic t --part\w+ 12$"):
        require_topics(KafkaSettings(), {"l": TopicDescription("l", 12, 3)}, ["l", "t"])


def bits(*operations: Operation) -> int:
    return sum(1 << one for one in operations)


@pytest.mark.parametrize("granted", [0, bits(Operation.WRITE, Operation.DESCRIBE)])
@pytest.mark.reliability("F67")
async def test_a_topic_without_the_grant_is_refused_at_once_with_its_fix(
    granted: int,
) -> None:
    client = Client()
    client._client = Node({"there": granted})
    with pytest.raises(PreconditionError, match="not authorized; fix: grant READ on topic there"):
        await Admin(client, KafkaSettings()).describe(["there"], Operation.READ)


@pytest.mark.reliability("F67")
async def test_whoever_looks_at_grants_itself_is_told_them() -> None:
    client = Client()
    client._client = Node({"hidden": 0, "there": bits(Operation.READ, Operation.DESCRIBE)})
    found = await Admin(client, KafkaSettings()).describe(["there", "hidden"], None)
    assert found["hidden"].unseen
    assert not refuses(found["there"].grants, Operation.READ)
    assert refuses(found["there"].grants, Operation.WRITE)


@pytest.mark.reliability("F67")
def test_settings_that_are_not_told_for_want_of_a_grant_are_warned_of() -> None:
    may_read = frozenset({Operation.READ, Operation.DESCRIBE})
    topics = {"t": TopicDescription("t", 3, 3, {}, may_read)}
    results = check_topics(KafkaSettings(topics=("t",)), DeadLetterSettings(), topics)
    (told,) = [result for result in results if result.name == "settings of t"]
    assert told.status is CheckStatus.WARNING
    assert told.fix == "grant DESCRIBE_CONFIGS on topic t"


@pytest.mark.parametrize(
    ("letters", "source", "warned"),
    [
        ({"retention.ms": "1000"}, {"retention.ms": "5000"}, "retention.ms=5000"),
        ({"retention.ms": "1000"}, {"retention.ms": "-1"}, "retention.ms=-1"),
        ({"retention.bytes": "1000"}, {"retention.bytes": "-1"}, "retention.bytes=-1"),
        ({"retention.ms": "5000"}, {"retention.ms": "5000"}, None),
        ({"retention.ms": "-1", "retention.bytes": "-1"}, {"retention.ms": "-1"}, None),
        ({}, {"retention.ms": "5000"}, None),
    ],
)
def test_letters_that_are_deleted_before_their_records_are_warned_of(
    letters: dict[str, str], source: dict[str, str], warned: str | None
) -> None:
    settings = Settings()
    name = settings.dead_letters.topic
    topics = {
        topic: TopicDescription(topic, 1, 3, configs)
        for topic, configs in (*((one, source) for one in settings.kafka.topics), (name, letters))
    }
    results = {r.name: r for r in check_topics(settings.kafka, settings.dead_letters, topics)}
    found = results.get(f"retention of {name}")
    assert (
        (found.status, found.fix.rpartition(" ")[2]) == ("warning", warned)
        if found
        else (warned is None)
    )
