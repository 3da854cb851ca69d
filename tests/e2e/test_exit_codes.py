"""Scripts rely on how the process ends: each documented exit code, seen from outside.

5 (the deadline passed) and 130 (a second signal) are seen in ``test_stopping``.
"""

from __future__ import annotations

import socket

import pytest
from pymongo import AsyncMongoClient

from consumer.contract.record import TopicPartition
from consumer.errors import ExitCode
from tests.builders import encoded, event
from tests.e2e.environment import Environment
from tests.e2e.processes import LOOPBACK, Fleet, free_port
from tests.faults.kafka.transactions import transactions
from tests.servers.topics import delete_records

pytestmark = pytest.mark.real_kafka

UNANSWERED = f"{LOOPBACK}:1"


async def test_0_when_it_was_asked_to_stop_and_had_nothing_left_to_do(fleet: Fleet) -> None:
    service = await fleet.start()
    await fleet.said(service, "partitions_assigned")
    assert await fleet.stopped(service) == ExitCode.DONE
    assert service.said("stopping", signal="SIGTERM")
    assert service.said("ended", end="stopped")


async def test_0_when_it_was_stopped_while_it_waited_for_servers(fleet: Fleet) -> None:
    service = await fleet.start(
        settings={"mongo.uri": f"mongodb://{UNANSWERED}", "mongo.timeout": 1.0}
    )
    await fleet.said(service, "waiting_for_server", server="MongoDB")
    assert await fleet.stopped(service) == ExitCode.DONE


@pytest.mark.reliability("F150")
async def test_0_when_it_has_caught_up_with_what_an_open_transaction_kept_from_it_said(
    environment: Environment, fleet: Fleet
) -> None:
    partition = TopicPartition(environment.events, 0)
    async with transactions(environment.kafka, environment.name) as transaction:
        await transaction.send(partition, [encoded(event("s", "e-1"))])
        await transaction.commit()
        await transaction.send(partition, [encoded(event("s", f"e-{n}")) for n in range(2, 5)])
        service = await fleet.start("--exit-when-caught-up")
        assert await fleet.ended(service) == ExitCode.DONE
        (line,) = service.said("open_transactions_not_awaited")
        assert (line["level"], line["offsets"]) == ("warning", {partition.name: 3})
        assert (await environment.committed())[partition] == 2
        await transaction.commit()
    whole = await fleet.start("--exit-when-caught-up")
    assert await fleet.ended(whole) == ExitCode.DONE
    assert not whole.said("open_transactions_not_awaited")


async def test_1_when_a_check_finds_something(environment: Environment, fleet: Fleet) -> None:
    missing = {"kafka.topics": f"{environment.name}.missing"}
    check = await fleet.launch("-m", "consumer", "check", settings=missing)
    assert await fleet.ended(check) == ExitCode.FOUND
    assert f"{environment.name}.missing" in "".join(check.words)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"engine.max_poll_records": 0}, "engine.max_poll_records"),
        ({"kafka.session_timeout": 1.0}, "kafka.session_timeout"),
        ({"log.format": "xml"}, "log.format"),
    ],
)
async def test_2_when_a_setting_is_wrong(
    fleet: Fleet, settings: dict[str, object], words: str
) -> None:
    service = await fleet.start(settings=settings)
    assert await fleet.ended(service) == ExitCode.USAGE
    assert words in service.why


async def test_2_when_an_option_is_unknown(fleet: Fleet) -> None:
    assert await fleet.ended(await fleet.start("--no-such-option")) == ExitCode.USAGE


async def test_3_when_a_topic_is_missing(environment: Environment, fleet: Fleet) -> None:
    service = await fleet.start(
        settings={"kafka.topics": f"{environment.events},{environment.name}.missing"}
    )
    assert await fleet.ended(service) == ExitCode.PRECONDITION
    assert f"{environment.name}.missing" in service.why
    assert not service.said("partitions_assigned")


@pytest.mark.parametrize(
    ("server", "address"),
    [
        ("MongoDB", {"mongo.uri": f"mongodb://{UNANSWERED}", "mongo.timeout": 0.5}),
        ("Kafka", {"kafka.bootstrap_servers": UNANSWERED}),
    ],
)
async def test_3_when_a_server_does_not_answer_in_time(
    fleet: Fleet, server: str, address: dict[str, object]
) -> None:
    service = await fleet.start(settings={"engine.startup_timeout": 1.0, **address})
    assert await fleet.ended(service) == ExitCode.PRECONDITION
    assert service.why.startswith(f"{server} did not answer")


async def test_3_when_the_port_of_its_metrics_is_taken(fleet: Fleet) -> None:
    with socket.create_server((LOOPBACK, free_port())) as taken:
        port = taken.getsockname()[1]
        service = await fleet.start(settings={"http.host": LOOPBACK, "http.port": port})
        assert await fleet.ended(service) == ExitCode.PRECONDITION
    assert "http.port" in service.why


@pytest.mark.reliability("F53")
async def test_3_when_the_groups_records_were_stored_elsewhere_until_that_is_a_wanted_move(
    environment: Environment, fleet: Fleet
) -> None:
    sent = await environment.publish([event("s", "e-1")])
    assert await fleet.ended(await fleet.start("--exit-when-caught-up")) == ExitCode.DONE
    elsewhere = {"mongo.database": f"{environment.name}-b"}
    refused = await fleet.start("--exit-when-caught-up", settings=elsewhere)
    assert await fleet.ended(refused) == ExitCode.PRECONDITION
    assert not refused.said("partitions_assigned")
    (line,) = refused.why.splitlines()
    assert f"{environment.name} (" in line
    assert f"{environment.name}-b (" in line
    check = await fleet.launch("-m", "consumer", "check", settings=elsewhere)
    assert await fleet.ended(check) == ExitCode.FOUND
    assert "has neither" in "".join(check.words)  # the start has made nothing there
    audit = await fleet.launch("-m", "consumer", "audit", settings=elsewhere)
    assert await fleet.ended(audit) == ExitCode.PRECONDITION
    assert audit.why.endswith(line)
    key = line.rpartition("mongo.moved_from=")[2].strip()
    try:
        moved = await fleet.start(
            "--exit-when-caught-up", settings={**elsewhere, "mongo.moved_from": key}
        )
        await fleet.said(moved, "partitions_assigned")
        assert await fleet.ended(moved) == ExitCode.DONE
        # The offset stands where it stood, and speaks of the new place.
        again = await fleet.start("--exit-when-caught-up", settings=elsewhere)
        assert await fleet.ended(again) == ExitCode.DONE
        position = sent[0].position
        committed = await environment.committed()
        assert committed[TopicPartition(position.topic, position.partition)] == 1
    finally:
        async with AsyncMongoClient[dict[str, object]](environment.mongodb) as client:
            await client.drop_database(f"{environment.name}-b")


async def test_4_when_records_were_deleted_unread_and_the_settings_say_to_stop(
    environment: Environment, fleet: Fleet
) -> None:
    await environment.publish([event("s", "e-1")])
    assert await fleet.ended(await fleet.start("--exit-when-caught-up")) == ExitCode.DONE
    positions = [
        sent.position for sent in await environment.publish([event("s", "e-2"), event("s", "e-3")])
    ]
    last = positions[-1]
    partition = TopicPartition(last.topic, last.partition)
    await delete_records(environment.kafka, {partition: last.offset})

    service = await fleet.start(settings={"kafka.on_gap": "stop"})
    assert await fleet.ended(service) == ExitCode.INCIDENT
    assert service.said("records_deleted_unread", records=1)
    assert (await environment.committed())[partition] == positions[0].offset

    follower = await fleet.start("--exit-when-caught-up", settings={"kafka.on_gap": "continue"})
    assert await fleet.ended(follower) == ExitCode.DONE
    _, events = await environment.documents()
    assert {one["eventId"] for one in events} == {"e-1", "e-3"}


BROKEN_TASK = """
from consumer.engine.watchdog import Watchdog
async def broken(self):
    raise ZeroDivisionError("sess-secret")
Watchdog.run = broken
"""
BROKEN_ENGINE = """
from consumer.engine.pipeline import Pipeline
async def broken(self, batch):
    raise ZeroDivisionError("sess-secret")
Pipeline.process = broken
"""


@pytest.mark.parametrize("defect", [BROKEN_TASK, BROKEN_ENGINE])
async def test_6_when_a_task_of_its_own_dies_which_the_log_names_without_quoting_data(
    environment: Environment, fleet: Fleet, defect: str
) -> None:
    await environment.publish([event("sess-secret")])
    code = f"{defect}\nfrom consumer.cli import main\nmain()"
    service = await fleet.launch("-c", code, "run")
    assert await fleet.ended(service) == ExitCode.TASK_DIED
    (died,) = service.said("died")
    assert "ZeroDivisionError" in died["failure"]
    assert "in broken" in died["failure"]
    assert "sess-secret" not in "\n".join(service.words) + str(service.lines)
    assert "Traceback" not in "\n".join(service.words)
    assert await environment.committed() == {}
