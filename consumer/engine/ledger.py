"""What is known of the assigned partitions, and which offsets may be committed. Pure.

Three words, per partition:

position    the next offset to hand to the engine; the next poll begins there
settled     ended in exactly one counted outcome, dead letters acknowledged
committable the offset below which everything handed out is settled: where the batch in flight
            begins, of which there is at most one, else the position

Only committable offsets are ever committed. A client's own position counts what
was handed out, so committing it would lose whatever is unwritten at a crash.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from consumer.contract.record import Partitions, TopicPartition
from consumer.ports import NO_HOLDS, Hold, Holds, StartOffset


class LedgerError(AssertionError):
    """An offset moved in a way that would lose records: a defect, never an input."""


@dataclass(slots=True, eq=False)
class PartitionState:
    """All that this process knows of a partition, from its assignment to its end.

    ``position``: None until it is known where reading begins, or since the log is no more.
    ``in_flight``: where the batch in flight begins, None where there is none.
    ``committed``: what this member knows to be committed, None where nothing is.
    ``hold``: why the breaker holds it. ``hold_told``: what is committed says of that what is so.
    ``failures``: how often in a row it could not be read; it is left alone until ``retry_at``.
    ``oldest_unread_ms``: the timestamp of the oldest record that is not settled, or of the last
    one that is. ``caught_up_at``, ``behind_since``: when it was last seen without lag, and first
    with; seconds of the wall clock.
    ``stable_end``: where its stable records end, as brokers have told beside the fetches.
    ``open_transaction``: where the oldest one begins and since when; ``hanging``: the last told.
    """

    partition: TopicPartition
    position: int | None = None
    in_flight: int | None = None
    committed: int | None = None
    hold: Hold | None = None
    hold_told: bool = True
    failures: int = 0
    retry_at: float = 0.0
    oldest_unread_ms: int | None = None
    caught_up_at: float | None = None
    behind_since: float | None = None
    stable_end: int | None = None
    open_transaction: tuple[int, float] | None = None
    hanging: int | None = None

    @property
    def committable(self) -> int:
        """The offset below which everything handed out is settled."""
        return (self.position or 0) if self.in_flight is None else self.in_flight

    @property
    def progressed(self) -> bool:
        """Whether more is settled than is committed."""
        return self.committable > (self.committed or 0)


class Ledger:
    """The partitions of the current assignment and their offsets.

    Every assignment has an epoch; what was taken in an older one changes nothing any
    more, since its partition may have another owner or another history now.
    """

    def __init__(self) -> None:
        """Begin with no partition."""
        self._states: dict[TopicPartition, PartitionState] = {}
        self._busy: set[TopicPartition] = set()
        self.epoch = 0
        """The number of the current assignment."""
        self.revision = 0
        """Changes with every epoch and every starting point: what was offered for commit before
        may speak of another history of a partition."""

    def assign(self, partitions: Partitions) -> None:
        """Forget every partition and outdate what is in flight; these are ours from now on."""
        self._states = {partition: PartitionState(partition) for partition in sorted(partitions)}
        self.epoch += 1
        self.revision += 1

    def begin(self, partition: TopicPartition, start: StartOffset) -> None:
        """Begin a partition; or begin it again, after its log began anew."""
        before = self._states[partition]
        # What is committed may still tell of a hold that is over.
        told = not start.held and before.hold is None and before.hold_told
        self._states[partition] = PartitionState(
            partition, start.offset, committed=start.committed, hold_told=told
        )
        self.revision += 1

    def drop(self, partition: TopicPartition) -> None:
        """Forget a partition whose log is no more, and what is in flight, until it begins again."""
        before = self._states.get(partition)
        if before is not None:
            self._states[partition] = PartitionState(
                partition,
                hold=before.hold,
                # What tells of its hold may be committed late.
                hold_told=before.hold is None and before.hold_told,
                failures=before.failures,
                retry_at=before.retry_at,
            )
        self.revision += 1

    def __getitem__(self, partition: TopicPartition) -> PartitionState:
        """The state of an assigned partition."""
        return self._states[partition]

    def __iter__(self) -> Iterator[PartitionState]:
        """The states of the partitions whose starting point is known."""
        return (state for state in self._states.values() if state.position is not None)

    def get(self, partition: TopicPartition) -> PartitionState | None:
        """The state of a partition; None where it is not ours."""
        return self._states.get(partition)

    def position(self, partition: TopicPartition) -> int | None:
        """The offset at which the next poll must begin; None where it is not known, or not ours."""
        state = self.get(partition)
        return None if state is None else state.position

    # --- what may be polled ---------------------------------------------------

    def idle(self, now: float) -> list[TopicPartition]:
        """Return the partitions with nothing in flight, not held, and due to be read again."""
        return [
            state.partition
            for state in self._states.values()
            if state.partition not in self._busy and state.hold is None and state.retry_at <= now
        ]

    def mark_busy(self, partitions: Partitions) -> None:
        """A batch of these partitions is in flight.

        That outlives an epoch: two batches of one partition side by side, be they of two
        epochs, would let the second by offset come first.
        """
        self._busy.update(partitions)

    def release(self, partitions: Partitions) -> None:
        """Their batch has ended, in whichever epoch."""
        self._busy.difference_update(partitions)

    # --- what is handed out and settled ---------------------------------------

    def take(self, partition: TopicPartition, first: int, end: int) -> PartitionState:
        """Hand out the records ``first`` to ``end`` (exclusive); return whose batch that is.

        Offsets between the position and ``first`` do not exist for readers
        (transaction markers, aborted records), so they are settled with it.
        """
        state = self._states[partition]
        if state.in_flight is not None:
            raise LedgerError(f"{partition}: took {first}..{end} with a batch in flight")
        if state.position is None or first < state.position or end <= first:
            raise LedgerError(f"{partition}: took {first}..{end}, expected {state.position}")
        state.in_flight, state.position = state.position, end
        return state

    def settle(self, taken: PartitionState) -> bool:
        """Count what was taken as done. False, and no effect, where it is outdated."""
        if not self._is_in_flight(taken):
            return False
        taken.in_flight = None
        return True

    def give_back(self, taken: PartitionState, hold: Hold) -> bool:
        """Undo a take: the next poll begins where it did. False as for ``settle``.

        ``hold``: why it will not come soon, which is worth committing.
        """
        if not self._is_in_flight(taken):
            return False
        taken.position, taken.in_flight = taken.in_flight, None
        taken.hold, taken.hold_told = hold, False
        return True

    def _is_in_flight(self, taken: PartitionState) -> bool:
        return self._states.get(taken.partition) is taken and taken.in_flight is not None

    def resume(self, *, gone: bool = False) -> frozenset[TopicPartition]:
        """Let held partitions go on, or those only whose log is ``gone``; return which those are.

        A commit that tells of a hold may be on its way already.
        """
        held = [
            state
            for state in self._states.values()
            if state.hold is not None and (state.position is None or not gone)
        ]
        for state in held:
            state.hold, state.hold_told = None, False
        return frozenset(state.partition for state in held)

    def pass_to(self, partition: TopicPartition, offset: int) -> None:
        """Follow the reader over offsets without records, where nothing before is unsettled."""
        state = self._states.get(partition)
        if state is None or state.position is None or state.in_flight is not None:
            return
        state.position = max(state.position, offset)

    # --- what is committed ----------------------------------------------------

    def uncommitted(self) -> dict[TopicPartition, int]:
        """What is worth committing now: partition to the offset of the next record to read.

        A hold is worth it where nothing else is, but no commit goes below an earlier one.
        """
        return {
            state.partition: state.committable
            for state in self
            if state.progressed
            or (not state.hold_told and state.committable >= (state.committed or 0))
        }

    def holds(self, partitions: Partitions) -> Holds:
        """Why those of the partitions that are held are."""
        states = (self._states[partition] for partition in partitions)
        return {state.partition: state.hold for state in states if state.hold is not None}

    def mark_committed(
        self,
        offsets: Iterable[tuple[TopicPartition, int]],
        revision: int,
        holds: Holds = NO_HOLDS,
    ) -> None:
        """Remember what the broker has acknowledged, if the revision is still the same."""
        if revision != self.revision:
            return
        for partition, offset in offsets:
            state = self._states[partition]
            if offset > state.committable:
                raise LedgerError(f"{partition}: committed {offset} past {state.committable}")
            state.committed = offset
            # Held or resumed meanwhile, it is to be told by the next one.
            state.hold_told = holds.get(partition) is state.hold
