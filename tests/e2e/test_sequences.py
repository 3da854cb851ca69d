"""Cases from the field that are a sequence of steps, told in ``tests/cases/inputs``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from pymongo import AsyncMongoClient

from consumer.contract.dead_letter_headers import origin_of
from consumer.contract.record import Record
from consumer.contract.rejection import Reason
from consumer.errors import ExitCode
from consumer.state.outcomes import Outcome
from tests.builders import event
from tests.cases.loader import load_case
from tests.e2e.processes import NONE, Fleet, Service
from tests.e2e.sites import Site, reasons_of
from tests.servers.topics import create_topics

pytestmark = pytest.mark.real_kafka


def case(site: Site, name: str) -> list[Record]:
    return [replace(record, topic=site.events) for record in load_case(name)]


async def caught_up(fleet: Fleet, settings: Mapping[str, object] = NONE) -> Service:
    service = await fleet.start("--exit-when-caught-up", settings=settings)
    assert await fleet.ended(service) == ExitCode.DONE
    return service


async def redriven(fleet: Fleet, *options: str) -> None:
    tool = ("-m", "producer_tools", "dead-letters", "redrive")
    assert await fleet.ended(await fleet.launch(*tool, *options)) == ExitCode.DONE


async def test_c14_a_letter_that_is_sent_back_keeps_its_time_and_a_second_time_changes_nothing(
    site: Site, fleet: Fleet
) -> None:
    await site.send(case(site, "C14"))
    strict = await caught_up(fleet, settings={"kafka.key_policy": "dead_letter"})
    assert strict.outcomes() == {Outcome.DEAD_LETTERED: 1}
    (letter,) = await site.dead_letters()
    info = origin_of(letter.headers)
    assert info is not None
    assert (info.reason, info.timestamp_ms) == (Reason.KEY_MISMATCH, 1772618400000)

    await redriven(fleet)
    assert (await caught_up(fleet)).outcomes() == {Outcome.APPLIED: 1}
    before = await site.digests()
    _, (stored,) = await site.documents()
    assert stored["timestamp"] == datetime(2026, 3, 4, 10, tzinfo=UTC)

    await redriven(fleet, "--again")
    assert (await caught_up(fleet)).outcomes() == {Outcome.DUPLICATE: 1}
    assert await site.digests() == before


async def test_c26_a_topic_that_begins_anew_proves_nothing_by_its_positions(
    site: Site, fleet: Fleet
) -> None:
    first, other = case(site, "C26")
    await site.send([first])
    assert (await caught_up(fleet)).outcomes() == {Outcome.APPLIED: 1}
    before = await site.digests()

    for record, outcome in ((other, Outcome.CONFLICT), (first, Outcome.REDELIVERED)):
        await _begin_anew(site, site.events)
        ((position, _),) = await site.send([replace(record, partition=first.partition)])
        assert position == first.position
        # Groups of names not used before stand for the one whose offsets were deleted.
        service = await caught_up(fleet, settings={"kafka.group_id": f"{site.name}-{outcome}"})
        assert service.outcomes() == {outcome: 1}
        assert await site.digests() == before
    assert reasons_of(await site.dead_letters()) == [(first.position, Reason.CONFLICT)]


async def _begin_anew(site: Site, topic: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=site.kafka)
    await admin.start()
    try:
        await admin.delete_topics([topic])
    finally:
        await admin.close()
    await create_topics(site.kafka, topic, partitions=site.partitions)


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
async def test_f35_c33_without_the_unique_index_nothing_is_consumed(
    site: Site,
    fleet: Fleet,
    documents: list[dict[str, Any]],
    index: dict[str, Any] | None,
    cause: str,
) -> None:
    await site.publish([event("s-c33", "e-2")])
    async with AsyncMongoClient[dict[str, Any]](site.mongodb) as client:
        events = client[site.name]["conversation_events"]
        if documents:
            await events.insert_many([dict(one) for one in documents])
        if index is not None:
            await events.create_index(KEYS, **index)
        before = await site.digests()
        service = await fleet.start()
        assert await fleet.ended(service) == ExitCode.PRECONDITION
        said = service.why
        assert "conversation_events" in said
        assert cause in said
        assert "s-c33" not in said
        assert not service.said("partitions_assigned")
        assert (await site.committed(), await site.digests()) == ({}, before)

        await events.drop()
    await caught_up(fleet)
    assert len((await site.documents())[1]) == 1


async def test_f56_a_unique_index_that_is_dropped_while_running_ends_the_run_at_an_assignment(
    site: Site, fleet: Fleet
) -> None:
    staying, leaving = await fleet.start(), await fleet.start()
    for service in (staying, leaving):
        await fleet.said(service, "partitions_assigned")
    async with AsyncMongoClient[dict[str, Any]](site.mongodb) as client:
        await client[site.name]["conversation_events"].drop_index("sessionId_1_eventId_1")
    # Its partitions go to the other one.
    await fleet.stopped(leaving)
    assert await fleet.ended(staying) == ExitCode.PRECONDITION
    assert "index sessionId_1_eventId_1 of conversation_events: is missing" in staying.why


async def test_f64_c54_what_a_run_warns_of_at_its_start_is_in_its_log(
    site: Site, fleet: Fleet
) -> None:
    await site.publish([event("s-c54", "e-1")])
    async with AsyncMongoClient[dict[str, Any]](site.mongodb) as client:
        events = client[site.name]["conversation_events"]
        await events.create_index({"timestamp": 1}, expireAfterSeconds=10**8)
        # As a run with mongo.retention_days has left it.
        await events.create_index({"expireAt": 1}, expireAfterSeconds=0)
        service = await caught_up(fleet)
    warned = {line["subject"]: line["message"] for line in service.said("precondition")}
    others = warned["index timestamp_1 of conversation_events"]
    assert "deletes documents by a rule that is not the service's" in others
    former = warned["index expireAt_1 of conversation_events"]
    assert "stored while mongo.retention_days was set" in former
    assert 'db.conversation_events.dropIndex("expireAt_1")' in former


async def test_c54_an_expiry_index_with_other_options_is_named_with_its_cure(
    site: Site, fleet: Fleet
) -> None:
    cases: list[dict[str, Any]] = [{"expireAfterSeconds": 3600}, {}]
    for options in cases:
        async with AsyncMongoClient[dict[str, Any]](site.mongodb) as client:
            events = client[site.name]["conversation_events"]
            await events.create_index({"expireAt": 1}, **options)
            service = await fleet.start(settings={"mongo.retention_days": 30})
            assert await fleet.ended(service) == ExitCode.PRECONDITION
            await events.drop_index("expireAt_1")
        assert "index expireAt_1 of conversation_events" in service.why
        assert "its expireAfterSeconds is not 0; cure: drop it" in service.why
        assert "expireAfterSeconds: 0" in service.why


@pytest.mark.parametrize("spelling", ["{letters}", " {letters} ", "{upper}"])
async def test_c36_a_dead_letter_topic_that_is_consumed_is_refused(
    site: Site, fleet: Fleet, spelling: str
) -> None:
    letters = spelling.format(letters=site.letters, upper=site.letters.upper())
    service = await fleet.start(
        settings={"kafka.topics": f"{site.sessions},{site.events},{letters}"}
    )
    assert await fleet.ended(service) == ExitCode.USAGE
    said = service.why
    assert "kafka.topics" in said
    assert "dead_letters.topic" in said


async def test_c36_a_letter_that_is_copied_back_by_hand_fails_once_more_for_each_copy(
    site: Site, fleet: Fleet
) -> None:
    await site.send(case(site, "C36"))
    await caught_up(fleet)
    (letter,) = await site.dead_letters()
    await site.send([replace(letter, topic=site.events)] * 3)
    assert (await caught_up(fleet)).outcomes() == {Outcome.DEAD_LETTERED: 3}
    infos = [origin_of(one.headers) for one in await site.dead_letters()]
    assert sorted(info.attempt for info in infos if info is not None) == [1, 2, 2, 2]


@pytest.mark.parametrize("mirror_first", [False, True], ids=["original first", "mirror first"])
async def test_c47_what_a_mirror_brings_again_is_a_duplicate_whichever_is_read_first(
    site: Site, fleet: Fleet, *, mirror_first: bool
) -> None:
    lines = load_case("C47")
    original = [replace(one, topic=site.events) for one in lines[:4]]
    mirror = [replace(one, topic=site.sessions) for one in lines[4:]]
    first, second = (mirror, original) if mirror_first else (original, mirror)
    again = len(first) - 4  # the mirror holds one event twice, with another stamp

    await site.send(first)
    expected = Counter({Outcome.APPLIED: 4, Outcome.DUPLICATE: again})
    assert (await caught_up(fleet)).outcomes() == +expected
    before = await site.digests()

    await site.send(second)
    assert (await caught_up(fleet)).outcomes() == {Outcome.DUPLICATE: len(second)}
    assert await site.digests() == before
    assert await site.dead_letters() == []
