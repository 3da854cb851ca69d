"""Who the service is to the brokers: by a token, and by files that are written anew."""

from __future__ import annotations

import gc
import ssl
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from consumer.contract.record import TopicPartition
from consumer.errors import PreconditionError, TransientError
from consumer.kafka.admin import open_admin
from consumer.kafka.producer import producer_options, start_producer
from consumer.settings.model import KafkaSettings
from tests.fakes.token_endpoint import TokenEndpoint, token_endpoint
from tests.faults.kafka.engine import Member, event_keys, publish_events, running
from tests.faults.kafka.reading import eventually, quick
from tests.faults.kafka.test_access import EVENTS, PASSWORD, User, user
from tests.memory import no_collector
from tests.servers.topics import create_topics

__all__ = ["user"]


# A transport that is cut while it is made is left to the collector by the client.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    yield
    gc.collect()


@pytest.fixture
def endpoint() -> Iterator[TokenEndpoint]:
    with token_endpoint() as endpoint:
        yield endpoint


@pytest.fixture
def by_token(
    oauth_kafka: KafkaSettings, endpoint: TokenEndpoint, unique_name: str
) -> KafkaSettings:
    security = oauth_kafka.security.model_copy(
        update={
            "token_url": endpoint.url,
            "token_client_id": "consumer",
            "token_client_secret": SecretStr("client-secret"),
        }
    )
    return quick(
        ",".join(oauth_kafka.bootstrap_servers),
        topics=(unique_name,),
        group_id=unique_name,
        session_timeout=6.0,
        security=security,
    )


def _reached(member: Member, stored: Mapping[TopicPartition, int]) -> bool:
    return bool(member.committed == stored)


def _asked_more(endpoint: TokenEndpoint, asked: int) -> bool:
    return len(endpoint.requests) > asked


def cut(member: Member) -> None:
    """Cut its connections; who it is, it is asked when it connects again."""
    for connection in list(member.consumer._client._conns.values()):
        connection._writer.transport.abort()


async def refused_start(kafka: KafkaSettings) -> Any:
    with pytest.raises((PreconditionError, TransientError)) as caught:
        async with open_admin(kafka):
            pass
    (line,) = str(caught.value).splitlines()
    assert "client-secret" not in line
    return caught.value


@pytest.mark.real_kafka
@pytest.mark.reliability("A27")
async def test_a_session_that_ends_with_its_token_is_followed_by_one_with_a_new_token(
    by_token: KafkaSettings, endpoint: TokenEndpoint, kafka_bootstrap_servers: str
) -> None:
    partition = TopicPartition(by_token.group_id, 0)
    await create_topics(kafka_bootstrap_servers, by_token.group_id, partitions=1)
    endpoint.life = 3.0
    async with running(by_token) as member:
        for number in range(4):
            await publish_events(
                kafka_bootstrap_servers, {partition: EVENTS}, first=number * EVENTS
            )
            stored, asked = {partition: (number + 1) * EVENTS}, len(endpoint.requests)
            await member.until(partial(_reached, member, stored))
            # Another token is asked for when a connection is made, not before.
            await member.until(partial(_asked_more, endpoint, asked))
        assert member.store.events == event_keys({partition: 4 * EVENTS})
        assert not member.health.unhealthy_reasons()


@pytest.mark.real_kafka
@pytest.mark.reliability("F94")
async def test_a_token_that_the_brokers_refuse_is_told_as_that(
    by_token: KafkaSettings, endpoint: TokenEndpoint
) -> None:
    endpoint.life = -3600.0
    error = await refused_start(by_token)
    assert isinstance(error, PreconditionError)
    assert "it refuses the token; fix: " in str(error)


@pytest.mark.real_kafka
@pytest.mark.parametrize("status", [400, 401])
@pytest.mark.reliability("F94")
async def test_a_client_that_the_token_endpoint_refuses_is_told_at_once(
    by_token: KafkaSettings, endpoint: TokenEndpoint, status: int
) -> None:
    endpoint.says = (status, b'{"error": "invalid_client"}', {})
    error = await refused_start(by_token)
    assert isinstance(error, PreconditionError)
    assert f"no token from {endpoint.url}: it answers {status} invalid_client; fix: " in str(error)


@pytest.mark.real_kafka
@pytest.mark.reliability("F94")
async def test_a_token_endpoint_that_is_away_is_trouble_that_passes(
    by_token: KafkaSettings, endpoint: TokenEndpoint
) -> None:
    endpoint.says = (503, b"", {})
    error = await refused_start(by_token)
    assert isinstance(error, TransientError)
    assert f"no token from {endpoint.url}: it answers 503" in str(error)
    endpoint.says = None
    async with open_admin(by_token) as admin:
        assert not await admin.describe(["nothing"])


@pytest.mark.real_kafka
@pytest.mark.reliability("F27")
async def test_a_password_that_is_changed_in_its_file_is_used_for_the_next_connection(
    user: User, kafka_bootstrap_servers: str, tmp_path: Path
) -> None:
    file = tmp_path / "password"
    file.write_text(PASSWORD)
    security = user.kafka.security.model_copy(update={"files": (("password", str(file)),)})
    await publish_events(kafka_bootstrap_servers, {user.partition: EVENTS})
    async with running(user.kafka.model_copy(update={"security": security})) as member:
        await member.until(lambda: member.committed == {user.partition: EVENTS})
        await user.access.password("another")
        file.write_text("another\n")
        cut(member)
        await publish_events(kafka_bootstrap_servers, {user.partition: EVENTS}, first=EVENTS)
        await member.until(lambda: member.committed == {user.partition: 2 * EVENTS})
        await member.until(member.is_ready)
        file.unlink()
        cut(member)
        await member.until(lambda: not member.is_ready())
        file.write_text("another")
        await member.until(member.is_ready)
        assert member.store.events == event_keys({user.partition: 2 * EVENTS})


def tls_contexts() -> int:
    return sum(isinstance(one, ssl.SSLContext) for one in gc.get_objects())


@pytest.mark.real_kafka
@pytest.mark.reliability("F110")
async def test_the_certificates_that_a_connection_was_made_with_go_with_it(
    secured_kafka: KafkaSettings,
) -> None:
    with no_collector():
        before = tls_contexts()
        for _ in range(3):
            options = producer_options(secured_kafka, 10_000, idempotent=True)
            client = await start_producer(options)
            assert tls_contexts() > before
            await client.discard(1.0)
            del client, options
        await eventually(lambda: tls_contexts() == before, seconds=5.0)
