"""What the engine reports of a replay: counted. Of the log only the troubles are left."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from consumer.commands.replay.tally import Tally
from consumer.contract.record import Record, TopicPartition
from consumer.contract.rejection import Rejected
from consumer.observability.health import Health
from consumer.observability.metrics import Metrics
from consumer.observability.observer import EngineObserver
from consumer.ports import BatchReport


class ReplayObserver(EngineObserver):
    """Counts instead of logging each batch; nobody asks for its metrics and its health."""

    def __init__(self, tally: Tally) -> None:
        """Count in ``tally``."""
        super().__init__(Metrics(), Health())
        self._tally = tally

    def settled(self, report: BatchReport) -> None:
        """See ``Observer``."""
        self._tally.add(report)

    def rejected(self, record: Record, rejected: Rejected) -> None:
        """See ``Observer``: the report has the reasons, the dead letters have the rest."""

    def assigned(self, partitions: Collection[TopicPartition], epoch: int) -> None:
        """See ``Observer``: there is no group."""

    def committed(self, offsets: Mapping[TopicPartition, int], seconds: float) -> None:
        """See ``Observer``: no offset of a group is moved."""
