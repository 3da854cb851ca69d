"""Behind the proxies a Kafka client meets no broker but through them."""

from __future__ import annotations

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from tests.faults.kafka.frames import framed
from tests.servers.topics import create_topics


@pytest.mark.real_kafka
async def test_a_group_works_through_the_proxies_and_knows_no_other_address(
    kafka_bootstrap_servers: str, unique_name: str
) -> None:
    await create_topics(kafka_bootstrap_servers, unique_name, partitions=1)
    async with framed(kafka_bootstrap_servers) as kafka:
        producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers, acks="all")
        await producer.start()
        await producer.send_and_wait(unique_name, b"value")
        await producer.stop()
        consumer = AIOKafkaConsumer(
            unique_name,
            bootstrap_servers=kafka.bootstrap_servers,
            group_id=unique_name,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
        )
        await consumer.start()
        try:
            assert (await consumer.getone()).value == b"value"
            await consumer.commit({TopicPartition(unique_name, 0): 1})
            brokers = {broker.port for broker in consumer._client.cluster.brokers()}
            assert brokers == {proxy.port for proxy in kafka.proxies}
            for proxy in kafka.proxies:
                proxy.fall_silent()
            assert not await consumer.getmany(timeout_ms=200)
            for proxy in kafka.proxies:
                proxy.heal()
            assert await consumer.committed(TopicPartition(unique_name, 0)) == 1
        finally:
            await consumer.stop()
