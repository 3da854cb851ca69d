"""What must hold at every moment, and in the end."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping

from consumer.contract import dead_letter as headers
from consumer.contract.dead_letter import serialized_size
from consumer.contract.record import OffsetRange, Position, TopicPartition
from consumer.contract.rejection import Reason
from consumer.kafka.committed import Committed
from consumer.kafka.producer import NO_LIMIT
from consumer.ports import LogReset
from tests.fakes.broker import Broker, Log
from tests.fakes.collections import MemoryCollections
from tests.fakes.group import Group
from tests.fakes.producer import SentRecord
from tests.model import Sent, accounted_for, problems
from tests.simulation.process import Process
from tests.simulation.workload import Slot, Workload


class Checker:
    """Knows what was sent, and looks at what the store and the dead letters hold of it."""

    def __init__(self, broker: Broker, memory: MemoryCollections, workload: Workload) -> None:
        self._broker = broker
        self._memory = memory
        self._workload = workload
        self._letters: defaultdict[tuple[Position, int], set[Reason]] = defaultdict(set)
        self._verified: defaultdict[tuple[TopicPartition, int], int] = defaultdict(int)
        self._gaps: list[tuple[int, OffsetRange]] = []
        self._unknown: set[Slot] = set()
        self._resets: list[tuple[int, TopicPartition]] = []
        self._holders: dict[Slot, list[tuple[Process, int]]] = {}
        """Who read a topic when it was deleted, and in which epoch."""
        self.smallest_limit = NO_LIMIT
        """The smallest letters' limit that there was, in bytes."""
        self.survivors: Collection[Process] = ()
        """Who lived on when everything was over."""
        self.found: list[str] = []
        """What does not hold."""

    # --- while it runs --------------------------------------------------------------

    def letter(self, sent: SentRecord) -> None:
        """A dead letter reached its topic."""
        said = {name: (value or b"").decode() for name, value in sent.headers}
        position = Position(
            said[headers.TOPIC], int(said[headers.PARTITION]), int(said[headers.OFFSET])
        )
        # Of two logs of one topic the same offset; no two records have one timestamp.
        stamp = int(said[headers.TIMESTAMP])
        self._letters[position, stamp].add(Reason(said[headers.REASON]))
        if headers.TRUNCATED in said:
            self._cut(position, stamp, sent)

    def _cut(self, position: Position, stamp: int, sent: SentRecord) -> None:
        """A letter may be cut only where the topic would refuse it, at its smallest limit."""
        record = next(one for one in self._workload.records.values() if one.timestamp_ms == stamp)
        own = tuple(one for one in sent.headers if one[0] in headers.NAMES)
        own = tuple(one for one in own if one[0] not in headers.TRUNCATION_NAMES)
        whole = serialized_size(record.key, record.value, record.headers + own)
        if whole <= self.smallest_limit:
            self.found.append(f"{position}: its letter of {whole} bytes was cut")

    def gap(self, gap: OffsetRange, *, passed: bool) -> None:
        """A process said that records were deleted unread. ``passed``: it had been beyond them."""
        log = self._broker.logs[gap.partition]
        self._gaps.append((log.number, gap))
        if passed:
            self.found.append(f"{gap}: told as deleted unread by one who had read further")
        if gap.end > log.start:
            self.found.append(f"{gap}: told as deleted, and the log begins at {log.start}")

    def committed(self, offsets: Mapping[TopicPartition, Committed]) -> None:
        """Offsets were committed: what lies below them, in their logs, is never read again."""
        for partition, kept in offsets.items():
            number, offset = self.log_of(partition, kept), kept.offset
            key, log = (partition, number), self._broker.logs[partition]
            if number == log.number and offset > log.end:
                self.found.append(f"{partition}: committed {offset} beyond the end {log.end}")
            for passed in range(self._verified[key], offset):
                sent = self._workload.sent.get((partition, number, passed))
                if sent is not None and sent.surely_read and not self.accounted_for(sent):
                    self.found.append(f"{sent.position}: committed {offset} before it was stored")
            self._verified[key] = max(self._verified[key], offset)

    def log_of(self, partition: TopicPartition, kept: Committed) -> int:
        """Return the number of the log of which a committed offset speaks."""
        topic_id = kept.details.topic_id
        if topic_id is None:
            return self._broker.logs[partition].number
        return int(topic_id.rpartition("#")[2])

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

    def reset(self, reset: LogReset) -> None:
        """A process said that a log began anew."""
        number = self._broker.logs[reset.partition].number
        if number == 0:
            self.found.append(f"{reset}: told of a log that was never made again")
        self._resets.append((number, reset.partition))

    def deleting_topic(self, topic: str, holders: Collection[Process], known: bool) -> None:
        """A topic is about to be deleted, with whatever nobody has settled of it.

        Its offsets go with it. So nobody knows of it but ``holders``, who read it now; and where
        topics have no ids (not ``known``), nobody can tell.
        """
        for partition, log in self._broker.logs.items():
            if partition.topic != topic:
                continue
            having = [one for one in holders if one.holds(partition)] if known else []
            self.deleting(partition, log.end + 1, None)
            for offset in range(log.end):
                # What had been deleted before and was not told yet can be told no more, either.
                slot = (partition, log.number, offset)
                self._unknown.add(slot)
                self._holders[slot] = [(one, one.epoch) for one in having]

    def accounted_for(self, sent: Sent) -> bool:
        """Tell whether the record may be forgotten."""
        lettered = self._letters[sent.position, sent.timestamp_ms]
        memory = self._memory
        return accounted_for(sent, memory.session, memory.event, lettered, memory.other)

    # --- in the end -----------------------------------------------------------------

    def behind(self, group: Group) -> list[str]:
        """Return the partitions whose last record is not committed yet."""
        kept = group.committed(self._broker.logs)
        return [
            f"{partition}: committed {kept[partition]}, last record {log.offsets[-1]}"
            for partition, log in self._broker.logs.items()
            if log.offsets and not self._is_behind_it(partition, kept[partition], log)
        ]

    def _is_behind_it(self, partition: TopicPartition, kept: Committed | None, log: Log) -> bool:
        if kept is None:
            return False
        if self.log_of(partition, kept) != log.number:
            # A late commit of the old log: who begins there reads the new one from its start.
            return self._verified[partition, log.number] > log.offsets[-1]
        return kept.offset > log.offsets[-1]

    def check_documents(self) -> None:
        """Nothing is lost, nothing is invented, everything is as the model has it."""
        letters = [(at, reason) for (at, _), reasons in self._letters.items() for reason in reasons]
        others = self._memory.other_documents()
        everything = self._workload.sent.values()
        self.found += problems(everything, *self._memory.documents(), letters, others)
        for slot, sent in self._workload.sent.items():
            if sent.surely_read or self.accounted_for(sent) or self._told(sent):
                continue
            holders = self._holders.get(slot, [])
            known = any(one in self.survivors and one.epoch == epoch for one, epoch in holders)
            if known or slot not in self._unknown:
                self.found.append(f"{sent.position}: lost, and nobody said so")

    def _told(self, sent: Sent) -> bool:
        topic, partition, offset = sent.position
        anew = ((p, number) for number, p in self._resets)
        if any(p == (topic, partition) and number > sent.log for p, number in anew):
            return True
        return any(
            number == sent.log
            and gap.partition == (topic, partition)
            and gap.first <= offset < gap.end
            for number, gap in self._gaps
        )

    def check_counts(self, process: Process) -> None:
        """Every delivery has ended in exactly one counted outcome, or was abandoned or held."""
        told = process.witness.told
        outcomes = told.outcomes_by_partition()
        for partition, planned in process.planned.items():
            settled = outcomes[partition].total() if partition in outcomes else 0
            abandoned, held = told.abandoned_records[partition], told.held_records[partition]
            consumed = told.consumed_records[partition]
            if not planned == consumed == settled + abandoned + held:
                self.found.append(
                    f"{process.host.name} {partition}: {planned} planned, {consumed} consumed, "
                    f"{settled} settled, {abandoned} abandoned, {held} held"
                )
