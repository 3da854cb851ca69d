"""How the records of a replay ended, by partition."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from consumer.contract.record import TopicPartition
from consumer.contract.rejection import Reason
from consumer.ports import BatchReport
from consumer.state.outcomes import Mark, Outcome


@dataclass(slots=True)
class Ends:
    """How records ended; ``reasons`` of those that were rejected."""

    outcomes: Counter[Outcome] = field(default_factory=Counter)
    reasons: Counter[Reason] = field(default_factory=Counter)
    marks: Counter[Mark] = field(default_factory=Counter)

    @property
    def records(self) -> int:
        """How many records have ended."""
        return self.outcomes.total()


@dataclass(slots=True)
class Tally:
    """Counts, in memory that grows with the partitions alone."""

    partitions: dict[TopicPartition, Ends] = field(default_factory=dict)

    def add(self, report: BatchReport) -> None:
        """Count a settled batch."""
        for partition, part in report.partitions.items():
            ends = self.partitions.setdefault(partition, Ends())
            ends.outcomes.update(part.outcomes)
            ends.reasons.update(part.reasons)
            ends.marks.update(part.marks)

    @property
    def total(self) -> Ends:
        """The sum over all partitions."""
        return summed(self.partitions)


def summed(partitions: Mapping[TopicPartition, Ends]) -> Ends:
    """Add up."""
    total = Ends()
    for ends in partitions.values():
        total.outcomes.update(ends.outcomes)
        total.reasons.update(ends.reasons)
        total.marks.update(ends.marks)
    return total
