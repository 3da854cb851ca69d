"""What each command must be granted on the brokers, as docs/grants.md lists it."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from confluent_kafka.admin._acl import AclOperation
from confluent_kafka.admin._resource import ResourceType
from pymongo import AsyncMongoClient

from consumer.contract.dead_letter import dead_letter
from consumer.contract.record import Record
from consumer.contract.rejection import Reason, Rejected
from consumer.errors import ExitCode
from consumer.settings.model import KafkaSettings
from consumer.settings.sources import environment_name
from tests.builders import created, encoded, event
from tests.faults.kafka.access import Access
from tests.integration.replay.conftest import Log, empty_log
from tests.integration.replay.logs import home_of
from tests.servers.topics import create_topics

__all__ = ["empty_log"]

pytestmark = [pytest.mark.real_kafka, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
SECONDS = 25.0
"""How soon a command must name what it lacks; reading gives up only after a minute."""

CONSUMER, TOOLS = "consumer", "producer_tools"
PASSWORD = "right"

TOPICS, LETTERS, STATE, PARKING, GROUP = "topics", "letters", "state", "parking", "group"
"""What grants are about: the topics that are read, the dead letters, what was redriven of them
(…\u200b.redriven), those parked, and the group."""

Grant = tuple[str, str]
READ, WRITE, DESCRIBE = "READ", "WRITE", "DESCRIBE"

RUNNING: tuple[Grant, ...] = ((TOPICS, READ), (LETTERS, WRITE), (GROUP, READ))
LOOKING: tuple[Grant, ...] = ((TOPICS, READ), (LETTERS, READ), (GROUP, READ))
NEEDS: dict[tuple[str, ...], tuple[Grant, ...]] = {
    (CONSUMER, "run", "--exit-when-caught-up"): RUNNING,
    (CONSUMER, "check"): RUNNING,
    (CONSUMER, "init"): tuple((about, DESCRIBE) for about in (TOPICS, LETTERS, STATE, PARKING)),
    (CONSUMER, "status"): ((TOPICS, READ), (GROUP, READ)),
    (CONSUMER, "audit"): LOOKING,
    (CONSUMER, "explain", "s"): LOOKING,
    (CONSUMER, "replay", "--all"): ((TOPICS, READ), (LETTERS, WRITE)),
    (CONSUMER, "dead-letters", "list"): ((LETTERS, READ), (STATE, READ)),
    (CONSUMER, "dead-letters", "redrive"): (
        (LETTERS, READ), (STATE, READ), (STATE, WRITE), (TOPICS, WRITE), (PARKING, WRITE),
    ),
    (CONSUMER, "dead-letters", "discard", "--everything", "--because", "a test"): (
        (LETTERS, READ), (STATE, READ), (STATE, WRITE),
    ),
    (TOOLS, "generate", "--sessions", "1", "--to", "kafka"): ((TOPICS, WRITE),),
}  # fmt: skip
IDS = {command: " ".join(command[1:3]) for command in NEEDS}


@dataclass(frozen=True, slots=True)
class User:
    """One who may do what is granted, and nothing else."""

    access: Access
    kafka: KafkaSettings
    log: Log

    def names(self, about: str) -> Sequence[str]:
        return {
            TOPICS: self.log.topics,
            LETTERS: (self.log.letters,),
            STATE: (f"{self.log.letters}.redriven",),
            PARKING: (f"{self.log.name}.parking",),
            GROUP: (self.log.name,),
        }[about]

    async def allow(self, *grants: Grant) -> None:
        for about, operation in grants:
            kind = ResourceType.GROUP if about == GROUP else ResourceType.TOPIC
            for name in self.names(about):
                await self.access.allow(kind, name, AclOperation[operation])

    async def ends(self, command: tuple[str, ...]) -> tuple[int, str]:
        """Run the command as this user; return its exit code and what it said."""
        security = self.kafka.security
        settings = {
            "kafka.bootstrap_servers": ",".join(self.kafka.bootstrap_servers),
            "kafka.topics": ",".join(self.log.topics),
            "kafka.group_id": self.log.name,
            "kafka.security.protocol": security.protocol.value,
            "kafka.security.ca_file": security.ca_file,
            "kafka.security.username": self.log.name,
            "kafka.security.password": PASSWORD,
            "dead_letters.topic": self.log.letters,
            "dead_letters.parking_topic": f"{self.log.name}.parking",
            "mongo.uri": self.log.uri,
            "mongo.database": f"{self.log.name}-a",
        }
        given = {environment_name(name): str(value) for name, value in settings.items()}
        topics = ("--sessions-topic", self.log.topics[0], "--events-topic", self.log.topics[1])
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", *command, *(topics if command[1] == "generate" else ())),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=os.environ | given | {"COLUMNS": "200"},
            cwd=ROOT,
        )
        try:
            async with asyncio.timeout(SECONDS):
                said, _ = await process.communicate()
        except TimeoutError:
            process.kill()
            await process.wait()
            raise AssertionError(f"{command} hangs") from None
        assert process.returncode is not None
        return process.returncode, said.decode()


async def send_letters(log: Log) -> None:
    """Send one that is to go back, and one that has come back so often that it is parked."""
    producer = AIOKafkaProducer(bootstrap_servers=log.servers)
    await producer.start()
    for offset, attempts in ((0, b"0"), (1, b"7")):
        place = Record(
            topic=log.topics[1],
            partition=0,
            offset=offset,
            timestamp_ms=int(time.time() * 1000),
            key=b"s",
            value=encoded(event("s", "e")),
            headers=(("dlq-attempt", attempts),),
        )
        letter = dead_letter(
            place,
            Rejected(Reason.INVALID, "a test"),
            group=log.name,
            failed_at=datetime.now(UTC),
            consumer_version="test",
        )
        await producer.send_and_wait(
            log.letters, letter.value, letter.key, headers=list(letter.headers)
        )
    await producer.stop()


@pytest.fixture
async def user(secured_kafka: KafkaSettings, kafka_bootstrap_servers: str, empty_log: Log) -> User:
    access = Access(kafka_bootstrap_servers, empty_log.name)
    await access.password(PASSWORD)
    parking, state = f"{empty_log.name}.parking", f"{empty_log.letters}.redriven"
    await create_topics(kafka_bootstrap_servers, parking, partitions=1)
    await create_topics(
        kafka_bootstrap_servers, state, partitions=1, configs={"cleanup.policy": "compact"}
    )
    home = home_of("s")
    await empty_log.publish((empty_log.topics[0], home, b"s", encoded(created("s"))))
    await send_letters(empty_log)
    async with AsyncMongoClient[Any](empty_log.uri) as client:
        # A check would take an empty database for a mistyped one.
        await client[f"{empty_log.name}-a"].create_collection("conversation_events")
    return User(access, secured_kafka, empty_log)


@pytest.mark.parametrize("command", NEEDS, ids=IDS.get)
@pytest.mark.reliability("F67")
async def test_a_command_can_do_its_work_with_the_grants_that_are_documented(
    user: User, command: tuple[str, ...]
) -> None:
    await user.allow(*NEEDS[command])
    code, said = await user.ends(command)
    # Nobody has consumed yet: a record is missing, and there is no such group.
    finds = command[1] in {"audit", "status", "explain"}
    assert code in {ExitCode.DONE, ExitCode.FOUND if finds else ExitCode.DONE}, said
    assert "not authorized" not in said


@pytest.mark.parametrize(
    ("command", "missing"),
    [
        pytest.param(command, grant, id=f"{IDS[command]} without {' '.join(grant)}")
        for command, needs in NEEDS.items()
        for grant in needs
    ],
)
@pytest.mark.reliability("F67")
async def test_a_grant_that_is_missing_is_named_at_once(
    user: User, command: tuple[str, ...], missing: Grant
) -> None:
    await user.allow(*(grant for grant in NEEDS[command] if grant != missing))
    code, said = await user.ends(command)
    assert code == (ExitCode.FOUND if command[1] == "check" else ExitCode.PRECONDITION), said
    about, _ = missing
    assert any(name in said for name in user.names(about)), said
    assert "authorized" in said


@pytest.mark.reliability("F67")
async def test_a_check_fails_where_the_group_may_be_described_and_not_joined(user: User) -> None:
    command = (CONSUMER, "check")
    await user.allow(*(grant for grant in NEEDS[command] if grant != (GROUP, READ)))
    await user.allow((GROUP, DESCRIBE))
    code, said = await user.ends(command)
    assert code == ExitCode.FOUND, said
    assert "not authorized to join" in said
    assert f"grant READ on group {user.log.name}" in said
