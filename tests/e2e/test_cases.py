"""Cases from the field, from the broker to the documents and to the dead-letter topic.

All that lie in our two topics go through one consumer, each on a partition of its own.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from consumer.contract.dead_letter import NAMES, origin_of
from consumer.contract.record import Position, Record, TopicPartition
from consumer.state.outcomes import Outcome
from tests.cases.loader import case_names, expected, load_case
from tests.e2e.environment import Environment
from tests.e2e.processes import running_fleet
from tests.model import Document

pytestmark = pytest.mark.real_kafka

TOPICS = {"conversation.sessions", "conversation.events"}
CASES = [name for name in case_names() if TOPICS.issuperset(one.topic for one in load_case(name))]
LETTERED = {Outcome.DEAD_LETTERED, Outcome.CONFLICT}


@dataclass(frozen=True, slots=True)
class Aftermath:
    """What one consumer has made of all cases. ``sent``: each case's records where they lie."""

    sent: Mapping[str, Sequence[Record]]
    counted: Mapping[TopicPartition, Counter[str]]
    letters: Mapping[Position, Record]
    sessions: Sequence[Document]
    events: Sequence[Document]


@pytest.fixture(scope="module")
def kept() -> list[Aftermath]:
    """The one aftermath, once it is there."""
    return []


@pytest.fixture
def aftermath(
    kept: list[Aftermath], kafka_bootstrap_servers: str, mongodb_uri: str, tmp_path: Path
) -> Aftermath:
    if not kept:
        name = f"test-cases-{secrets.token_hex(4)}"
        environment = Environment(kafka_bootstrap_servers, mongodb_uri, name, partitions=len(CASES))
        kept.append(asyncio.run(_consume_all(environment, tmp_path)))
    return kept[0]


async def _consume_all(environment: Environment, directory: Path) -> Aftermath:
    await environment.create_topics()
    sent = {case: await _send(environment, case, place) for place, case in enumerate(CASES)}
    total = sum(map(len, sent.values()))
    async with running_fleet(environment.settings, directory) as fleet:
        service = await fleet.start(serves=True)
        await fleet.until(lambda: service.settled >= total, "every line is settled")
        counted = await service.counted()
        assert await fleet.stopped(service) == 0
    letters = {}
    for letter in await environment.dead_letters():
        info = origin_of(letter.headers)
        assert info is not None
        letters[info.origin] = letter
    sessions, events = await environment.documents()
    await environment.drop_database()
    await environment.delete_topics()
    return Aftermath(sent, counted, letters, sessions, events)


async def _send(environment: Environment, case: str, partition: int) -> list[Record]:
    topics = {
        "conversation.sessions": environment.sessions,
        "conversation.events": environment.events,
    }
    records = [
        record._replace(topic=topics[record.topic])
        for record in load_case(case, partition=partition)
    ]
    places = [position for position, _ in await environment.send(records, apart=True)]
    assert places == [record.position for record in records]
    return records


@pytest.mark.parametrize("case", CASES)
def test_a_case_ends_as_expected(aftermath: Aftermath, case: str) -> None:
    lines = list(zip(aftermath.sent[case], expected(case), strict=True))
    topics = {record.topic_partition for record, _ in lines}
    counted = sum((aftermath.counted[topic] for topic in topics), Counter[str]())
    assert counted == Counter(str(line.outcome) for _, line in lines)
    for record, line in lines:
        letter = aftermath.letters.get(record.position)
        assert (letter is not None) == (line.outcome in LETTERED), record.position
        if letter is not None:
            info = origin_of(letter.headers)
            assert info is not None
            assert info.reason in line.reasons or line.outcome is Outcome.CONFLICT
            assert (letter.key, letter.value) == (record.key, record.value)
            assert tuple(h for h in letter.headers if h[0] not in NAMES) == record.headers
            assert info.timestamp_ms == record.timestamp_ms
            assert info.detail


@pytest.mark.parametrize("case", CASES)
def test_every_applied_line_of_a_case_is_where_a_document_came_from_and_no_other(
    aftermath: Aftermath, case: str
) -> None:
    origins = [one["from"] for one in aftermath.events]
    names = ("createdFrom", "endedFrom")
    origins += [one[name] for one in aftermath.sessions for name in names if name in one]
    stored = {Position(one["topic"], one["partition"], one["offset"]) for one in origins}
    applied = {
        record.position
        for record, line in zip(aftermath.sent[case], expected(case), strict=True)
        if line.outcome is Outcome.APPLIED
    }
    assert stored & {record.position for record in aftermath.sent[case]} == applied
