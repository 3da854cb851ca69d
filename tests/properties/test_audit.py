"""An audit finds exactly what was deleted and altered, whatever came before: replays, expiry."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field

import bson
from hypothesis import event, given, settings
from hypothesis import strategies as st

from consumer.commands.audit.judging import DeadLetterIndex, RecordJudge
from consumer.commands.audit.problems import ProblemList
from consumer.commands.audit.verdicts import AuditResult, Identity
from consumer.commands.common.record_list import ListedRecord
from consumer.contract import dead_letter as names
from consumer.contract.decode import MAX_VALUE_BYTES
from consumer.contract.record import Position, Record, TopicPartition
from consumer.contract.rejection import Reason
from consumer.state.bson_compare import raw_document
from tests.builders import LETTERS, STAMPED_MS
from tests.fakes.collections import MemoryCollections
from tests.fakes.logs import MemoryLogs
from tests.properties.strategies import Message, delivered, messages
from tests.properties.writers import Writers
from tests.unit.commands.audit.test_judging import GROUP, letter

BAD = b"[object Object]"


class Life:
    """Records that were applied, once or more often, and what has been done to their traces."""

    def __init__(self, said: Sequence[Message | None]) -> None:
        """None stands for a record that can never be applied."""
        self.records = [_record(message, offset) for offset, message in enumerate(said)]
        self.memory = MemoryCollections()
        self.letters: list[Record] = []
        self.expired = 0
        self._readings = 0

    def read(self) -> None:
        """Apply every record, for the first time or again."""
        writers = Writers(0)
        writers.database.memory = self.memory
        writers.apply([[[record] for record in self.records]])
        for position, reason in sorted(writers.letters, key=lambda one: one[0].offset):
            about = next(one for one in self.records if one.position == position)
            self.dead_letter(about, reason)
        self._readings += 1

    def dead_letter(self, about: Record, reason: Reason, group: str = GROUP) -> None:
        """Send a letter, after all others."""
        stamp = about.timestamp_ms + 1 + 1000 * self._readings
        sent = letter(about, reason, group)
        self.letters.append(sent._replace(timestamp_ms=stamp, offset=len(self.letters)))

    @property
    def without_letter(self) -> set[Position]:
        """The records of which every letter has expired."""
        own = [_origin(one) for one in self.letters if (names.GROUP, GROUP.encode()) in one.headers]
        kept = {
            _origin(one)
            for one in self.letters[self.expired :]
            if (names.GROUP, GROUP.encode()) in one.headers
        }
        return set(own) - kept

    def audited(self) -> list[ListedRecord]:
        """What an audit lists now."""
        with closing(sqlite3.connect(":memory:", isolation_level=None)) as database:
            return asyncio.run(self._audited(database))

    async def _audited(self, database: sqlite3.Connection) -> list[ListedRecord]:
        letters, problems = DeadLetterIndex(database, GROUP), ProblemList(database)
        logs, place = MemoryLogs(1, LETTERS), TopicPartition(LETTERS, 0)
        logs.begins[place], logs.records[place] = self.expired, self.letters
        await letters.load(logs.reader, LETTERS)
        judge = RecordJudge(self.memory, letters, None, MAX_VALUE_BYTES)
        for record in self.records:
            problems.add(record.topic_partition, await judge.judge([record]))
        problems.settle_suspects()
        return list(problems.listed())


def _record(message: Message | None, offset: int) -> Record:
    if message is not None:
        return delivered(message, offset)[0]
    return Record("conversation.events", 0, offset, STAMPED_MS + offset, b"s0", BAD)


def _origin(one: Record) -> Position:
    info = names.origin_of(one.headers)
    assert info is not None
    return info.origin


@dataclass(slots=True)
class Damage:
    """What is not as it was applied."""

    deleted: set[Identity] = field(default_factory=set)
    altered: set[Identity] = field(default_factory=set)


def damage(data: st.DataObject, life: Life, done: Damage) -> None:
    """Delete and alter documents: in one session events, in another the session itself."""
    memory = life.memory
    harmed = done.deleted | done.altered
    for session_id in sorted(memory.sessions):
        events = sorted(key for key in memory.events if key[0] == session_id)
        of_events = any(one[:2] == ("event", session_id) for one in harmed)
        if ("session", session_id) not in harmed and (of_events or data.draw(st.booleans())):
            for key in events:
                action = data.draw(st.sampled_from(["delete", "alter", "leave"]))
                if action == "delete":
                    del memory.events[key]
                    done.deleted.add(("event", *key))
                    done.altered.discard(("event", *key))
                elif action == "alter":
                    stored = bson.decode(memory.events[key].raw)
                    stored["payload"] = {"forged": data.draw(st.booleans())}
                    memory.events[key] = raw_document(bson.encode(stored))
                    done.altered.add(("event", *key))
        elif not of_events and data.draw(st.booleans()):
            session = memory.sessions[session_id]
            if data.draw(st.booleans()):
                del memory.sessions[session_id]
                done.deleted.add(("session", session_id))
                done.altered.discard(("session", session_id))
            elif "startedAt" in session:
                session["language"] = "forged"
                done.altered.add(("session", session_id))


@given(
    data=st.data(),
    said=st.lists(messages, min_size=1, max_size=3),
    bad=st.lists(st.integers(0, 20), max_size=3),
    replays=st.integers(0, 2),
)
@settings(max_examples=300, deadline=None)
def test_exactly_what_was_deleted_and_altered_is_found(
    data: st.DataObject, said: list[list[Message]], bad: list[int], replays: int
) -> None:
    everything: list[Message | None] = [message for some in said for message in some]
    for place in bad:
        everything.insert(place % (len(everything) + 1), None)
    life, done = Life(everything), Damage()
    life.read()
    for _ in range(replays):
        damage(data, life, done)
        life.read()
        done.deleted.clear()  # what is missing is brought back, what is altered stays
    for other in data.draw(st.lists(st.sampled_from(life.records), max_size=6)):
        life.dead_letter(other, Reason.UNSTORABLE, "another group")
    damage(data, life, done)
    life.expired = data.draw(st.integers(0, len(life.letters)))
    event(f"{bool(done.deleted)=} {bool(done.altered)=} {bool(life.without_letter)=}")
    found: dict[AuditResult, list[ListedRecord]] = {}
    for problem in life.audited():
        found.setdefault(AuditResult(problem.problem), []).append(problem)
    assert {one.document for one in found.pop(AuditResult.MISSING, [])} == done.deleted
    assert {one.document for one in found.pop(AuditResult.ALTERED, [])} == done.altered
    unknown = {one.position for one in found.pop(AuditResult.UNKNOWN, [])}
    assert unknown <= life.without_letter
    assert found == {}
