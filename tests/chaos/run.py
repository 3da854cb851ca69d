"""A whole run: rounds for as long as is asked for, then the reckoning."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path

from consumer.contract.record import Position
from consumer.errors import ExitCode
from tests.chaos.checker import (
    Verdict,
    broker_problems,
    check_accounts,
    check_documents,
    check_gaps,
    sent_records,
)
from tests.chaos.fault import Fault
from tests.chaos.rounds import RECOVERY_BOUND, Course, play
from tests.chaos.schedule import rounds
from tests.chaos.servers import Servers
from tests.chaos.world import World, open_world
from tests.e2e.bookkeeping import metrics_problems
from tests.e2e.environment import reasons_of

ENDS = ("killed", "stopped", "stopped at the deadline")
END_SECONDS = 300.0
PASS_SECONDS = 900.0

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """``rate``: messages a second. ``only``: the faults to choose from."""

    seed: int
    minutes: float
    rate: float
    only: Sequence[Fault]


@dataclass(slots=True)
class Report:
    """What was done, what came of it, and what is wrong."""

    plan: Plan
    courses: list[Course] = field(default_factory=list)
    verdict: Verdict = field(default_factory=Verdict)


async def run(plan: Plan, servers: Servers, directory: Path, say: Say) -> Report:
    """Play rounds until the time is over, let everything end, and compare."""
    report = Report(plan)
    async with open_world(servers, plan.seed, plan.rate, directory) as world:
        producing = asyncio.create_task(world.producer.run())
        watching = asyncio.create_task(world.consumers.watch())
        try:
            await _rounds(world, report, say)
        finally:
            world.producer.stop()
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching
            await producing
        say("faults are over; waiting for the end of the topics")
        await _reckon(world, report, say)
    return report


async def _rounds(world: World, report: Report, say: Say) -> None:
    clock, plan = asyncio.get_running_loop().time, report.plan
    since = clock()
    within = takewhile(lambda _: clock() - since < plan.minutes * 60, rounds(plan.seed, plan.only))
    for one in within:
        course = await play(world, one, since)
        report.courses.append(course)
        say(str(course))
        if course.recovery is None:
            behind = await world.behind(world.producer.log.ends())
            report.verdict.add(
                "no progress",
                [f"round {one.number}: {behind} behind, {RECOVERY_BOUND:g} s after healing"],
            )


async def _reckon(world: World, report: Report, say: Say) -> None:
    verdict, environment, log = report.verdict, world.environment, world.producer.log
    await world.servers.restore()
    ends = await environment.ends(*world.topics)
    if await world.caught_up(ends, END_SECONDS) is None:
        verdict.add("no progress", [f"{await world.behind(ends)} behind at the end"])
    for service in world.consumers.members:
        verdict.add("metrics that differ from the log", await metrics_problems(service))
    for service in list(world.consumers.members):
        await world.consumers.stop(service)
    verdict.add("consumers that ended otherwise than they were told", world.consumers.problems)
    say("comparing every document")
    records = await environment.records(*world.topics)
    history = world.history
    there = [*records, *(kept.record for kept in history.records)]
    verdict.add("lost by the brokers", broker_problems(log, there))
    letters = reasons_of([*history.letters, *await environment.dead_letters()])
    sent = sent_records(log, records, history)
    documents = await environment.documents()
    await asyncio.to_thread(check_documents, verdict, sent, documents, letters)
    consumers = [one for one in world.fleet.services if one.said("partitions_assigned")]
    check_gaps(verdict, history, consumers, sent, documents, letters)
    check_accounts(verdict, consumers, ends, history)
    _count(world, verdict)
    await _second_opinions(world, verdict, say)


def _count(world: World, verdict: Verdict) -> None:
    log = world.producer.log
    verdict.counts |= {
        "sent": len(log.sent),
        "acknowledged": len(log.acknowledged),
        "processes": len(world.fleet.services),
        **{how: world.consumers.ends[how] for how in ENDS},
        "connections to the database cut": world.mongodb.cuts,
        "connections to brokers cut": sum(one.cuts for one in world.kafka.proxies),
        "most memory of a consumer, MiB": world.consumers.most_resident // 2**20,
    }


async def _second_opinions(world: World, verdict: Verdict, say: Say) -> None:
    """The consumer's own audit must agree, and another reading must change no byte."""
    say("auditing, and reading everything once more")
    patience = {"mongo.timeout": 60.0}
    with tempfile.NamedTemporaryFile(prefix="chaos-audit-", mode="r", encoding="utf-8") as emitted:
        command = ("-m", "consumer", "audit", "--emit", emitted.name)
        audit = await world.fleet.launch(*command, settings=patience)
        code = await world.fleet.ended(audit, seconds=PASS_SECONDS)
        problems = [json.loads(line) for line in emitted]
    # Where letters have expired, it cannot know of records of their time whether they had one.
    expected = {"unknown"} if world.history.letters else set()
    odd = [
        problem
        for problem in problems
        if problem["problem"] not in expected
        # What a topic's earlier log had stored names the same origin as a record of this one.
        if problem["problem"] != "altered"
        or not world.history.had(
            Position(problem["topic"], problem["partition"], problem["offset"])
        )
    ]
    verdict.add("found by the audit", [str(problem) for problem in odd])
    if code != (ExitCode.FOUND if problems else ExitCode.DONE):
        verdict.add("found by the audit", [audit.last_words()])
    before = await world.environment.digests()
    again = {"kafka.group_id": f"{world.environment.name}-again", **patience}
    reader = await world.fleet.start("--exit-when-caught-up", settings=again)
    code = await world.fleet.ended(reader, seconds=PASS_SECONDS)
    verdict.add("the second reading failed", [reader.last_words()] if code else [])
    after = await world.environment.digests()
    changed = before.items() ^ after.items()
    verdict.add("changed by reading again", sorted(name for name, _ in changed))
