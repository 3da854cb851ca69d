"""What must hold at every moment, and in the end."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import bson

from consumer.contract import dead_letter_headers as headers
from consumer.contract.record import Position, TopicPartition
from consumer.contract.rejection import Reason
from consumer.ports import Gap
from consumer.stream.committed import Committed
from tests.fakes.broker import Broker
from tests.fakes.collections import MemoryCollections
from tests.fakes.producer import SentRecord
from tests.model import Document, Sent, accounted_for, problems
from tests.simulation.process import Process
from tests.simulation.workload import Slot, Workload


class Checker:
    """Knows what was sent, and looks at what the store and the dead letters hold of it."""

    def __init__(self, broker: Broker, memory: MemoryCollections, workload: Workload) -> None:
        self._broker = broker
        self._memory = memory
        self._workload = workload
        self._letters: defaultdict[Position, set[Reason]] = defaultdict(set)
        self._verified: defaultdict[tuple[TopicPartition, int], int] = defaultdict(int)
        self._gaps: list[tuple[int, Gap]] = []
        self._unknown: set[Slot] = set()
        self.found: list[str] = []
        """What does not hold."""

    # --- while it runs --------------------------------------------------------------

    def letter(self, sent: SentRecord) -> None:
        """A dead letter reached its topic."""
        said = {name: (value or b"").decode() for name, value in sent.headers}
        position = Position(
            said[headers.TOPIC], int(said[headers.PARTITION]), int(said[headers.OFFSET])
        )
        self._letters[position].add(Reason(said[headers.REASON]))

    def gap(self, gap: Gap) -> None:
        """A process said that records were deleted before anybody read them."""
        log = self._broker.logs[gap.partition]
        self._gaps.append((log.number, gap))
        if gap.end > log.start:
            self.found.append(f"{gap}: told as deleted, and the log begins at {log.start}")

    def committed(self, offsets: Mapping[TopicPartition, Committed]) -> None:
        """Offsets were committed: what lies below them is never read again.

        One that names another log than there is says nothing of this one, and who reads it knows.
        """
        for partition, kept in offsets.items():
            log, offset = self._broker.logs[partition], kept.offset
            if (
                kept.belonging.topic_id
                != self._broker.topic_ids([partition.topic])[partition.topic]
            ):
                continue
            key = (partition, log.number)
            if offset > log.end:
                self.found.append(f"{partition}: committed {offset} beyond the end {log.end}")
            for passed in range(self._verified[key], offset):
                sent = self._workload.sent.get((partition, log.number, passed))
                if sent is not None and sent.surely_read and not self.accounted_for(sent):
                    self.found.append(f"{sent.position}: committed {offset} before it was stored")
            self._verified[key] = max(self._verified[key], offset)

    def deleting(self, partition: TopicPartition, until: int, committed: int | None) -> None:
        """Records are about to be deleted; those that nobody has settled may be lost.

        A group that has committed nothing cannot know that there was anything before.
        """
        log = self._broker.logs[partition]
        for record in log.records:
            slot: Slot = (partition, log.number, record.offset)
            if record.offset < until and not self.accounted_for(self._workload.sent[slot]):
                self._workload.may_be_lost(slot)
                if committed is None:
                    self._unknown.add(slot)

    def topic_deleted(self, partition: TopicPartition) -> None:
        """Its log is about to go, and with it what tells of those records that are lost."""
        log = self._broker.logs[partition]
        self.deleting(partition, log.end, None)
        self._unknown |= {
            slot
            for slot, sent in self._workload.sent.items()
            if slot[:2] == (partition, log.number) and not sent.surely_read
        }

    def reached(self, partition: TopicPartition) -> int:
        """The furthest offset that was ever committed of the log that there is."""
        return self._verified[partition, self._broker.logs[partition].number]

    def accounted_for(self, sent: Sent) -> bool:
        """Tell whether the record may be forgotten."""
        message = sent.says if isinstance(sent.says, Mapping) else {}
        session_id, event_id = message.get("sessionId"), message.get("eventId")
        event = self._memory.events.get((str(session_id), str(event_id)))
        session = self._memory.sessions.get(str(session_id))
        return accounted_for(
            sent,
            None if session is None else _decoded(bson.encode(session)),
            None if event is None else _decoded(bytes(event.raw)),
            self._letters[sent.position],
        )

    # --- in the end -----------------------------------------------------------------

    def behind(self, committed: Callable[[TopicPartition], int | None]) -> list[str]:
        """Return the partitions whose last record is not committed yet."""
        return [
            f"{partition}: committed {committed(partition)}, last record {log.offsets[-1]}"
            for partition, log in self._broker.logs.items()
            if log.offsets and (committed(partition) or 0) <= log.offsets[-1]
        ]

    def check_documents(self) -> None:
        """Nothing is lost, nothing is invented, everything is as the model has it."""
        sessions = [_decoded(bson.encode(one)) for one in self._memory.sessions.values()]
        events = [_decoded(bytes(raw.raw)) for raw in self._memory.events.values()]
        letters = [(at, reason) for at, reasons in self._letters.items() for reason in reasons]
        self.found += problems(self._workload.sent.values(), sessions, events, letters)
        for slot, sent in self._workload.sent.items():
            if sent.surely_read or slot in self._unknown or self.accounted_for(sent):
                continue
            if not self._told(sent):
                self.found.append(f"{sent.position}: lost, and nobody said so")

    def _told(self, sent: Sent) -> bool:
        topic, partition, offset = sent.position
        return any(
            number == sent.log
            and gap.partition == (topic, partition)
            and gap.first <= offset < gap.end
            for number, gap in self._gaps
        )

    def check_counts(self, process: Process) -> None:
        """Every delivery has ended in exactly one counted outcome, or was abandoned.

        Or it was given back with its partition, which nobody counts by records.
        """
        given_back = {partition for partition, _ in process.witness.told.holds}
        for partition, planned in process.planner.planned.items():
            outcomes = process.witness.told.outcomes_by_partition().get(partition)
            settled = 0 if outcomes is None else outcomes.total()
            abandoned = process.witness.told.abandoned_records[partition]
            missing = planned - settled - abandoned
            if missing < 0 or (missing and partition not in given_back):
                self.found.append(
                    f"{process.host.name} {partition}: {planned} planned, "
                    f"{settled} settled, {abandoned} abandoned"
                )


def _decoded(raw: bytes) -> Document:
    document: dict[str, Any] = bson.decode(raw)
    return document
