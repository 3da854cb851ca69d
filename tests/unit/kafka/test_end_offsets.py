"""The ends of partitions are asked for on a timer, whatever else goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from typing import cast

import pytest

from consumer.contract.record import TopicPartition
from consumer.errors import TransientError
from consumer.kafka import end_offsets
from consumer.kafka.range_reader import RangeReader
from consumer.settings.model import KafkaSettings
from tests.simulation.loop import in_virtual_time

KAFKA = KafkaSettings(topics=("a", "b"), request_timeout=20.0)
A0, A1, B0 = TopicPartition("a", 0), TopicPartition("a", 1), TopicPartition("b", 0)


class Brokers:
    """Brokers that answer, keep silent about a topic, or are away."""

    def __init__(self) -> None:
        self.ends = {A0: 10, A1: 11, B0: 12}
        self.silent: set[str] = set()
        self.away = False
        self.opened = 0

    async def end_offsets(
        self, partitions: Collection[TopicPartition]
    ) -> Mapping[TopicPartition, int]:
        if self.away:
            raise TransientError("away")
        if self.silent.intersection(partition.topic for partition in partitions):
            await asyncio.Event().wait()
        return {partition: self.ends[partition] for partition in partitions}

    async def topic_ids(self, topics: Collection[str]) -> Mapping[str, None]:
        if self.away:
            raise TransientError("away")
        return dict.fromkeys(topics)


class Asked:
    """The watch, with what it tells."""

    def __init__(self, brokers: Brokers, monkeypatch: pytest.MonkeyPatch) -> None:
        @asynccontextmanager
        async def opened(_: KafkaSettings) -> AsyncIterator[RangeReader]:
            if brokers.away:
                raise TransientError("no_broker")
            brokers.opened += 1
            yield cast("RangeReader", brokers)

        monkeypatch.setattr(end_offsets, "open_range_reader", opened)
        self.assigned = [A0, B0]
        self.ends: list[Mapping[TopicPartition, int]] = []
        self.answers: list[bool] = []
        self.watching = asyncio.ensure_future(
            end_offsets.watch_end_offsets(
                KAFKA, lambda: self.assigned, self.ends.append, self.answers.append
            )
        )


@in_virtual_time
async def test_ends_of_the_assigned_partitions_are_told_at_once_and_every_five_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    brokers = Brokers()
    asked = Asked(brokers, monkeypatch)
    await asyncio.sleep(0.5)
    assert asked.answers == [True]
    brokers.ends[A0], asked.assigned = 20, [A0, A1]
    await asyncio.sleep(5.0)
    assert asked.ends == [{A0: 10, B0: 12}, {A0: 20, A1: 11}]
    assert (asked.answers, brokers.opened) == ([True, True], 1)


@in_virtual_time
@pytest.mark.reliability("F95")
async def test_a_topic_that_is_gone_keeps_no_others_ends_unknown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    brokers = Brokers()
    brokers.silent = {"a"}
    asked = Asked(brokers, monkeypatch)
    await asyncio.sleep(30.0)
    assert asked.ends == [{B0: 12}]
    assert asked.answers == [True]


@in_virtual_time
@pytest.mark.reliability("F95")
async def test_a_connection_that_keeps_silent_about_a_topic_is_not_asked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    brokers = Brokers()
    brokers.silent = {"a"}
    asked = Asked(brokers, monkeypatch)
    await asyncio.sleep(21.0)
    brokers.silent = set()
    await asyncio.sleep(6.0)
    assert (asked.ends, brokers.opened) == ([{B0: 12}, {A0: 10, B0: 12}], 2)
    assert asked.answers == [True, True]


@in_virtual_time
async def test_brokers_that_are_away_are_asked_again_over_a_new_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    brokers = Brokers()
    brokers.away = True
    asked = Asked(brokers, monkeypatch)
    await asyncio.sleep(6.0)
    brokers.away = False
    await asyncio.sleep(6.0)
    brokers.away = True
    await asyncio.sleep(5.0)
    assert asked.answers == [False, False, True, False]
    assert [ends for ends in asked.ends if ends] == [{A0: 10, B0: 12}]


@in_virtual_time
async def test_brokers_answer_also_where_nothing_is_assigned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = Asked(Brokers(), monkeypatch)
    asked.assigned = []
    await asyncio.sleep(1.0)
    assert asked.answers == [True]
