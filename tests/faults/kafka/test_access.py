"""What the service may do is taken away while it runs, and given back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from confluent_kafka.admin._acl import AclOperation
from confluent_kafka.admin._resource import ResourceType
from pydantic import SecretStr

from consumer.contract.record import TopicPartition
from consumer.kafka import client
from consumer.settings.model import KafkaSettings
from consumer.settings.values import SaslMechanism
from tests.faults.kafka.access import Access
from tests.faults.kafka.batches import refusing
from tests.faults.kafka.clusters import mocked
from tests.faults.kafka.engine import event_keys, publish_events, running
from tests.faults.kafka.frames import Api, saying
from tests.faults.kafka.reading import BRISK, ONE, quick
from tests.servers.topics import create_topics

GROUP_REFUSED, TOPIC_REFUSED = 30, 29

PASSWORD = "right"
EVENTS = 10


@dataclass(frozen=True, slots=True)
class User:
    """One who may read one topic in one group, and how it connects."""

    access: Access
    kafka: KafkaSettings
    partition: TopicPartition

    @property
    def name(self) -> str:
        return self.kafka.group_id


@pytest.fixture
async def user(
    secured_kafka: KafkaSettings, kafka_bootstrap_servers: str, unique_name: str
) -> User:
    access = Access(kafka_bootstrap_servers, unique_name)
    await create_topics(kafka_bootstrap_servers, unique_name, partitions=1)
    await access.password(PASSWORD)
    await access.allow(ResourceType.TOPIC, unique_name, AclOperation.READ, AclOperation.DESCRIBE)
    await access.allow(ResourceType.GROUP, unique_name, AclOperation.READ)
    security = secured_kafka.security.model_copy(
        update={
            "mechanism": SaslMechanism.SCRAM_SHA_512,
            "username": unique_name,
            "password": SecretStr(PASSWORD),
        }
    )
    kafka = quick(
        ",".join(secured_kafka.bootstrap_servers),
        topics=(unique_name,),
        group_id=unique_name,
        session_timeout=6.0,
        security=security,
    )
    return User(access, kafka, TopicPartition(unique_name, 0))


@pytest.mark.parametrize(
    ("api", "refusal", "cause"),
    [
        (Api.HEARTBEAT, saying(GROUP_REFUSED), "GroupAuthorizationFailedError"),
        (Api.FETCH, refusing(TOPIC_REFUSED), "TopicAuthorizationFailedError"),
    ],
    ids=["group", "topic"],
)
@pytest.mark.reliability("F26")
async def test_what_brokers_refuse_for_a_while_is_said_and_survived(
    api: Api, refusal: Any, cause: str
) -> None:
    async with mocked(1) as (_, frames):
        await publish_events(frames.bootstrap_servers, {ONE: EVENTS})
        async with running(quick(frames.bootstrap_servers, **BRISK)) as member:
            await member.until(lambda: member.committed == {ONE: EVENTS})
            refused = frames.edit(api, refusal)
            await member.until(lambda: not member.is_ready())
            assert cause in str(member.health.unready_reasons())
            assert not member.health.unhealthy_reasons()
            refused.end()
            await member.until(member.is_ready)
            await publish_events(frames.bootstrap_servers, {ONE: EVENTS}, first=EVENTS)
            await member.until(lambda: member.committed == {ONE: 2 * EVENTS})
            assert member.store.events == event_keys({ONE: 2 * EVENTS})


@pytest.mark.real_kafka
@pytest.mark.reliability("F26")
async def test_a_grant_on_the_group_that_is_revoked_is_said_and_survived(
    user: User, kafka_bootstrap_servers: str
) -> None:
    await publish_events(kafka_bootstrap_servers, {user.partition: EVENTS})
    async with running(user.kafka) as member:
        await member.until(lambda: member.committed == {user.partition: EVENTS})
        await user.access.forbid(ResourceType.GROUP, user.name)
        await member.until(lambda: not member.is_ready())
        reasons = str(member.health.unready_reasons())
        assert "GroupAuthorizationFailedError" in reasons
        assert not member.health.unhealthy_reasons()
        await publish_events(kafka_bootstrap_servers, {user.partition: EVENTS}, first=EVENTS)
        await user.access.allow(ResourceType.GROUP, user.name, AclOperation.READ)
        await member.until(lambda: member.committed == {user.partition: 2 * EVENTS})
        await member.until(member.is_ready)
        assert member.store.events == event_keys({user.partition: 2 * EVENTS})


@pytest.mark.real_kafka
@pytest.mark.reliability("F26")
async def test_a_grant_on_the_topic_that_is_revoked_is_said_and_survived(
    user: User, kafka_bootstrap_servers: str
) -> None:
    await publish_events(kafka_bootstrap_servers, {user.partition: EVENTS})
    async with running(user.kafka) as member:
        await member.until(lambda: member.committed == {user.partition: EVENTS})
        await user.access.forbid(ResourceType.TOPIC, user.name)
        await member.until(lambda: not member.is_ready())
        reasons = str(member.health.unready_reasons())
        assert "TopicAuthorizationFailedError" in reasons
        assert not member.health.unhealthy_reasons()
        await user.access.allow(
            ResourceType.TOPIC, user.name, AclOperation.READ, AclOperation.DESCRIBE
        )
        # Ready again before any record has come: nobody may send one for hours.
        await member.until(member.is_ready)
        await publish_events(kafka_bootstrap_servers, {user.partition: EVENTS}, first=EVENTS)
        await member.until(lambda: member.committed == {user.partition: 2 * EVENTS})
        assert member.store.events == event_keys({user.partition: 2 * EVENTS})


@pytest.mark.real_kafka
@pytest.mark.reliability("F27")
async def test_a_password_that_is_changed_is_said_without_a_hot_loop_and_survived(
    user: User,
    kafka_bootstrap_servers: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client, "UNREACHABLE_AFTER", 1.0)
    await publish_events(kafka_bootstrap_servers, {user.partition: EVENTS})
    async with running(user.kafka) as member:
        await member.until(lambda: member.committed == {user.partition: EVENTS})
        await user.access.password("another")
        for connection in list(member.consumer._client._conns.values()):
            connection._writer.transport.abort()  # it asks for the password when it connects
        await member.until(lambda: not member.is_ready())
        assert not member.health.unhealthy_reasons()
        caplog.clear()
        await member.last(1.0)
        tries = [one for one in caplog.messages if one.startswith("Unable connect to node")]
        assert any("SaslAuthenticationFailed" in one or "Authentication" in one for one in tries)
        assert len(tries) < 100
        await user.access.password(PASSWORD)
        await publish_events(kafka_bootstrap_servers, {user.partition: EVENTS}, first=EVENTS)
        await member.until(lambda: member.committed == {user.partition: 2 * EVENTS})
        await member.until(member.is_ready)
        assert member.store.events == event_keys({user.partition: 2 * EVENTS})


@pytest.mark.real_kafka
@pytest.mark.reliability("F27")
async def test_a_wrong_password_at_the_start_is_trouble_that_is_named(user: User) -> None:
    wrong = user.kafka.security.model_copy(update={"password": SecretStr("wrong")})
    async with running(user.kafka.model_copy(update={"security": wrong})) as member:
        await member.until(lambda: len(member.seen.retries) >= 3)
        assert {error.cause for _, error, *_ in member.seen.retries} == {"KafkaConnectionError"}
        assert not member.is_ready()
        await user.access.password("wrong")
        await member.until(member.is_ready)
