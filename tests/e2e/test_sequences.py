"""Cases from the field that are a sequence of steps, told in ``tests/cases/inputs``."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from confluent_kafka import Producer
from pymongo import AsyncMongoClient

from consumer.contract.dead_letter import origin_of
from consumer.contract.record import Record
from consumer.contract.rejection import Reason
from consumer.errors import ExitCode
from consumer.state.outcomes import Outcome
from tests.builders import STAMPED_MS, encoded, event
from tests.cases.loader import load_case
from tests.e2e.environment import Environment, producing, reasons_of
from tests.e2e.processes import NONE, Fleet, Service
from tests.servers.topics import create_topics

pytestmark = pytest.mark.real_kafka


def case(environment: Environment, name: str) -> list[Record]:
    return [record._replace(topic=environment.events) for record in load_case(name)]


async def caught_up(fleet: Fleet, settings: Mapping[str, object] = NONE) -> Service:
    service = await fleet.start("--exit-when-caught-up", settings=settings)
    assert await fleet.ended(service) == ExitCode.DONE
    return service


async def redriven(fleet: Fleet, *options: str) -> None:
    tool = ("-m", "consumer", "dead-letters", "redrive")
    assert await fleet.ended(await fleet.launch(*tool, *options)) == ExitCode.DONE


async def test_c14_a_letter_that_is_sent_back_keeps_its_time_and_a_second_time_changes_nothing(
    environment: Environment, fleet: Fleet
) -> None:
    await environment.send(case(environment, "C14"))
    strict = await caught_up(fleet, settings={"kafka.key_policy": "dead_letter"})
    assert strict.outcomes() == {Outcome.DEAD_LETTERED: 1}
    (letter,) = await environment.dead_letters()
    info = origin_of(letter.headers)
    assert info is not None
    assert (info.reason, info.timestamp_ms) == (Reason.KEY_MISMATCH, 1772618400000)

    await redriven(fleet)
    assert (await caught_up(fleet)).outcomes() == {Outcome.APPLIED: 1}
    before = await environment.digests()
    _, (stored,) = await environment.documents()
    assert stored["timestamp"] == datetime(2026, 3, 4, 10, tzinfo=UTC)

    await redriven(fleet, "--again")
    assert (await caught_up(fleet)).outcomes() == {Outcome.DUPLICATE: 1}
    assert await environment.digests() == before


async def test_c26_a_topic_that_begins_anew_proves_nothing_by_its_positions(
    environment: Environment, fleet: Fleet
) -> None:
    first, other = case(environment, "C26")
    await environment.send([first])
    assert (await caught_up(fleet)).outcomes() == {Outcome.APPLIED: 1}
    before = await environment.digests()

    for record, outcome in ((other, Outcome.CONFLICT), (first, Outcome.REDELIVERED)):
        await _begin_anew(environment, environment.events)
        ((position, _),) = await environment.send([record._replace(partition=first.partition)])
        assert position == first.position
        # Groups of names not used before stand for the one whose offsets were deleted.
        service = await caught_up(
            fleet, settings={"kafka.group_id": f"{environment.name}-{outcome}"}
        )
        assert service.outcomes() == {outcome: 1}
        assert await environment.digests() == before
    assert reasons_of(await environment.dead_letters()) == [(first.position, Reason.CONFLICT)]


async def _begin_anew(environment: Environment, topic: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=environment.kafka)
    await admin.start()
    try:
        await admin.delete_topics([topic])
    finally:
        await admin.close()
    await create_topics(environment.kafka, topic, partitions=environment.partitions)


SAME = {"sessionId": "s-c33", "eventId": "e-1", "payload": {}}
KEYS = [("sessionId", 1), ("eventId", 1)]


@pytest.mark.parametrize(
    ("documents", "index", "cause"),
    [
        ([SAME, SAME], None, "same sessionId and eventId"),
        ([], {"name": "sessionId_1_eventId_1"}, "unique"),
        ([], {"unique": True, "partialFilterExpression": {"payload.kind": "x"}}, "partial"),
        ([], {"unique": True, "sparse": True}, "sparse"),
    ],
    ids=["doubles", "not unique", "partial", "sparse"],
)
@pytest.mark.reliability("F35")
async def test_c33_without_the_unique_index_nothing_is_consumed(
    environment: Environment,
    fleet: Fleet,
    documents: list[dict[str, Any]],
    index: dict[str, Any] | None,
    cause: str,
) -> None:
    await environment.publish([event("s-c33", "e-2")])
    async with AsyncMongoClient[dict[str, Any]](environment.mongodb) as client:
        events = client[environment.name]["conversation_events"]
        if documents:
            await events.insert_many([dict(one) for one in documents])
        if index is not None:
            await events.create_index(KEYS, **index)
        before = await environment.digests()
        service = await fleet.start()
        assert await fleet.ended(service) == ExitCode.PRECONDITION
        said = service.why
        assert "conversation_events" in said
        assert cause in said
        assert "s-c33" not in said
        assert not service.said("partitions_assigned")
        assert (await environment.committed(), await environment.digests()) == ({}, before)

        await events.drop()
    await caught_up(fleet)
    assert len((await environment.documents())[1]) == 1


@pytest.mark.reliability("F56")
async def test_a_unique_index_that_is_dropped_while_running_ends_the_run_at_an_assignment(
    environment: Environment, fleet: Fleet
) -> None:
    staying, leaving = await fleet.start(), await fleet.start()
    for service in (staying, leaving):
        await fleet.said(service, "partitions_assigned")
    async with AsyncMongoClient[dict[str, Any]](environment.mongodb) as client:
        await client[environment.name]["conversation_events"].drop_index("sessionId_1_eventId_1")
    # Its partitions go to the other one.
    await fleet.stopped(leaving)
    assert await fleet.ended(staying) == ExitCode.PRECONDITION
    assert "index sessionId_1_eventId_1 of conversation_events: is missing" in staying.why


@pytest.mark.reliability("F64")
async def test_c54_what_a_run_warns_of_at_its_start_is_in_its_log(
    environment: Environment, fleet: Fleet
) -> None:
    await environment.publish([event("s-c54", "e-1")])
    async with AsyncMongoClient[dict[str, Any]](environment.mongodb) as client:
        events = client[environment.name]["conversation_events"]
        await events.create_index({"timestamp": 1}, expireAfterSeconds=10**8)
        # As a run with mongo.retention_days has left it.
        await events.create_index({"expireAt": 1}, expireAfterSeconds=0)
        service = await caught_up(fleet)
    warned = {line["subject"]: line["message"] for line in service.said("precondition")}
    others = warned["index timestamp_1 of conversation_events"]
    assert "deletes documents by a rule that is not the service's" in others
    former = warned["index expireAt_1 of conversation_events"]
    assert "stored while mongo.retention_days was set" in former
    assert 'getCollection("conversation_events").dropIndex("expireAt_1")' in former


async def test_c54_an_expiry_index_with_other_options_is_named_with_its_fix(
    environment: Environment, fleet: Fleet
) -> None:
    cases: list[dict[str, Any]] = [{"expireAfterSeconds": 3600}, {}]
    for options in cases:
        async with AsyncMongoClient[dict[str, Any]](environment.mongodb) as client:
            events = client[environment.name]["conversation_events"]
            await events.create_index({"expireAt": 1}, **options)
            service = await fleet.start(settings={"mongo.retention_days": 30})
            assert await fleet.ended(service) == ExitCode.PRECONDITION
            await events.drop_index("expireAt_1")
        assert "index expireAt_1 of conversation_events" in service.why
        assert "its expireAfterSeconds is not 0; fix: drop it" in service.why
        assert '"expireAfterSeconds": 0' in service.why


DAY_MS = 24 * 3600 * 1000


async def test_c54_a_retention_is_changed_without_a_new_index_and_ended_with_a_word_about_the_old(
    environment: Environment, fleet: Fleet
) -> None:
    indexes, stamps = [], []
    async with AsyncMongoClient[dict[str, Any]](environment.mongodb) as client:
        events = client[environment.name]["conversation_events"]
        for number, days in enumerate(("30", "60", "")):
            (sent,) = await environment.publish([event("s-c54", f"e-{number}")])
            stamps.append(sent.timestamp_ms)
            settings = {"mongo.retention_days": days}
            run = await caught_up(fleet, settings=settings)
            indexes.append(await events.index_information())
    check = await fleet.launch("-m", "consumer", "check")
    assert await fleet.ended(check) == ExitCode.DONE

    assert indexes[0]["expireAt_1"]["expireAfterSeconds"] == 0
    assert indexes == indexes[:1] * 3
    _, stored = await environment.documents()
    expiries = [one.get("expireAt") for one in sorted(stored, key=lambda one: one["eventId"])]
    kept = [
        datetime.fromtimestamp(stamp / 1000, UTC) + timedelta(days=days)
        for stamp, days in zip(stamps, (30, 60), strict=False)
    ]
    assert expiries == [*kept, None]
    warned = {line["subject"]: line["message"] for line in run.said("precondition")}
    for collection in ("conversation_sessions", "conversation_events"):
        said = warned[f"index expireAt_1 of {collection}"]
        assert "deletes documents that were stored while mongo.retention_days was set" in said
        fix = f'getCollection("{collection}").dropIndex("expireAt_1")'
        assert fix in said
        assert fix in "".join(check.words)


async def test_c54_a_record_that_is_too_old_to_be_kept_is_told_from_a_tombstone(
    environment: Environment, fleet: Fleet
) -> None:
    now = time.time_ns() // 1_000_000
    old = environment.record_of(event("s-c54", "old"))
    days = (40, 20)
    records = [old._replace(timestamp_ms=now - n * DAY_MS, partition=0) for n in days]
    records[1] = records[1]._replace(value=encoded(event("s-c54", "new")))
    await environment.send([*records, old._replace(value=None, partition=0)])
    service = await caught_up(fleet, settings={"mongo.retention_days": 30})
    assert service.outcomes() == {Outcome.SKIPPED: 2, Outcome.APPLIED: 1}
    assert sum(line.get("expired", 0) for line in service.said("batch_settled")) == 1
    _, stored = await environment.documents()
    assert [one["eventId"] for one in stored] == ["new"]
    assert await environment.dead_letters() == []


NO_TIMES = [-1, -2, -62_135_596_800_000, -(2**63)]
"""Record timestamps that are none: that of no time, and the zero times of other clients."""


@pytest.mark.parametrize("days", ["", "30"], ids=["no retention", "retention"])
async def test_c40_a_record_timestamp_that_is_no_time_is_none_for_the_message_either(
    environment: Environment, fleet: Fleet, days: str
) -> None:
    async with producing(environment.kafka) as producer:
        for number, stamp in enumerate([*NO_TIMES, 0]):
            for message in (
                event("s-c40", f"own-{number}"),
                event("s-c40", f"none-{number}", timestamp=None),
            ):
                # The client looks at no stamp in a batch that it did not make up itself.
                batch = producer.create_batch()
                batch.append(key=b"s-c40", value=encoded(message), timestamp=stamp)
                await (await producer.send_batch(batch, environment.events, partition=0))
    service = await caught_up(fleet, settings={"mongo.retention_days": days})
    assert service.outcomes() == {Outcome.APPLIED: 6, Outcome.DEAD_LETTERED: 4}
    letters = [origin_of(letter.headers) for letter in await environment.dead_letters()]
    assert [(one.reason, one.timestamp_ms) for one in letters if one is not None] == [
        (Reason.INVALID, stamp) for stamp in NO_TIMES
    ]
    _, stored = await environment.documents()
    times = {one["eventId"]: one["timestamp"] for one in stored}
    assert times.keys() == {"none-4", *(f"own-{number}" for number in range(5))}
    assert times["none-4"] == datetime(1970, 1, 1, tzinfo=UTC)
    # Nobody can have sent a record in 1970 either: such a stamp decides nothing.
    assert not any("expireAt" in one for one in stored)
    doubtful = sum(line.get("doubtful_timestamps", 0) for line in service.said("batch_settled"))
    assert doubtful == (6 if days else 0)


CODECS = ("none", "gzip", "snappy", "lz4", "zstd")


async def test_c41_what_librdkafka_or_a_broker_has_compressed_is_read_whatever_the_codec(
    environment: Environment, fleet: Fleet
) -> None:
    again = {f"{environment.name}.{codec}": codec for codec in CODECS if codec != "none"}
    for topic, codec in again.items():
        await create_topics(environment.kafka, topic, configs={"compression.type": codec})
    for codec in CODECS:
        values = [encoded(event(f"s-{codec}", f"e-{n}", payload=LONG)) for n in range(300)]
        await asyncio.to_thread(_produce, environment.kafka, environment.events, values, codec)
    for topic, codec in again.items():
        values = [encoded(event(f"b-{codec}", f"e-{n}", payload=LONG)) for n in range(200)]
        sent_with = "lz4" if codec == "gzip" else "gzip"
        await asyncio.to_thread(_produce, environment.kafka, topic, values, sent_with)
    topics = ",".join([environment.events, *again])
    service = await caught_up(fleet, settings={"kafka.topics": topics})
    assert service.outcomes() == {Outcome.APPLIED: 300 * len(CODECS) + 200 * len(again)}


LONG = {"text": "What was said, at some length. " * 100}


def _produce(
    bootstrap_servers: str, topic: str, values: list[bytes], codec: str, partition: int = 0
) -> None:
    """Send the values by librdkafka, in as few batches as it makes of them."""
    producer = Producer(
        {
            "bootstrap.servers": bootstrap_servers,
            "compression.type": codec,
            "linger.ms": 200,
            "batch.size": 900_000,
            "log_level": 0,
        }
    )
    failed: list[Any] = []
    for value in values:
        producer.produce(
            *(topic, value, b"key", partition),
            on_delivery=lambda error, _: failed.append(error) if error else None,
        )
    assert producer.flush(30) == 0
    assert failed == []


@pytest.mark.slow
async def test_c41_a_batch_that_unpacks_to_too_much_stops_its_partition_until_it_may(
    environment: Environment, fleet: Fleet
) -> None:
    large = {"text": "What was said. " * 35_000}
    for partition, events in enumerate((40, 160)):
        session = f"s-{partition}"
        values = [encoded(event(session, f"e-{n}", payload=large)) for n in range(events)]
        await _send_batch(environment, partition, values)
        await _send_batch(environment, partition, [encoded(event(session, "behind"))])
    small, stopped = f"{environment.events}-0", f"{environment.events}-1"

    service = await fleet.start()
    found = await fleet.said(service, "partition_unreadable", partition=stopped)
    assert found["cause"] == "DecompressionLimitError"
    assert "0 to 159" in found["detail"]
    await fleet.until(lambda: service.settled == 41, f"{small} does not go on")
    assert await fleet.stopped(service) == ExitCode.DONE
    assert service.outcomes() == {Outcome.APPLIED: 41}
    assert len((await environment.documents())[1]) == 41

    more = await caught_up(fleet, settings={"kafka.max_decompressed_bytes": 200_000_000})
    assert more.outcomes() == {Outcome.APPLIED: 161}
    assert len((await environment.documents())[1]) == 202


async def _send_batch(environment: Environment, partition: int, values: list[bytes]) -> None:
    """Send all of the values in one batch, however large."""
    producer = AIOKafkaProducer(
        bootstrap_servers=environment.kafka,
        max_batch_size=100_000_000,
        max_request_size=100_000_000,
        compression_type="zstd",
    )
    async with producer:
        batch = producer.create_batch()
        for value in values:
            assert batch.append(key=b"key", value=value, timestamp=STAMPED_MS) is not None
        await (await producer.send_batch(batch, environment.events, partition=partition))


@pytest.mark.slow
async def test_c50_members_that_come_and_go_lose_nothing(
    environment: Environment, fleet: Fleet
) -> None:
    running = [await fleet.start() for _ in range(3)]
    over = asyncio.Event()
    flowing = asyncio.create_task(_flow(environment, over))
    for turn in range(10):
        await fleet.comes_true(lambda: False, 1.2)  # whatever they are doing by then
        if turn % 2:
            running.append(await fleet.start())
        else:
            await _asked_to_stop(fleet, running.pop(0))
    over.set()
    sent = await flowing
    for service in running:
        await _asked_to_stop(fleet, service)
    assert [await fleet.ended(service) for service in fleet.services] == [ExitCode.DONE] * 8
    await caught_up(fleet)
    audit = await fleet.launch("-m", "consumer", "audit")
    assert await fleet.ended(audit) == ExitCode.DONE
    assert len((await environment.documents())[1]) == sent


async def _asked_to_stop(fleet: Fleet, service: Service) -> None:
    """Send SIGTERM; not before the interpreter runs, which would die of it."""
    await fleet.said(service, "starting")
    service.signal(signal.SIGTERM)


async def _flow(environment: Environment, over: asyncio.Event) -> int:
    """Publish events of many sessions, some each tenth of a second; return how many in all."""
    sent = 0
    while not over.is_set():
        sent += len(await environment.publish(event(f"s-{sent}-{n}", "e") for n in range(20)))
        with suppress(TimeoutError):
            await asyncio.wait_for(over.wait(), 0.1)
    return sent


@pytest.mark.parametrize(
    "group",
    [" two words ", "größe", "ομάδα", "g" * 4000],
    ids=["spaces", "umlauts", "Greek", "4,000 characters"],
)
async def test_c38_a_group_may_have_every_name_that_kafka_takes(
    environment: Environment, fleet: Fleet, group: str
) -> None:
    await environment.publish([event("s-c38", "e")])
    settings = {"kafka.group_id": group}
    service = await caught_up(fleet, settings=settings)
    assert service.outcomes() == {Outcome.APPLIED: 1}
    assert sum((await environment.committed(group.strip())).values()) == 1


@pytest.mark.parametrize("spelling", ["{letters}", " {letters} ", "{upper}"])
async def test_c36_a_dead_letter_topic_that_is_consumed_is_refused(
    environment: Environment, fleet: Fleet, spelling: str
) -> None:
    letters = spelling.format(letters=environment.letters, upper=environment.letters.upper())
    service = await fleet.start(
        settings={"kafka.topics": f"{environment.sessions},{environment.events},{letters}"}
    )
    assert await fleet.ended(service) == ExitCode.USAGE
    said = service.why
    assert "kafka.topics" in said
    assert "dead_letters.topic" in said


async def test_c36_a_letter_that_is_copied_back_by_hand_fails_once_more_for_each_copy(
    environment: Environment, fleet: Fleet
) -> None:
    await environment.send(case(environment, "C36"))
    await caught_up(fleet)
    (letter,) = await environment.dead_letters()
    await environment.send([letter._replace(topic=environment.events)] * 3)
    assert (await caught_up(fleet)).outcomes() == {Outcome.DEAD_LETTERED: 3}
    infos = [origin_of(one.headers) for one in await environment.dead_letters()]
    assert sorted(info.attempt for info in infos if info is not None) == [1, 2, 2, 2]


@pytest.mark.parametrize("mirror_first", [False, True], ids=["original first", "mirror first"])
async def test_c47_what_a_mirror_brings_again_is_a_duplicate_whichever_is_read_first(
    environment: Environment, fleet: Fleet, *, mirror_first: bool
) -> None:
    lines = load_case("C47")
    original = [one._replace(topic=environment.events) for one in lines[:4]]
    mirror = [one._replace(topic=environment.sessions) for one in lines[4:]]
    first, second = (mirror, original) if mirror_first else (original, mirror)
    again = len(first) - 4  # the mirror holds one event twice, with another stamp

    await environment.send(first)
    expected = Counter({Outcome.APPLIED: 4, Outcome.DUPLICATE: again})
    assert (await caught_up(fleet)).outcomes() == +expected
    before = await environment.digests()

    await environment.send(second)
    assert (await caught_up(fleet)).outcomes() == {Outcome.DUPLICATE: len(second)}
    assert await environment.digests() == before
    assert await environment.dead_letters() == []
