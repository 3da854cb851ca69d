"""What surrounds the consumer fails: the dead-letter topic, the clock, the log, a port."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable, Iterator

import pytest

from consumer import app
from consumer.contract.dead_letter import TRUNCATED
from consumer.contract.record import TopicPartition
from consumer.errors import PreconditionError
from consumer.kafka.dead_letter_topic import (
    dead_letters_to,
)
from consumer.kafka.range_reader import open_range_reader
from consumer.observability.logs import configure_logging, get_logger
from consumer.ports import Stage
from consumer.settings.model import (
    DeadLetterSettings,
    HttpSettings,
    KafkaSettings,
    LogSettings,
    Settings,
)
from consumer.settings.values import LogFormat
from tests.faults.kafka.clusters import mocked
from tests.faults.kafka.engine import event_keys, publish_events, running
from tests.faults.kafka.frames import Api
from tests.faults.kafka.reading import BRISK, ONE, publish, quick
from tests.servers.topics import create_topics

LETTERS = "letters"
EVENTS = 10


async def letters_in(
    kafka: KafkaSettings, topic: str
) -> list[tuple[bytes | None, dict[str, bytes | None]]]:
    """The value and the headers of every letter."""
    async with open_range_reader(kafka) as reader:
        return [
            (record.value, dict(record.headers))
            async for _, records in reader.read(await reader.ranges([topic]))
            for record in records
        ]


@pytest.mark.reliability("F39")
async def test_while_no_dead_letter_is_acknowledged_its_partitions_offset_stands_still() -> None:
    async with mocked(1) as (cluster, frames):
        cluster.create_topic(LETTERS, 1)
        await publish(cluster.bootstrap_servers, {ONE: 1}, value=lambda *_: b"no JSON")
        kafka = quick(frames.bootstrap_servers, **BRISK)
        waiting = frames.hold(Api.PRODUCE)
        letters = dead_letters_to(kafka, DeadLetterSettings(topic=LETTERS))
        async with running(kafka, letters=letters) as member:
            await member.until(
                lambda: Stage.DEAD_LETTERS in {stage for stage, *_ in member.seen.retries}
            )
            assert waiting.count >= 1
            assert member.committed == {}
            assert not member.is_ready()
            waiting.end()
            await member.until(lambda: member.committed == {ONE: 1})
            assert member.is_ready()
        await letters.close()
        values = [value for value, _ in await letters_in(kafka, LETTERS)]
        assert set(values) == {b"no JSON"}


@pytest.mark.real_kafka
@pytest.mark.reliability("F39")
async def test_a_letter_that_the_topic_does_not_take_goes_there_cut_and_says_so(
    kafka_bootstrap_servers: str, unique_name: str
) -> None:
    topic, narrow = unique_name, f"{unique_name}.letters"
    partition = TopicPartition(topic, 0)
    await create_topics(kafka_bootstrap_servers, topic, partitions=1)
    limit = {"max.message.bytes": "4000"}
    await create_topics(kafka_bootstrap_servers, narrow, partitions=1, configs=limit)
    await publish(kafka_bootstrap_servers, {partition: 1}, value=lambda *_: b"no JSON" * 1000)
    kafka = quick(kafka_bootstrap_servers, topics=(topic,), group_id=topic, session_timeout=6.0)
    letters = dead_letters_to(kafka, DeadLetterSettings(topic=narrow))
    async with running(kafka, letters=letters) as member:
        await member.until(lambda: member.committed == {partition: 1})
        assert member.seen.retries == []
    await letters.close()
    ((value, headers),) = await letters_in(kafka, narrow)
    assert value is not None
    assert 2_000 < len(value) < 4_000, "cut to what the topic takes"
    assert headers[TRUNCATED] is not None
    assert headers["dlq-size"] == b"7000"


@pytest.mark.parametrize("jump", [3600.0, -3600.0])
@pytest.mark.reliability("F42")
async def test_a_clock_that_jumps_kills_nothing(
    jump: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with mocked(1) as (_, frames):
        await publish_events(frames.bootstrap_servers, {ONE: EVENTS})
        async with running(quick(frames.bootstrap_servers), stall_after=5.0) as member:
            await member.until(lambda: member.committed == {ONE: EVENTS})
            real, real_ns = time.time, time.time_ns
            monkeypatch.setattr(time, "time", lambda: real() + jump)
            monkeypatch.setattr(time, "time_ns", lambda: real_ns() + int(jump * 1e9))
            beats = len(member.seen.loop_lags)
            await publish_events(frames.bootstrap_servers, {ONE: EVENTS}, first=EVENTS)
            await member.until(lambda: member.committed == {ONE: 2 * EVENTS})
            await member.until(lambda: len(member.seen.loop_lags) >= beats + 3)
            assert not member.health.unhealthy_reasons()
            assert member.seen.stalls == []
            assert len(member.seen.assignments) == 1
            assert max(member.seen.loop_lags) < 60


def unread_pipe() -> Iterator[int]:
    """A pipe that is full, and whose reader sleeps."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    try:
        while True:
            os.write(writing, b"x" * 65536)
    except BlockingIOError:
        os.set_blocking(writing, True)
    yield writing
    os.close(reading)
    os.close(writing)


def closed_pipe() -> Iterator[int]:
    reading, writing = os.pipe()
    os.close(reading)
    yield writing
    os.close(writing)


def full_disk() -> Iterator[int]:
    device = os.open("/dev/full", os.O_WRONLY)
    yield device
    os.close(device)


@pytest.mark.parametrize("place", [unread_pipe, closed_pipe, full_disk])
@pytest.mark.reliability("F43")
async def test_a_log_that_cannot_be_written_does_not_stop_the_consumer(
    place: Callable[[], Iterator[int]],
) -> None:
    opened = place()
    writer = configure_logging(Settings(), descriptor=next(opened))
    try:
        async with mocked(1) as (_, frames):
            await publish_events(frames.bootstrap_servers, {ONE: EVENTS})
            async with running(quick(frames.bootstrap_servers), logger=get_logger()) as member:
                async with asyncio.timeout(15):
                    await member.until(lambda: member.committed == {ONE: EVENTS})
                assert member.store.events == event_keys({ONE: EVENTS})
                assert member.is_ready()
    finally:
        next(opened, None)
        writer.close(timeout=1.0)


@pytest.mark.reliability("F44")
async def test_a_port_that_is_in_use_ends_the_start_before_anything_is_connected() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = Settings(
            kafka=quick("127.0.0.1:1"),
            http=HttpSettings(host="127.0.0.1", port=port),
            log=LogSettings(format=LogFormat.CONSOLE),
        )
        with pytest.raises(PreconditionError, match=rf"http\.port: cannot listen on .*:{port}"):
            async with asyncio.timeout(5):
                await app.run_consumer(settings, until_caught_up=False)
