"""The log is not what it was: deleted, truncated, grown, or held up by a transaction."""

from __future__ import annotations

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions

from consumer import app, wiring
from consumer.contract.record import OffsetRange, TopicPartition
from consumer.errors import PreconditionError
from consumer.mongo.store import OpenStore
from consumer.observability.health import Health
from consumer.observability.metrics import Metrics
from consumer.observability.observer import EngineObserver
from consumer.ports import LogReset, StartOffset
from consumer.settings.model import DeadLetterSettings, Settings
from tests.faults.kafka.batches import ending_at, held_back, refusing
from tests.faults.kafka.clusters import mocked
from tests.faults.kafka.engine import event_keys, event_value, publish_events, running, session_of
from tests.faults.kafka.frames import Api
from tests.faults.kafka.mock_cluster import mock_cluster
from tests.faults.kafka.reading import ONE, TOPIC, commit_beforehand, publish, quick, reading
from tests.faults.kafka.transactions import transactions
from tests.servers.topics import create_topics, delete_records, delete_topic, make_again

OFFSET_OUT_OF_RANGE = 1


@pytest.mark.reliability("F23")
async def test_records_that_retention_deleted_unread_are_said_and_the_rest_is_read() -> None:
    async with mocked(1, records=20, batches=4) as (cluster, frames):
        await commit_beforehand(frames.bootstrap_servers, {ONE: 3})
        cluster.delete_until(*ONE, 10)
        async with reading(quick(frames.bootstrap_servers)) as reader:
            await reader.until_read({ONE: 10})
            assert reader.gaps == [OffsetRange(ONE, 3, 10)]
            assert reader.starts == {ONE: StartOffset(10, 3)}
            assert reader.offsets(ONE) == list(range(10, 20))


@pytest.mark.reliability("F23")
async def test_the_engine_says_the_gap_aloud_and_goes_on_behind_it() -> None:
    async with mocked(1) as (cluster, frames):
        await publish(frames.bootstrap_servers, {ONE: 20}, batches=4, value=event_value)
        await commit_beforehand(frames.bootstrap_servers, {ONE: 3})
        cluster.delete_until(*ONE, 10)
        async with running(quick(frames.bootstrap_servers)) as member:
            await member.until(lambda: member.committed == {ONE: 20})
            assert member.store.events == {(session_of(ONE), f"e-{n}") for n in range(10, 20)}
            (line,) = member.said("records_deleted_unread")
            assert (line["first"], line["end"], line["log_level"]) == (3, 10, "error")
            labels = {"topic": TOPIC, "partition": "0"}
            assert member.metrics.sample("consumer_records_lost_total", **labels) == 7


@pytest.mark.reliability("F23")
async def test_a_log_that_was_cut_back_is_read_from_its_beginning_and_said() -> None:
    async with (
        mocked(1, records=20) as (_, frames),
        reading(quick(frames.bootstrap_servers)) as reader,
    ):
        await reader.until_read({ONE: 20})
        frames.edit(Api.LIST_OFFSETS, ending_at(15))
        frames.edit(Api.FETCH, refusing(OFFSET_OUT_OF_RANGE, ONE), times=1)
        await reader.until_read({ONE: 40})
        assert reader.resets == [LogReset(ONE, 20, 0)]
        assert reader.offsets(ONE) == [*range(20), *range(20)]


@pytest.mark.reliability("F52")
async def test_a_broker_that_is_mistaken_about_the_end_of_a_log_moves_nothing_down() -> None:
    async with (
        mocked(1, records=20) as (_, frames),
        running(quick(frames.bootstrap_servers)) as member,
    ):
        await member.until(lambda: member.committed == {ONE: 20})
        frames.edit(Api.FETCH, refusing(OFFSET_OUT_OF_RANGE, ONE), times=1)
        await publish_events(frames.bootstrap_servers, {ONE: 5}, first=20)
        await member.until(lambda: member.committed == {ONE: 25})
        assert member.seen.resets == []
        assert [offsets[ONE] for offsets in member.seen.commits] == [20, 25]


@pytest.mark.reliability("F24")
async def test_where_no_offset_is_committed_any_more_reading_begins_at_the_oldest_record() -> None:
    async with mocked(1, records=20, batches=4) as (cluster, frames):
        cluster.delete_until(*ONE, 10)
        async with reading(quick(frames.bootstrap_servers)) as reader:
            await reader.until_read({ONE: 10})
            assert reader.starts == {ONE: StartOffset(10, None)}
            assert reader.gaps == []
            assert reader.offsets(ONE) == list(range(10, 20))


def settings_for(bootstrap_servers: str, *topics: str) -> Settings:
    return Settings(
        kafka=quick(bootstrap_servers, topics=topics),
        dead_letters=DeadLetterSettings(topic="letters"),
    )


@pytest.mark.parametrize(
    ("there", "complaint"),
    [
        ({"letters": 1, "sessions": 6}, "topic events: does not exist"),
        ({"sessions": 6, "events": 6}, "dead-letter topic letters: does not exist"),
    ],
)
@pytest.mark.reliability("F25")
async def test_missing_topics_are_refused_at_the_start_with_a_fix(
    there: dict[str, int], complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OpenStore, "run_preflight", lambda _: pytest.fail("it must not get so far"))
    with mock_cluster(there) as cluster:
        settings = settings_for(cluster.bootstrap_servers, "sessions", "events")
        observer = EngineObserver(Metrics(), Health(), settings.kafka)
        with pytest.raises(PreconditionError, match=complaint) as refusal:
            async with app.open_resources(settings, observer):
                pytest.fail("it must not open")
        assert "fix: consumer init" in str(refusal.value)
        assert ", or kafka-topics.sh" in str(refusal.value)
        topics, _ = await wiring.preflight_kafka(settings)
        assert topics.keys() == there.keys()


@pytest.mark.real_kafka
@pytest.mark.reliability("F25")
async def test_partitions_that_are_added_are_read_from_their_first_record(
    kafka_bootstrap_servers: str, unique_name: str
) -> None:
    first, added = (TopicPartition(unique_name, number) for number in range(2))
    await create_topics(kafka_bootstrap_servers, unique_name, partitions=1)
    await publish_events(kafka_bootstrap_servers, {first: 10})
    kafka = quick(
        kafka_bootstrap_servers, topics=(unique_name,), group_id=unique_name, session_timeout=6.0
    )
    async with running(kafka) as member:
        await member.until(lambda: member.committed == {first: 10})
        admin = AIOKafkaAdminClient(bootstrap_servers=kafka_bootstrap_servers)
        await admin.start()
        await admin.create_partitions({unique_name: NewPartitions(2)})
        await admin.close()
        await publish_events(kafka_bootstrap_servers, {added: 10})
        await member.consumer._client.force_metadata_update()  # it does so every five minutes
        await member.until(lambda: member.committed == {first: 10, added: 10})
        assert member.store.events == event_keys({first: 10, added: 10})
        assert member.seen.assignments[-1][0] == {first, added}


@pytest.mark.reliability("F28")
async def test_what_an_open_transaction_holds_back_is_lag_and_no_stall() -> None:
    async with mocked(1) as (_, frames):
        await publish_events(frames.bootstrap_servers, {ONE: 5})
        frames.edit(Api.FETCH, held_back(3))
        async with running(quick(frames.bootstrap_servers), stall_after=0.8) as member:
            await member.until(lambda: member.committed == {ONE: 5})
            await member.until(lambda: bool(member.seen.hanging_transactions))
            await member.last(0.5)
            assert member.seen.hanging_transactions == [(ONE, 5)]
            assert member.seen.lags[ONE] == 3
            assert member.seen.stalls == []
            assert not member.health.unhealthy_reasons()


@pytest.mark.real_kafka
@pytest.mark.reliability("F28")
async def test_what_a_transaction_has_aborted_is_never_seen_and_its_markers_are_no_lag(
    kafka_bootstrap_servers: str, unique_name: str
) -> None:
    partition = TopicPartition(unique_name, 0)
    await create_topics(kafka_bootstrap_servers, unique_name, partitions=1)
    async with transactions(kafka_bootstrap_servers, unique_name) as transaction:
        await transaction.send(partition, [event_value(partition, n) for n in range(3)])
        await transaction.commit()
        await transaction.send(partition, [event_value(partition, n) for n in range(3, 6)])
        await transaction.abort()
        await transaction.send(partition, [event_value(partition, n) for n in range(6, 9)])
        await transaction.commit()
    kafka = quick(
        kafka_bootstrap_servers, topics=(unique_name,), group_id=unique_name, session_timeout=6.0
    )
    async with running(kafka, stall_after=2.0) as member:
        await member.until(lambda: member.committed == {partition: 12})
        session = session_of(partition)
        assert member.store.events == {(session, f"e-{n}") for n in (0, 1, 2, 6, 7, 8)}
        # Three records, a marker, three aborted, a marker, three records, and a last marker.
        await member.until(lambda: member.seen.lags.get(partition) == 0)
        await member.last(2.3)
        assert member.seen.stalls == []


@pytest.mark.real_kafka
@pytest.mark.reliability("F47")
async def test_a_topic_made_again_under_a_running_member_is_read_from_its_first_record(
    kafka_bootstrap_servers: str, unique_name: str
) -> None:
    partition = TopicPartition(unique_name, 0)
    kafka = quick(
        kafka_bootstrap_servers,
        topics=(unique_name,),
        group_id=unique_name,
        session_timeout=6.0,
        metadata_max_age=1.0,
    )
    await create_topics(kafka_bootstrap_servers, unique_name, partitions=1)
    await publish_events(kafka_bootstrap_servers, {partition: 10})
    async with running(kafka) as member:
        await member.until(lambda: member.committed == {partition: 10})
        await make_again(kafka_bootstrap_servers, unique_name)
        # More than the old log had, before anybody can notice.
        await publish_events(kafka_bootstrap_servers, {partition: 60}, first=1000)
        await member.until(lambda: bool(member.seen.resets))
        expected = {(session_of(partition), f"e-{n}") for n in [*range(10), *range(1000, 1060)]}
        await member.until(lambda: member.store.events == expected)
        assert [reset.found for reset in member.seen.resets] == [0]
        await member.until(member.is_ready)


@pytest.mark.real_kafka
@pytest.mark.reliability("F47")
async def test_a_topic_that_comes_back_is_read_and_until_then_nobody_is_ready(
    kafka_bootstrap_servers: str, unique_name: str
) -> None:
    topics = (unique_name, f"{unique_name}-b")
    gone, other = TopicPartition(topics[0], 0), TopicPartition(topics[1], 0)
    kafka = quick(
        kafka_bootstrap_servers,
        topics=topics,
        group_id=unique_name,
        session_timeout=6.0,
        metadata_max_age=1.0,
    )
    await create_topics(kafka_bootstrap_servers, *topics, partitions=1)
    await publish_events(kafka_bootstrap_servers, {gone: 5, other: 5})
    async with running(kafka) as member:
        await member.until(lambda: member.committed == {gone: 5, other: 5})
        await publish_events(kafka_bootstrap_servers, {gone: 2, other: 2}, first=5)
        await delete_topic(kafka_bootstrap_servers, topics[0])
        await member.until(lambda: member.seen.missing == (topics[0],))
        assert topics[0] in str(member.health.unready_reasons())
        # The others go on meanwhile, and are committed.
        await publish_events(kafka_bootstrap_servers, {other: 3}, first=7)
        await member.until(lambda: member.committed[other] == 10, seconds=8.0)
        await create_topics(kafka_bootstrap_servers, topics[0], partitions=1)
        await publish_events(kafka_bootstrap_servers, {gone: 8}, first=1000)
        await member.until(lambda: member.committed[gone] == 8)
        await member.until(member.is_ready)
        assert member.seen.missing == ()


@pytest.mark.real_kafka
@pytest.mark.reliability("F49")
async def test_a_log_of_which_only_a_marker_was_left_is_deleted_and_nothing_is_lost(
    kafka_bootstrap_servers: str, unique_name: str
) -> None:
    partition = TopicPartition(unique_name, 0)
    kafka = quick(
        kafka_bootstrap_servers, topics=(unique_name,), group_id=unique_name, session_timeout=6.0
    )
    await create_topics(kafka_bootstrap_servers, unique_name, partitions=1)
    async with transactions(kafka_bootstrap_servers, unique_name) as transaction:
        await transaction.send(partition, [event_value(partition, n) for n in range(10)])
        await transaction.commit()
    async with running(kafka) as member:
        await member.until(lambda: member.committed == {partition: 11})
        await delete_records(kafka_bootstrap_servers, {partition: 11})
        await publish_events(kafka_bootstrap_servers, {partition: 1}, first=11)
        await member.until(lambda: member.committed == {partition: 12})
        assert member.seen.gaps == []
    async with running(kafka) as again:
        await publish_events(kafka_bootstrap_servers, {partition: 1}, first=12)
        await again.until(lambda: again.committed == {partition: 13})
        assert again.seen.gaps == []


@pytest.mark.real_kafka
@pytest.mark.reliability("F28")
async def test_a_transaction_that_hangs_is_said_and_is_no_reason_to_restart(
    kafka_bootstrap_servers: str, unique_name: str
) -> None:
    partition = TopicPartition(unique_name, 0)
    await create_topics(kafka_bootstrap_servers, unique_name, partitions=1)
    await publish_events(kafka_bootstrap_servers, {partition: 5})
    kafka = quick(
        kafka_bootstrap_servers, topics=(unique_name,), group_id=unique_name, session_timeout=6.0
    )
    async with running(kafka, stall_after=0.8) as member:
        await member.until(lambda: member.committed == {partition: 5})
        async with transactions(kafka_bootstrap_servers, unique_name) as transaction:
            await transaction.send(partition, [event_value(partition, n) for n in range(5, 8)])
            await member.until(lambda: member.seen.hanging_transactions == [(partition, 5)])
            labels = {"topic": unique_name, "partition": "0"}
            behind = member.metrics.sample("consumer_records_behind_open_transaction", **labels)
            assert behind == 3
            assert member.seen.lags[partition] == 3
            assert member.seen.stalls == []
            assert not member.health.unhealthy_reasons()
            assert len(member.said("transaction_hangs")) == 1
            await transaction.abort()
        # An abort is acknowledged before its marker is in the log; what follows must come after it.
        await member.until(lambda: member.seen.behind_transactions[partition] == 0)
        await publish_events(kafka_bootstrap_servers, {partition: 1}, first=8)
        await member.until(lambda: member.committed == {partition: 10})
        assert (session_of(partition), "e-5") not in member.store.events
