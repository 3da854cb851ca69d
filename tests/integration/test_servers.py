"""The servers that the other tests stand on are there and do what is expected of them."""

from __future__ import annotations

from random import Random

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from pymongo import MongoClient
from pymongo.errors import AutoReconnect, OperationFailure
from pymongo.write_concern import WriteConcern

from consumer.kafka.admin import open_admin
from consumer.settings.model import KafkaSettings
from tests.servers.control import Control
from tests.servers.topics import create_topics

Client = MongoClient[dict[str, object]]
JOURNALED = WriteConcern(w="majority", j=True)


async def test_a_record_that_was_sent_can_be_read(
    kafka_bootstrap_servers: str, unique_name: str
) -> None:
    await create_topics(kafka_bootstrap_servers, unique_name, partitions=1)
    producer = AIOKafkaProducer(bootstrap_servers=kafka_bootstrap_servers, acks="all")
    await producer.start()
    try:
        await producer.send_and_wait(unique_name, b"value", key=b"key")
    finally:
        await producer.stop()
    reader = AIOKafkaConsumer(
        unique_name, bootstrap_servers=kafka_bootstrap_servers, auto_offset_reset="earliest"
    )
    await reader.start()
    try:
        record = await reader.getone()
    finally:
        await reader.stop()
    assert (record.key, record.value, record.offset) == (b"key", b"value", 0)


async def test_the_listener_that_asks_for_a_password_lets_its_owner_in(
    secured_kafka: KafkaSettings,
) -> None:
    async with open_admin(secured_kafka) as admin:
        await admin._client.list_topics()


def test_the_database_takes_majority_writes(mongodb_uri: str, unique_name: str) -> None:
    with Client(mongodb_uri) as client:
        collection = client[unique_name].get_collection("c", write_concern=JOURNALED)
        collection.insert_one({"_id": 1})
        assert collection.find_one() == {"_id": 1}


@pytest.mark.fail_command
def test_the_database_fails_on_command(mongodb_uri: str, unique_name: str) -> None:
    with Client(mongodb_uri, retryWrites=False) as client:
        client.admin.command(
            "configureFailPoint",
            "failCommand",
            mode={"times": 1},
            data={"failCommands": ["insert"], "errorCode": 8000},
        )
        with pytest.raises(OperationFailure, match="8000"):
            client[unique_name].c.insert_one({})
        client[unique_name].c.insert_one({})


@pytest.mark.mongodb_control
def test_a_database_that_was_killed_comes_back_with_what_it_acknowledged(
    mongodb_uri: str, mongodb_control: Control, unique_name: str
) -> None:
    with Client(mongodb_uri, serverSelectionTimeoutMS=1000) as client:
        collection = client[unique_name].get_collection("c", write_concern=JOURNALED)
        collection.insert_one({"_id": 1})
        mongodb_control.kill()
        with pytest.raises(AutoReconnect):
            collection.insert_one({"_id": 2})
        mongodb_control.start()
        assert collection.find_one() == {"_id": 1}


@pytest.mark.parametrize("harm", ["kill", "freeze"])
@pytest.mark.mongodb_control
def test_a_database_that_a_test_left_harmed_is_restored(
    mongodb_uri: str, mongodb_control: Control, harm: str
) -> None:
    getattr(mongodb_control, harm)()
    mongodb_control.restore()
    with Client(mongodb_uri) as client:
        client.admin.command("ping")


@pytest.mark.parametrize("harm", ["kill", "freeze"])
@pytest.mark.kafka_control
async def test_a_broker_that_a_test_left_harmed_is_restored(
    kafka_bootstrap_servers: str, kafka_control: Control, unique_name: str, harm: str
) -> None:
    getattr(kafka_control, harm)()
    kafka_control.restore()
    await create_topics(kafka_bootstrap_servers, unique_name)


def test_the_seed_of_a_test_repeats_its_choices(rng: Random, seed: int) -> None:
    assert rng.random() == Random(seed).random()
