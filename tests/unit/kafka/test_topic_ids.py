"""Which topic an offset belongs to: topics that are deleted, made again, or not there."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError

from consumer.contract.record import OffsetRange
from consumer.errors import TransientError
from consumer.kafka.client import ClientLostError
from consumer.kafka.committed import OffsetMetadata
from consumer.kafka.topic_ids import TopicWatch, topic_ids
from consumer.ports import GoneError, LogReset, StartOffset
from tests import builders
from tests.simulation.loop import in_virtual_time
from tests.unit.kafka.scripted_client import P0, P1, P2, ScriptedClient, Setting, records

OLD, NEW = "AAAAAAAAAAAAAAAAAAAAAQ", "AAAAAAAAAAAAAAAAAAAAAg"
MAX_AGE = 5.0
UNKNOWN_TOPIC = TransientError("UnknownTopicOrPartitionError", "commit refused")


async def reading(setting: Setting) -> ScriptedClient:
    """Read P0 and P1 of a topic with the old id from 10 on."""
    await setting.assigned(P0, P1)
    client = setting.client
    client.ids = {builders.EVENTS: OLD, builders.SESSIONS: None}
    client.offsets = {P0: 10, P1: 10}
    await setting.poll([P0, P1], 100, 0.1)
    return client


async def made_again(setting: Setting, client: ScriptedClient) -> None:
    """Let the topic be another one, and the time pass until that is asked for."""
    client.ids |= {builders.EVENTS: NEW}
    client.offsets = {}  # brokers forget what was committed for a topic that is deleted
    for _ in range(3):
        await asyncio.sleep(MAX_AGE)
        polled = await setting.poll([], 1, 0.0)
        if polled.gone:
            assert set(polled.gone) == {P0, P1}
            return
    raise AssertionError("it was not noticed")


@in_virtual_time
@pytest.mark.reliability("F47")
async def test_a_topic_made_again_is_read_from_its_beginning_though_it_has_outgrown_us() -> None:
    setting = Setting()
    client = await reading(setting)
    client.fetches.append({P0: records(P0, 10, 11)})
    await setting.poll([P0], 100, 0.1)
    await made_again(setting, client)
    polled = await setting.poll([P0], 100, 0.1)
    assert polled.starts == {P0: StartOffset(0, None)}
    # The scripted log ended at 1,000: so many may have been unread.
    assert polled.resets == [LogReset(P0, 12, 0, unread=988)]
    client.fetches.append({P0: records(P0, 0, 1)})
    assert (await setting.poll([P0], 100, 0.1)).records == {P0: records(P0, 0, 1)}


@in_virtual_time
@pytest.mark.reliability("F47")
async def test_what_the_new_log_has_lost_already_is_a_gap() -> None:
    setting = Setting()
    client = await reading(setting)
    client.log_starts = {P0: 4}
    await made_again(setting, client)
    polled = await setting.poll([P0], 100, 0.1)
    assert (polled.starts, polled.gaps) == ({P0: StartOffset(4, None)}, [OffsetRange(P0, 0, 4)])


@in_virtual_time
@pytest.mark.reliability("F47")
async def test_a_topic_that_is_made_again_between_two_runs_is_read_from_its_beginning() -> None:
    setting = Setting()
    client = await setting.assigned(P0, P1)
    client.ids = {builders.EVENTS: NEW}
    client.offsets = {P0: 10, P1: 10}
    client.metadata = {P0: OffsetMetadata(OLD).encode(), P1: OffsetMetadata(NEW).encode()}
    polled = await setting.poll([P0, P1], 100, 0.1)
    assert polled.starts == {P0: StartOffset(0, None), P1: StartOffset(10, 10)}
    # Who was not there knows of no record that was not read, and says so.
    assert polled.resets == [LogReset(P0, 10, 0, unread=None)]


class Brokers:
    """Three brokers, of which some do not answer; who was asked last is seen."""

    def __init__(self, *silent: int) -> None:
        self.cluster = SimpleNamespace(
            brokers=lambda: [SimpleNamespace(nodeId=node) for node in (1, 2, 3)]
        )
        self._silent = silent

    async def send(self, node: int, _request: object) -> Any:
        if node in self._silent:
            raise KafkaConnectionError("no answer")
        return SimpleNamespace(topics=[(0, builders.EVENTS, bytes(15) + bytes([node]))])


@pytest.mark.reliability("F47")
async def test_who_asks_again_asks_another_broker_if_one_answers() -> None:
    for _ in range(10):
        _, asked = await topic_ids(Brokers(), [builders.EVENTS], 2)
        assert asked in {1, 3}
    ids, asked = await topic_ids(Brokers(1, 3), [builders.EVENTS], 2)
    assert (ids, asked) == ({builders.EVENTS: "AAAAAAAAAAAAAAAAAAAAAg"}, 2)


@pytest.mark.parametrize("named_twice", [False, True])
@in_virtual_time
@pytest.mark.reliability("F47")
async def test_an_old_id_that_only_one_broker_names_is_no_other_log(named_twice: bool) -> None:
    setting = Setting()
    client = await setting.assigned(P0, P2)
    await asyncio.sleep(MAX_AGE)  # what was asked before has its answer
    client.ids = {builders.EVENTS: NEW, builders.SESSIONS: NEW}
    client.stale_ids = [{builders.EVENTS: OLD}] * (2 if named_twice else 1)
    client.offsets = {P0: 10, P2: 10}
    client.metadata = {P0: OffsetMetadata(NEW).encode(), P2: OffsetMetadata(NEW).encode()}
    polled = await setting.source.poll([P0, P2], 100, 0.1)
    if named_twice:
        assert polled.resets == [LogReset(P0, 10, 0, unread=None)], "two brokers are believed"
        return
    assert polled.starts == {P2: StartOffset(10, 10)}
    assert polled.failed.keys() == {P0}, "nobody knows which broker is right"
    polled = await setting.source.poll([P0], 100, 0.1)
    assert (polled.starts, polled.resets) == ({P0: StartOffset(10, 10)}, [])


@pytest.mark.parametrize("metadata", ["", "set by hand", "[1]", '{"topicId": 7}', "9" * 5000])
@in_virtual_time
@pytest.mark.reliability("F47")
async def test_an_offset_that_says_nothing_of_its_log_is_taken_for_one_of_this_log(
    metadata: str,
) -> None:
    setting = Setting()
    client = await setting.assigned(P0)
    client.ids = {builders.EVENTS: NEW}
    client.offsets, client.metadata = {P0: 10}, {P0: metadata}
    assert (await setting.poll([P0], 100, 0.1)).starts == {P0: StartOffset(10, 10)}


@in_virtual_time
@pytest.mark.reliability("F47")
async def test_a_commit_says_of_which_log_it_speaks() -> None:
    setting = Setting()
    client = await reading(setting)
    await setting.poll([P2], 100, 0.1)
    await setting.source.commit({P0: 11})
    assert OffsetMetadata.decode(client.metadata[P0]) == OffsetMetadata(OLD)


@in_virtual_time
@pytest.mark.reliability("F47")
async def test_a_commit_names_the_log_that_was_read_until_the_other_one_is_begun() -> None:
    setting = Setting()
    client = await reading(setting)
    client.ids |= {builders.EVENTS: NEW}
    await setting.source.commit({P0: 11})
    assert OffsetMetadata.decode(client.metadata[P0]) == OffsetMetadata(OLD)
    await made_again(setting, client)
    await setting.poll([P0], 100, 0.1)
    await setting.source.commit({P0: 1})
    assert OffsetMetadata.decode(client.metadata[P0]) == OffsetMetadata(NEW)


@in_virtual_time
@pytest.mark.reliability("F47")
async def test_where_brokers_have_no_ids_nothing_is_another_log() -> None:
    setting = Setting()
    client = await reading(setting)
    client.ids |= {builders.EVENTS: None}
    for _ in range(3):
        await asyncio.sleep(MAX_AGE)
        assert not (await setting.poll([], 1, 0.0)).gone


@in_virtual_time
@pytest.mark.reliability("F47")
async def test_what_another_member_has_read_of_the_new_log_is_not_read_again() -> None:
    setting = Setting()
    client = await reading(setting)
    await client.callbacks.on_revoked()
    client.ids |= {builders.EVENTS: NEW}
    client.offsets, client.metadata = {P0: 3}, {P0: OffsetMetadata(NEW).encode()}
    await client.callbacks.on_assigned([P0])
    polled = await setting.poll([P0], 100, 0.1)
    assert (polled.starts, polled.resets) == ({P0: StartOffset(3, 3)}, [])


@in_virtual_time
@pytest.mark.reliability("F47")
async def test_what_brokers_have_told_beside_the_fetches_counts_for_what_was_unread() -> None:
    setting = Setting()
    client = await reading(setting)
    setting.listener.ledger[P0].stable_end = 1_200
    await made_again(setting, client)
    assert (await setting.poll([P0], 100, 0.1)).resets == [LogReset(P0, 10, 0, unread=1_190)]


@in_virtual_time
@pytest.mark.reliability("F47")
async def test_what_was_in_flight_of_a_log_that_is_no_more_may_be_unread() -> None:
    setting = Setting()
    client = await reading(setting)
    client.fetches.append({P0: records(P0, 10, 14)})
    polled = await setting.source.poll([P0], 100, 0.1)
    assert polled.records == {P0: records(P0, 10, 14)}
    setting.listener.ledger.take(P0, 10, 15)
    await made_again(setting, client)
    # It may never be stored: so far nothing but what lies below 10 is.
    assert (await setting.poll([P0], 100, 0.1)).resets == [LogReset(P0, 15, 0, unread=990)]


@in_virtual_time
@pytest.mark.reliability("F47")
async def test_a_topic_made_again_during_a_rebalance_is_said() -> None:
    setting = Setting()
    client = await reading(setting)
    await client.callbacks.on_revoked()
    client.ids |= {builders.EVENTS: NEW}
    client.offsets = {}
    await client.callbacks.on_assigned([P0])
    assert (await setting.poll([P0], 100, 0.1)).resets == [LogReset(P0, 10, 0, unread=990)]


@in_virtual_time
@pytest.mark.reliability("F47")
async def test_what_was_unread_of_a_log_is_known_also_where_its_client_is_lost() -> None:
    setting = Setting()
    client = await reading(setting)
    client.fetches.append(ClientLostError("fetching_ended"))
    with pytest.raises(ClientLostError):
        await setting.poll([P0], 100, 0.1)
    again = await setting.assigned(P0)
    again.ids = {builders.EVENTS: NEW, builders.SESSIONS: None}
    assert (await setting.poll([P0], 100, 0.1)).resets == [LogReset(P0, 10, 0, unread=990)]


@in_virtual_time
@pytest.mark.reliability("F47")
async def test_ids_that_cannot_be_had_change_nothing() -> None:
    setting = Setting()
    client = await reading(setting)
    client.ids_error = TransientError("KafkaTimeoutError")
    for _ in range(3):
        await asyncio.sleep(MAX_AGE)
        assert not (await setting.poll([], 1, 0.0)).gone
    assert setting.source.missing_topics() == ()


@in_virtual_time
@pytest.mark.reliability("F47")
async def test_an_offset_of_another_log_is_none_that_the_group_has_reached() -> None:
    setting = Setting()
    client = await reading(setting)
    await setting.source.commit({P0: 11})
    client.offsets = {P0: 11}
    assert await setting.source.committed([P0]) == {P0: 11}
    await made_again(setting, client)
    client.offsets = {P0: 11}
    assert await setting.source.committed([P0]) == {P0: None}


# --- topics that are not there ----------------------------------------------------------


@in_virtual_time
@pytest.mark.reliability("F61")
async def test_partitions_of_a_topic_that_is_not_there_keep_no_other_from_being_read() -> None:
    setting = Setting()
    client = await setting.assigned(P0, P2)
    client.ids = {builders.SESSIONS: OLD}
    polled = await setting.poll([P0, P2], 100, 0.1)
    assert polled.starts == {P2: StartOffset(0, None)}
    assert polled.failed[P0].cause == "UnknownTopicOrPartitionError"


@in_virtual_time
@pytest.mark.reliability("F61")
async def test_a_commit_names_the_partitions_whose_topic_is_gone() -> None:
    setting = Setting()
    client = await reading(setting)
    client.ids = {builders.SESSIONS: None}
    client.commit_error = UNKNOWN_TOPIC
    with pytest.raises(GoneError) as refused:
        await setting.source.commit({P0: 11})
    assert refused.value.partitions == [P0]


@in_virtual_time
@pytest.mark.reliability("F61")
async def test_a_commit_that_is_refused_for_a_topic_that_is_there_is_tried_again() -> None:
    setting = Setting()
    client = await reading(setting)
    client.commit_error = UNKNOWN_TOPIC
    with pytest.raises(TransientError, match="UnknownTopic"):
        await setting.source.commit({P0: 11})
    client.commit_error = None
    await setting.source.commit({P0: 11})


async def _seen(setting: Setting, client: ScriptedClient) -> list[str]:
    for _ in range(2):
        await asyncio.sleep(MAX_AGE)
        await setting.poll([], 1, 0.0)
    return list(setting.source.missing_topics())


@in_virtual_time
@pytest.mark.reliability("F47")
async def test_a_topic_is_missing_until_it_is_there_and_known_and_read() -> None:
    setting = Setting()
    client = await setting.assigned(P0, P2)
    assert await _seen(setting, client) == []
    client.ids = {builders.SESSIONS: None}
    assert await _seen(setting, client) == [builders.EVENTS]
    client.known_topics = {builders.SESSIONS}
    client.ids |= {builders.EVENTS: NEW}
    assert await _seen(setting, client) == [builders.EVENTS], "the client does not know it"
    await client.callbacks.on_assigned([P2])
    client.known_topics |= {builders.EVENTS}
    assert await _seen(setting, client) == [builders.EVENTS], "nobody reads it"
    await client.callbacks.on_assigned([P0, P2])
    assert await _seen(setting, client) == []


@pytest.mark.reliability("F47")
def test_a_client_that_has_just_been_opened_misses_nothing_that_is_there() -> None:
    watch = TopicWatch((builders.EVENTS, builders.SESSIONS), MAX_AGE, 1.0)
    watch._ids = {builders.EVENTS: OLD, builders.SESSIONS: NEW}
    assert watch.missing({}, []) == []
    watch._ids = {builders.EVENTS: OLD}
    assert watch.missing({}, []) == [builders.SESSIONS]


@pytest.mark.reliability("F47")
def test_a_member_that_is_one_too_many_for_a_smaller_topic_misses_nothing() -> None:
    watch = TopicWatch((builders.EVENTS, builders.SESSIONS), MAX_AGE, 1.0)
    watch._ids = {builders.EVENTS: OLD, builders.SESSIONS: NEW}
    counts = {builders.EVENTS: 12, builders.SESSIONS: 6}
    assert watch.missing(counts, [P0]) == []
    assert watch.missing(counts, []) == []
    assert watch.missing(counts, [P2]) == [builders.EVENTS]


# --- positions that jump back -------------------------------------------------------------


@in_virtual_time
@pytest.mark.reliability("F52")
async def test_a_client_that_goes_back_in_the_same_log_goes_on_where_the_group_is() -> None:
    setting = Setting()
    client = await reading(setting)
    client.fetches.append({P0: records(P0, 0, 1)})
    assert (await setting.poll([P0], 100, 0.1)).gone == [P0]
    polled = await setting.poll([P0], 100, 0.1)
    assert (polled.starts, polled.resets) == ({P0: StartOffset(10, 10)}, [])


@in_virtual_time
@pytest.mark.reliability("F52")
async def test_a_log_that_was_truncated_is_read_again_and_committed_only_beyond_the_old() -> None:
    setting = Setting()
    client = await reading(setting)
    client.fetches.append({P0: records(P0, 10, 11, 12)})
    await setting.poll([P0], 100, 0.1)
    client.log_ends = {P0: 11}
    client.positions = {P0: 0}
    assert (await setting.poll([P0], 100, 0.1)).gone == [P0]
    polled = await setting.poll([P0], 100, 0.1)
    # The scripted log ended at 1,000, and 13 was read: what lies behind 13 is no more.
    assert (polled.starts, polled.resets) == ({P0: StartOffset(0, 10)}, [LogReset(P0, 13, 0, 987)])


@in_virtual_time
@pytest.mark.reliability("F52")
async def test_no_offset_stays_committed_behind_the_end_of_a_log_that_was_truncated() -> None:
    # The log grows beyond it again, and whoever began there would not read what it grew by.
    setting = Setting()
    client = await reading(setting)
    client.log_ends = {P0: 6}
    client.positions = {P0: 0}
    assert (await setting.poll([P0], 100, 0.1)).gone == [P0]
    polled = await setting.poll([P0], 100, 0.1)
    assert (polled.starts, polled.resets) == (
        {P0: StartOffset(0, None)},
        [LogReset(P0, 10, 0, 990)],
    )


@in_virtual_time
@pytest.mark.reliability("F52")
async def test_going_back_brings_what_came_of_the_others() -> None:
    setting = Setting()
    client = await reading(setting)
    client.fetches.append({P0: records(P0, 0), P1: records(P1, 10)})
    polled = await setting.poll([P0, P1], 100, 0.1)
    assert (polled.gone, polled.records) == ([P0], {P1: records(P1, 10)})


@in_virtual_time
@pytest.mark.reliability("F47")
async def test_what_is_found_while_the_assignment_ends_is_said_in_the_next() -> None:
    setting = Setting()
    client = await reading(setting)
    await made_again(setting, client)
    setting.listener.gate.clear()
    # Asked for before the engine takes no more, and answered behind it.
    polling = asyncio.ensure_future(setting.poll([P0], 100, 0.1))
    await asyncio.sleep(0)
    revoking = asyncio.ensure_future(client.callbacks.on_revoked())
    assert (await polling).starts == {}
    setting.listener.gate.set()
    await revoking
    await client.callbacks.on_assigned([P0])
    assert (await setting.poll([P0], 100, 0.1)).resets == [LogReset(P0, 10, 0, unread=990)]
