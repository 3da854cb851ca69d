"""Members with an instance id: a restart moves nothing, of two processes with one id one ends."""

from __future__ import annotations

import asyncio
import signal

import pytest

from consumer.errors import ExitCode
from producer_tools.conversations import small_set
from tests.e2e.bookkeeping import settled_spans
from tests.e2e.environment import PARTITIONS, Environment
from tests.e2e.processes import Fleet, Service
from tests.faults.exact import assert_exact
from tests.model import Sent
from tests.servers.topics import add_partitions

pytestmark = [pytest.mark.real_kafka, pytest.mark.slow]

SESSIONS = 200
PORTION = 200
MEMBERS = 3
LONG_SESSION: dict[str, object] = {"kafka.session_timeout": 20.0, "engine.max_poll_records": 50}


def revocations(service: Service) -> int:
    """How often partitions were taken from it; joining for the first time is told as one."""
    return len(service.said("partitions_revoked"))


def assigned(service: Service) -> list[str]:
    """What it was given last."""
    names: list[str] = service.said("partitions_assigned")[-1]["partitions"]
    return names


async def started(fleet: Fleet, number: int) -> Service:
    """Start the member of that number, and wait for its partitions."""
    name = f"consumer-{number}"
    service = await fleet.start(settings={**LONG_SESSION, "kafka.group_instance_id": name})
    await fleet.said(service, "partitions_assigned")
    return service


async def start_members(fleet: Fleet) -> list[Service]:
    """Start them, and wait until the partitions of both topics are shared among all."""
    members = [await started(fleet, number) for number in range(MEMBERS)]
    share = 2 * PARTITIONS // MEMBERS
    await fleet.until(
        lambda: all(len(assigned(member)) == share for member in members),
        "every member has its share",
    )
    return members


async def publish_slowly(stop: asyncio.Event, environment: Environment, seed: int) -> list[Sent]:
    """Send messages in portions, the last of them when ``stop`` is set."""
    sent: list[Sent] = []
    messages = list(small_set(seed, SESSIONS))
    for start in range(0, len(messages), PORTION):
        sent += await environment.publish(messages[start : start + PORTION])
        if not stop.is_set():
            await asyncio.wait([asyncio.ensure_future(stop.wait())], timeout=0.5)
    return sent


@pytest.mark.reliability("A16")
async def test_restarting_each_member_in_turn_takes_no_partition_from_the_others(
    environment: Environment, fleet: Fleet, seed: int
) -> None:
    members = await start_members(fleet)
    stop = asyncio.Event()
    publishing = asyncio.create_task(publish_slowly(stop, environment, seed))
    await fleet.said(members[0], "batch_settled")
    before = {member.name: revocations(member) for member in members}
    for number, old in enumerate(members):
        assert await fleet.stopped(old) == ExitCode.DONE
        assert revocations(old) == before.pop(old.name)
        members[number] = await started(fleet, number)
        before[members[number].name] = revocations(members[number])
        assert assigned(members[number]) == assigned(old)
    stop.set()
    sent = await publishing
    total = sum((await environment.ends(environment.sessions, environment.events)).values())
    await fleet.until(lambda: fleet.settled >= total, "all is read")
    assert {member.name: revocations(member) for member in members} == before
    for member in members:
        assert await fleet.stopped(member) == ExitCode.DONE
    await assert_exact(environment, sent, fleet)
    for spans in settled_spans(fleet.services).values():
        ends = [0, *(end for _, end in spans)]
        assert [first for first, _ in spans] == ends[:-1]  # nothing was settled twice


@pytest.mark.reliability("A16")
async def test_a_member_that_was_killed_and_comes_back_in_time_has_its_partitions_again(
    environment: Environment, fleet: Fleet, seed: int
) -> None:
    members = await start_members(fleet)
    before = [revocations(member) for member in members[1:]]
    sent = await environment.publish(small_set(seed, SESSIONS))
    await fleet.said(members[0], "batch_settled")
    members[0].signal(signal.SIGKILL)
    await fleet.ended(members[0])
    back = await started(fleet, 0)
    assert assigned(back) == assigned(members[0])
    assert [revocations(member) for member in members[1:]] == before
    for member in (back, *members[1:]):
        assert await fleet.stopped(member) == ExitCode.DONE
    last = await fleet.start(
        "--exit-when-caught-up", settings={"kafka.group_instance_id": "consumer-0"}
    )
    assert await fleet.ended(last, seconds=90) == ExitCode.DONE
    await assert_exact(environment, sent, fleet)


@pytest.mark.reliability("A16")
async def test_of_two_processes_with_one_instance_id_the_first_ends_and_says_why(
    fleet: Fleet,
) -> None:
    first = await started(fleet, 0)
    second = await started(fleet, 0)
    assert await fleet.ended(first) == ExitCode.FENCED
    (line,) = first.why.splitlines()
    assert "another process" in line
    assert "kafka.group_instance_id consumer-0" in line
    assert assigned(second) == assigned(first)
    assert await fleet.stopped(second) == ExitCode.DONE
    assert revocations(second) == 1


@pytest.mark.reliability("A16")
async def test_partitions_that_are_added_are_read_though_every_member_was_restarted(
    environment: Environment, fleet: Fleet
) -> None:
    members = await start_members(fleet)
    for number, old in enumerate(members):
        assert await fleet.stopped(old) == ExitCode.DONE
        members[number] = await started(fleet, number)
    more = PARTITIONS + MEMBERS
    await add_partitions(environment.kafka, environment.events, more)
    everything = PARTITIONS + more
    await fleet.until(
        lambda: sum(len(assigned(member)) for member in members) == everything,
        "the new partitions are shared, too",
    )
    for member in members:
        assert await fleet.stopped(member) == ExitCode.DONE


@pytest.mark.reliability("A16")
async def test_partitions_that_were_added_while_a_member_was_away_are_read(
    environment: Environment, fleet: Fleet
) -> None:
    alone = await started(fleet, 0)
    assert await fleet.stopped(alone) == ExitCode.DONE
    more = PARTITIONS + 1
    await add_partitions(environment.kafka, environment.events, more)
    back = await started(fleet, 0)
    await fleet.until(
        lambda: len(assigned(back)) == PARTITIONS + more, "the new partition is its own, too"
    )
    assert await fleet.stopped(back) == ExitCode.DONE
