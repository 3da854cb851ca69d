"""What is said where brokers and database cannot be used: what it is, and what to do."""

from __future__ import annotations

import asyncio
import socket

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.errors import KafkaConnectionError, SaslAuthenticationFailed

from consumer import wiring
from consumer.checks import CheckStatus
from consumer.errors import ConsumerError, PreconditionError, TransientError
from consumer.kafka import connection
from consumer.mongo.store import open_store
from consumer.settings.model import KafkaSettings, Settings
from consumer.settings.sources import load_settings
from consumer.wiring import preflight_kafka, retry_until, startup_policy
from tests.e2e.processes import LOOPBACK, free_port
from tests.faults.mongodb_proxy import mongodb_proxied
from tests.servers.topics import create_topics

QUICK = {
    "kafka.request_timeout": 6.0,
    "kafka.rebalance_timeout": 4.0,
    "kafka.session_timeout": 12.0,
}


def settings_with(**changes: object) -> Settings:
    return load_settings({**QUICK, **{name.replace("__", "."): it for name, it in changes.items()}})


async def refused(settings: Settings) -> ConsumerError:
    """Return what a start meets at the brokers."""
    async with asyncio.timeout(20):
        with pytest.raises(ConsumerError) as caught:
            await preflight_kafka(settings)
    return caught.value


@pytest.mark.reliability("F94")
async def test_a_host_that_nobody_knows_and_a_port_that_nobody_listens_on_are_told_apart() -> None:
    unknown = await refused(settings_with(kafka__bootstrap_servers="nobody.invalid:9092"))
    assert isinstance(unknown, TransientError)
    assert "nobody.invalid:9092: unknown host" in str(unknown)
    port = free_port()
    nobody = await refused(settings_with(kafka__bootstrap_servers=f"{LOOPBACK}:{port}"))
    assert f"{LOOPBACK}:{port}: Connection refused" in str(nobody)


@pytest.mark.reliability("F94")
async def test_a_listener_of_another_protocol_is_told_as_that() -> None:
    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_server(hang_up, LOOPBACK, 0) as other:
        port = other.sockets[0].getsockname()[1]
        error = await refused(
            settings_with(
                kafka__bootstrap_servers=f"{LOOPBACK}:{port}", kafka__security__protocol="SSL"
            )
        )
    assert "is kafka.security.protocol, SSL, that of its listener?" in str(error)


@pytest.mark.real_kafka
@pytest.mark.parametrize(
    ("configured", "spoken"),
    [
        ("SSL", "PLAINTEXT"),
        ("SASL_SSL", "PLAINTEXT"),
        ("SSL", "SASL_SSL"),
        ("PLAINTEXT", "SASL_SSL"),
    ],
)
@pytest.mark.reliability("F94")
async def test_a_brokers_listener_of_another_protocol_is_told_at_once(
    kafka_bootstrap_servers: str, secured_kafka: KafkaSettings, configured: str, spoken: str
) -> None:
    secured = ",".join(secured_kafka.bootstrap_servers)
    changes = {"bootstrap_servers": kafka_bootstrap_servers if spoken == "PLAINTEXT" else secured}
    if configured.endswith("SSL"):
        changes["security__ca_file"] = str(secured_kafka.security.ca_file)
    if configured.startswith("SASL"):
        changes |= {"security__username": "app", "security__password": "wrong"}
    changes["security__protocol"] = configured
    error = await refused(settings_with(**{f"kafka__{name}": it for name, it in changes.items()}))
    assert isinstance(error, PreconditionError)
    assert f"its listener is {spoken}, not {configured}; fix: kafka.security.protocol" in str(error)


@pytest.mark.real_kafka
@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-512"])
@pytest.mark.reliability("F94")
async def test_a_wrong_password_is_told_at_once_and_not_tried_for_ever(
    secured_kafka: KafkaSettings, mechanism: str
) -> None:
    settings = settings_with(
        kafka__bootstrap_servers=",".join(secured_kafka.bootstrap_servers),
        kafka__security__protocol="SASL_SSL",
        kafka__security__ca_file=secured_kafka.security.ca_file,
        kafka__security__username="app",
        kafka__security__password="wrong",
        kafka__security__mechanism=mechanism,
    )
    async with asyncio.timeout(20):
        with pytest.raises(PreconditionError, match=rf"refuses the user app by {mechanism}; fix"):
            await retry_until("Kafka", lambda: preflight_kafka(settings), startup_policy(settings))


@pytest.mark.real_kafka
@pytest.mark.reliability("F94")
async def test_a_certificate_that_is_not_trusted_is_told_as_that(
    secured_kafka: KafkaSettings,
) -> None:
    error = await refused(
        settings_with(
            kafka__bootstrap_servers=",".join(secured_kafka.bootstrap_servers),
            kafka__security__protocol="SASL_SSL",
            kafka__security__username="app",
            kafka__security__password="wrong",
        )
    )
    assert isinstance(error, PreconditionError)
    assert "its certificate is not trusted" in str(error)
    assert "kafka.security.ca_file" in str(error)


async def test_a_user_that_one_broker_refuses_is_not_tried_again_while_another_is_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kafka = settings_with(
        kafka__bootstrap_servers="a:9092,b:9092",
        kafka__security__protocol="SASL_PLAINTEXT",
        kafka__security__username="u",
        kafka__security__password="p",
    ).kafka
    monkeypatch.setitem(connection._FAILED, ("a", 9092), ConnectionRefusedError(111, ""))
    monkeypatch.setitem(connection._FAILED, ("b", 9092), SaslAuthenticationFailed())
    error = await connection.unreachable(kafka, KafkaConnectionError())
    # A password that is tried again and again locks its user out.
    assert isinstance(error, PreconditionError)
    assert "a:9092: Connection refused; b:9092: it refuses the user u" in str(error)


@pytest.mark.real_kafka
@pytest.mark.reliability("F94")
async def test_a_group_whose_members_share_in_another_way_is_refused(
    kafka_bootstrap_servers: str, unique_name: str
) -> None:
    await create_topics(kafka_bootstrap_servers, unique_name, partitions=1)
    stranger = AIOKafkaConsumer(
        unique_name,
        bootstrap_servers=kafka_bootstrap_servers,
        group_id=unique_name,
        partition_assignment_strategy=[RoundRobinPartitionAssignor],
    )
    await stranger.start()
    settings = settings_with(
        kafka__bootstrap_servers=kafka_bootstrap_servers,
        kafka__topics=unique_name,
        kafka__group_id=unique_name,
    )
    try:
        _, results = await preflight_kafka(settings)
    finally:
        await stranger.stop()
    (group,) = [result for result in results if result.name == f"group {unique_name}"]
    assert group.status is CheckStatus.FAILED
    assert "share partitions by 'roundrobin', this consumer by 'range'" in group.detail


@pytest.mark.parametrize("driver", ["motor", "pymongo"])
@pytest.mark.reliability("F94")
async def test_why_the_database_does_not_answer_is_told(driver: str) -> None:
    port = free_port()
    settings = settings_with(
        mongo__uri=f"mongodb://{LOOPBACK}:{port}/",
        mongo__driver=driver,
        mongo__timeout=5.0,
        engine__startup_timeout=1.0,
    )
    async with open_store(settings.mongo) as store:
        with pytest.raises(PreconditionError, match=rf"{LOOPBACK}:{port}: \[Errno \d+\] Conn"):
            await retry_until(
                "MongoDB", store.answer, startup_policy(settings), reason=store.trouble
            )


@pytest.mark.parametrize("driver", ["motor", "pymongo"])
@pytest.mark.reliability("F94")
async def test_a_user_that_the_database_refuses_is_told_at_once(
    mongodb_uri: str, driver: str
) -> None:
    host = mongodb_uri.split("//")[1].rsplit("@", maxsplit=1)[-1]
    settings = settings_with(mongo__uri=f"mongodb://nobody:wrong@{host}", mongo__driver=driver)
    async with asyncio.timeout(15), open_store(settings.mongo) as store:
        with pytest.raises(
            PreconditionError, match=r"refuses the user of mongo\.uri; fix"
        ) as caught:
            await retry_until(
                "MongoDB", store.answer, startup_policy(settings), reason=store.trouble
            )
    assert "wrong" not in str(caught.value)


@pytest.mark.reliability("F94")
async def test_a_database_without_tls_is_told_as_that() -> None:
    with socket.create_server((LOOPBACK, 0)) as silent:
        settings = settings_with(
            mongo__uri=f"mongodb://{LOOPBACK}:{silent.getsockname()[1]}/?tls=true",
            engine__startup_timeout=0.5,
        )
        async with open_store(settings.mongo) as store:
            with pytest.raises(PreconditionError, match=r"is tls in mongo\.uri what the server"):
                await retry_until(
                    "MongoDB", store.answer, startup_policy(settings), reason=store.trouble
                )


@pytest.mark.parametrize("driver", ["motor", "pymongo"])
async def test_a_database_that_takes_longer_to_connect_to_than_its_first_attempt_is_there(
    monkeypatch: pytest.MonkeyPatch, mongodb_uri: str, driver: str
) -> None:
    monkeypatch.setattr(wiring, "SOON", 0.4)
    async with mongodb_proxied(mongodb_uri) as mongodb:
        mongodb.proxy.delay = 0.3  # each way
        settings = settings_with(
            mongo__uri=mongodb.uri, mongo__driver=driver, engine__startup_timeout=15.0
        )
        async with open_store(settings.mongo) as store:
            await wiring.await_database(store, startup_policy(settings))
