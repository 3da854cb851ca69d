"""Traps of aiokafka 0.14 about brokers, topics, transactions and the sending side."""

from __future__ import annotations

import asyncio
import gc
from dataclasses import replace
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.partitioner import DefaultPartitioner, murmur2
from aiokafka.producer.message_accumulator import MessageBatch
from confluent_kafka import Producer

from consumer.contract.dead_letter import DeadLetter
from consumer.contract.record import Position, TopicPartition
from consumer.engine.ledger import Ledger, PartitionState
from consumer.engine.watchdog import Watchdog
from consumer.errors import TransientError
from consumer.kafka.admin import TopicDescription, open_admin
from consumer.kafka.client import _member_options
from consumer.kafka.dead_letter_topic import (
    BROKER_MESSAGE_BYTES,
    dead_letters_to,
)
from consumer.kafka.kafka_preflight import check_topics
from consumer.kafka.producer import AnyRecordProducer, producer_options, start_producer
from consumer.kafka.range_reader import open_range_reader
from consumer.kafka.topic_ids import MetadataRequestV12
from consumer.settings.model import DeadLetterSettings, KafkaSettings
from tests.fakes.observer import RecordingObserver
from tests.faults.kafka.clusters import mocked
from tests.faults.kafka.frames import Api, framed
from tests.faults.kafka.mock_cluster import mock_cluster
from tests.faults.kafka.reading import ONE, TOPIC, eventually, publish, quick, reading
from tests.memory import no_collector
from tests.servers.topics import create_topics
from tests.unit.engine.scripted import ScriptedSource

LETTERS = "letters"
ATTEMPTS = 4


def topic(configs: dict[str, str], replicas: int = 3) -> TopicDescription:
    return TopicDescription(TOPIC, 6, replicas, configs)


def warnings(described: TopicDescription) -> list[str]:
    letters = DeadLetterSettings(topic=LETTERS)
    topics = {
        TOPIC: described,
        LETTERS: TopicDescription(LETTERS, 1, 3, {"max.message.bytes": "2000000"}),
    }
    results = check_topics(KafkaSettings(topics=(TOPIC,)), letters, topics)
    return [f.name for f in results if f.status == "warning"]


@pytest.mark.reliability("A19")
def test_settings_under_which_records_that_were_read_may_vanish_are_warned_of() -> None:
    safe = {"unclean.leader.election.enable": "false", "min.insync.replicas": "2"}
    assert warnings(topic(safe)) == []
    assert warnings(topic({**safe, "unclean.leader.election.enable": "true"})) == [
        f"unclean leader election of {TOPIC}"
    ]
    assert warnings(topic({**safe, "min.insync.replicas": "1"})) == [f"in-sync replicas of {TOPIC}"]


@pytest.mark.reliability("A20")
async def test_looking_for_a_topic_does_not_create_it() -> None:
    with mock_cluster({TOPIC: 1}) as cluster:
        async with open_admin(quick(cluster.bootstrap_servers)) as admin:
            assert set(await admin.describe([TOPIC, "misspelt"])) == {TOPIC}
            assert set(await admin.describe([TOPIC, "misspelt"])) == {TOPIC}


@pytest.mark.reliability("A20")
async def test_no_client_lets_the_brokers_create_what_it_asks_for() -> None:
    async with mocked(1, records=1) as (_, frames):
        frames.keep = True
        kafka = quick(frames.bootstrap_servers)
        async with reading(kafka) as reader:
            await reader.until_read({ONE: 1})
        async with open_range_reader(kafka) as ranges:
            await ranges.end_offsets([ONE])
        producer = await start_producer(producer_options(kafka, 10_000, idempotent=True))
        await (await producer.send(TOPIC, b"value"))
        await producer.stop()
        admin = AIOKafkaAdminClient(bootstrap_servers=frames.bootstrap_servers)
        await admin.start()
        await admin.describe_topics([TOPIC])
        await admin.close()
        metadata = [one for one in frames.asked if one.api == Api.METADATA]
        ids = [one for one in metadata if one.version == MetadataRequestV12.API_VERSION]
        assert {one.body[-3:] for one in ids} == {bytes(3)}  # two times no, and no tagged fields
        asked = [one.request for one in metadata if one not in ids]
        assert len([one for one in asked if one.topics]) >= 4
        assert {one.allow_auto_topic_creation for one in asked if one.API_VERSION >= 4} == {False}


@pytest.mark.reliability("A20")
def test_a_missing_topic_is_refused_at_the_start() -> None:
    topics = {LETTERS: TopicDescription(LETTERS, 1, 3, {"max.message.bytes": "2000000"})}
    results = check_topics(
        KafkaSettings(topics=(TOPIC,)), DeadLetterSettings(topic=LETTERS), topics
    )
    assert [f.name for f in results if f.status == "failed"] == [f"topic {TOPIC}"]


@pytest.mark.reliability("A25")
def test_only_committed_records_are_asked_for() -> None:
    assert _member_options(KafkaSettings())["isolation_level"] == "read_committed"


def _watchdog(observer: RecordingObserver) -> Watchdog:
    return Watchdog(ScriptedSource(), Ledger(), observer, stall_after=60.0, now=lambda: 0.0)


@pytest.mark.reliability("A25")
def test_a_transaction_that_stays_open_is_told_once() -> None:
    observer = RecordingObserver()
    watchdog, state = _watchdog(observer), PartitionState(ONE)
    for now in (0.0, 30.0, 59.0):
        watchdog._report_transaction(state, stable=10, end=25, now=now)
    assert observer.behind_transactions == {ONE: 15}
    assert observer.hanging_transactions == []
    for now in (60.0, 61.0):
        watchdog._report_transaction(state, stable=10, end=30, now=now)
    assert observer.hanging_transactions == [(ONE, 10)]
    watchdog._report_transaction(state, stable=31, end=31, now=62.0)
    assert observer.behind_transactions == {ONE: 0}


@pytest.mark.reliability("A25")
def test_transactions_that_come_and_go_are_no_reason_to_speak() -> None:
    observer = RecordingObserver()
    watchdog, state = _watchdog(observer), PartitionState(ONE)
    for second in range(0, 600, 30):
        watchdog._report_transaction(state, stable=second, end=second + 10, now=float(second))
    assert observer.hanging_transactions == []


KNOWN = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}
"""From the tests of Apache Kafka's own murmur2."""


@pytest.mark.parametrize(("key", "expected"), KNOWN.items())
@pytest.mark.reliability("A26")
def test_keys_are_hashed_as_the_java_client_hashes_them(key: bytes, expected: int) -> None:
    assert murmur2(key) == expected & 0xFFFFFFFF
    partitions = list(range(6))
    assert DefaultPartitioner()(key, partitions, partitions) == (expected & 0x7FFFFFFF) % 6


@pytest.mark.reliability("A26")
async def test_a_session_is_looked_for_where_a_producer_with_murmur2_puts_it() -> None:
    keys = [f"session-{number}".encode() for number in range(50)]
    placed: dict[bytes | None, int | None] = {}
    with mock_cluster({TOPIC: 6}) as cluster:
        producer = Producer(
            {
                "bootstrap.servers": cluster.bootstrap_servers,
                "partitioner": "murmur2_random",
                "log_level": 0,
            }
        )
        for key in keys:
            producer.produce(
                TOPIC,
                b"value",
                key,
                on_delivery=lambda _, sent: placed.update({sent.key(): sent.partition()}),
            )
        await asyncio.to_thread(producer.flush, 10)
        async with open_range_reader(quick(cluster.bootstrap_servers)) as ranges:
            found: dict[bytes | None, int | None] = {
                key: (await ranges.partition_of(TOPIC, key)).partition for key in keys
            }
    assert len(placed) == len(keys)
    assert found == placed


@pytest.mark.real_kafka
@pytest.mark.reliability("A27")
async def test_a_secured_connection_that_was_cut_is_made_and_authenticated_again(
    secured_kafka: KafkaSettings, kafka_bootstrap_servers: str, unique_name: str
) -> None:
    partition = TopicPartition(unique_name, 0)
    await create_topics(kafka_bootstrap_servers, unique_name, partitions=1)
    await publish(kafka_bootstrap_servers, {partition: 3})
    kafka = secured_kafka.model_copy(update={"topics": (unique_name,), "group_id": unique_name})
    async with reading(kafka) as reader:
        await reader.until_read({partition: 3})
        for connection in list(reader.consumer._client._conns.values()):
            connection._writer.transport.abort()
        await publish(kafka_bootstrap_servers, {partition: 3})
        await reader.until_read({partition: 6})
        await reader.source.commit({partition: 6})


@pytest.mark.reliability("A28")
def test_a_dead_letter_is_acknowledged_by_all_replicas_and_may_be_as_large_as_is_said() -> None:
    options = producer_options(KafkaSettings(), 10_000, idempotent=True)
    assert options["acks"] == "all"
    assert options["enable_idempotence"] is True
    assert options["max_request_size"] > options["max_batch_size"] == 10_000


async def sent(bootstrap_servers: str, topic: str, letter: DeadLetter) -> Any:
    """Send a letter as the service does; return what lies in the topic then."""
    kafka = quick(bootstrap_servers, topics=(topic,))
    letters = dead_letters_to(kafka, DeadLetterSettings(topic=topic))
    await letters.send([letter])
    await letters.close()
    async with open_range_reader(kafka) as reader:
        return [
            record
            async for _, records in reader.read(await reader.ranges([topic]))
            for record in records
        ]


HEADERS = (("dlq-reason", b"invalid"), ("ce_type", None), ("ce_type", b"\xff"))
LARGEST = b"x" * (BROKER_MESSAGE_BYTES - 300)


@pytest.mark.parametrize(
    ("key", "value"), [(b"key", LARGEST), (None, None), (b"", None), (None, b"")]
)
@pytest.mark.reliability("A28")
async def test_whatever_key_and_value_a_letter_has_it_is_sent_as_it_is(
    key: bytes | None, value: bytes | None
) -> None:
    with mock_cluster({LETTERS: 3}) as cluster:
        letter = DeadLetter(key, value, HEADERS, Position(TOPIC, 0, 7))
        found = await sent(cluster.bootstrap_servers, LETTERS, letter)
    assert [(one.key, one.value, one.headers) for one in found] == [(key, value, HEADERS)]


ODD_NAMES = (("caf\udce9", b"x"), ("\udcff", None), ("plain", b"y"))


@pytest.mark.parametrize(("key", "value"), [(b"key", b"value"), (None, b"value"), (None, None)])
@pytest.mark.reliability("F59")
async def test_a_letter_gives_the_bytes_of_a_header_s_name_back_as_they_came(
    key: bytes | None, value: bytes | None
) -> None:
    with mock_cluster({LETTERS: 3}) as cluster:
        letter = DeadLetter(key, value, ODD_NAMES, Position(TOPIC, 0, 7))
        found = await sent(cluster.bootstrap_servers, LETTERS, letter)
        plain = await sent(
            cluster.bootstrap_servers, LETTERS, DeadLetter(key, value, HEADERS, letter.origin)
        )
    assert [(one.key, one.value, one.headers) for one in found] == [(key, value, ODD_NAMES)]
    if key is not None:
        assert {one.partition for one in plain} == {one.partition for one in found}


@pytest.mark.real_kafka
@pytest.mark.reliability("F59")
async def test_a_real_broker_takes_a_letter_with_such_a_header(
    kafka_bootstrap_servers: str, unique_name: str
) -> None:
    await create_topics(kafka_bootstrap_servers, unique_name, partitions=3)
    letter = DeadLetter(b"key", b"value", ODD_NAMES, Position(TOPIC, 0, 7))
    found = await sent(kafka_bootstrap_servers, unique_name, letter)
    assert [(one.key, one.value, one.headers) for one in found] == [(b"key", b"value", ODD_NAMES)]


@pytest.mark.real_kafka
@pytest.mark.reliability("A28")
async def test_a_letter_with_neither_key_nor_value_is_taken_by_a_real_broker(
    kafka_bootstrap_servers: str, unique_name: str
) -> None:
    await create_topics(kafka_bootstrap_servers, unique_name, partitions=3)
    letter = DeadLetter(None, None, HEADERS, Position(TOPIC, 0, 7))
    found = await sent(kafka_bootstrap_servers, unique_name, letter)
    assert [(one.key, one.value, one.headers) for one in found] == [(None, None, HEADERS)]


@pytest.mark.reliability("F110")
@pytest.mark.parametrize("idempotent", [True, False])
@pytest.mark.parametrize("api", ["hold", "lose"])
async def test_a_letter_that_is_not_acknowledged_leaves_neither_a_client_nor_itself_behind(
    api: str, *, idempotent: bool
) -> None:
    with mock_cluster({LETTERS: 1}) as cluster:
        async with framed(cluster.bootstrap_servers) as frames:
            getattr(frames, api)(Api.PRODUCE)
            kafka = quick(frames.bootstrap_servers, request_timeout=0.3)
            settings = DeadLetterSettings(topic=LETTERS, idempotent=idempotent)
            desk = replace(dead_letters_to(kafka, settings), timeout=0.5)
            with no_collector():
                for _ in range(ATTEMPTS):
                    pending = [DeadLetter(b"k", b"v" * 500_000, (), Position(TOPIC, 0, 0))] * 3
                    with pytest.raises(TransientError):
                        await desk.send(pending)
                await eventually(lambda: not sending(), seconds=5.0)
                batches = [one for one in gc.get_objects() if isinstance(one, MessageBatch)]
            await desk.close(0.5)
    # An idempotent client has sent again what was not answered, and ends with one of them.
    assert len(batches) <= (ATTEMPTS if idempotent else 0)


@pytest.mark.reliability("F110")
async def test_a_producer_that_is_given_up_fails_in_silence_what_it_was_to_send_again() -> None:
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(
        lambda _, context: complaints.append(context["message"])
    )
    producer = AnyRecordProducer(bootstrap_servers="127.0.0.1:1")
    accumulator, delivered = producer._message_accumulator, []
    for refused in (True, False):  # one is refused and sent again, one has never been sent
        letters = TopicPartition(LETTERS, int(refused))
        queued = producer.create_batch()
        queued.append(key=b"k", value=b"v", timestamp=None)
        delivered.append(await accumulator.add_batch(queued, letters, 1.0))
        if refused:
            accumulator.reenqueue(accumulator._pop_batch(letters))
    await producer.discard(0.01)
    for failed in await asyncio.gather(*delivered, return_exceptions=True):
        assert str(failed).endswith("dropped by its producer")
    assert not complaints


def sending() -> list[object]:
    """Return the tasks of clients that still send, whoever has given them up."""
    return [one for one in asyncio.all_tasks() if "Sender." in str(one.get_coro())]
