"""Sends writes in commands, cut to what fits, and sorts the answers by write."""

from __future__ import annotations

from bisect import bisect
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, chain
from typing import Generic, TypeVar

from consumer.errors import ConsumerError, PreconditionError, TimedOutError, TransientError
from consumer.mongo.collections import BulkReply, RefusedError, WriteFailure
from consumer.mongo.driver_errors import CodeClass, classify, code_name

T = TypeVar("T")
W = TypeVar("W")

WriteKey = int | str
"""Which write of a batch: its record's place in it; of an activity, which belongs to no record,
the session's id."""

MAX_STATEMENTS = 100_000
"""What MongoDB takes at most in one command; the engine's batches are smaller."""

MAX_COMMAND_BYTES = 16 * 1024 * 1024
"""What the documents of one command may weigh together; one of them may weigh as much alone. The
drivers take little more in a plain command, the server 48 MB."""

MAX_IN_ONE_FIND = 500
"""Ids in one find."""

GROWTH = 16
"""A command that was full and fitted lets the next ones carry one part in so many more."""

TRIES_BEFORE_ALONE = 3
"""After so many errors of its own a write is sent in a command of its own, and named."""


class BatchSizer:
    """Cuts work into commands, smaller ones where commands do not fit their deadline.

    Down to one: what never fits the deadline together must not block for ever. It outlives
    the batches: a database that is too slow for one batch is too slow for the next.
    """

    def __init__(self, most: int) -> None:
        """Begin with at most ``most`` in one command, and never exceed it."""
        self.limit = most
        self._most = most

    def chunks(
        self, work: Sequence[T], weight: Callable[[T], int], most_bytes: int
    ) -> Iterator[Sequence[T]]:
        """Yield the work in parts, by the limit as it is when each part is taken.

        A part weighs at most ``most_bytes``, or is one piece alone.
        """
        start = 0
        while start < len(work):
            part = work[start : start + self.limit]
            sums = list(accumulate(map(weight, part)))
            part = part[: max(1, bisect(sums, most_bytes))]
            yield part
            start += len(part)

    def timed_out(self, size: int) -> None:
        """Note that a command with ``size`` statements did not fit: half of it may.

        Commands of one size under way side by side halve once. Of one statement alone that
        says nothing: it might never fit, and all others would travel one by one each time.
        """
        if size > 1:
            self.limit = min(self.limit, size // 2)

    def fitted(self, size: int) -> None:
        """Note that a command with ``size`` statements fitted; a full one lets the next grow."""
        if size >= self.limit:
            self.limit = min(self._most, self.limit + max(1, self.limit // GROWTH))


@dataclass(frozen=True, slots=True)
class BatchSizers:
    """One for each kind of command of a store."""

    inserts: BatchSizer = field(default_factory=lambda: BatchSizer(MAX_STATEMENTS))
    upserts: BatchSizer = field(default_factory=lambda: BatchSizer(MAX_STATEMENTS))
    events: BatchSizer = field(default_factory=lambda: BatchSizer(MAX_IN_ONE_FIND))
    sessions: BatchSizer = field(default_factory=lambda: BatchSizer(MAX_IN_ONE_FIND))


@dataclass(slots=True, eq=False)
class PendingWrite:
    """What a write has met that was not applied at once. Most writes never have one.

    ``sent``: a command with it is behind us. ``found_existing``: the first answer of all was a
    clean duplicate key, or its document was there before anything was sent: somebody else was
    first. ``errors``: how often it failed where others were answered well; ``unanswered``: how
    often a command of it alone had no answer. ``raced_with``: hashes of the documents for which
    its guard holds and that it was refused beside.
    """

    sent: bool = False
    found_existing: bool = False
    errors: int = 0
    unanswered: int = 0
    raced_with: list[int] = field(default_factory=list)

    @property
    def goes_alone(self) -> bool:
        """Whether it travels in a command of its own, behind the others."""
        return self.unanswered > 0 or self.errors >= TRIES_BEFORE_ALONE


@dataclass(slots=True, eq=False)
class SendResult:
    """What came of sending some writes; those that appear nowhere had no answer."""

    applied: list[WriteKey] = field(default_factory=list)
    duplicates: list[WriteKey] = field(default_factory=list)
    refused: list[tuple[WriteKey, str]] = field(default_factory=list)
    errors: list[ConsumerError] = field(default_factory=list)
    broken: bool = False
    """A command as a whole had no answer; the rest was not sent."""


class Sender(Generic[W]):
    """Commands for one collection. ``key`` is the only unique index that may reject a write."""

    def __init__(
        self,
        command: Callable[[Sequence[W]], Awaitable[BulkReply]],
        weight: Callable[[W], int],
        key: tuple[str, ...],
        sizer: BatchSizer,
        pending: defaultdict[WriteKey, PendingWrite],
    ) -> None:
        """Send by ``command``, which raises as the primitives of ``Collections`` do.

        ``weight``: the bytes of a write. ``sizer``: how much one command carries. ``pending``:
        what each write has met; makes one where there is none.
        """
        self._command = command
        self._weight = weight
        self._key = key
        self._sizer = sizer
        self._pending = pending

    async def send(self, writes: Mapping[WriteKey, W]) -> SendResult:
        """Send each write once; what goes wrong is in the result, never raised.

        So the answers that did come are not lost, and commands sent side by side are all
        awaited. What had no answer when it travelled alone goes behind the others, so that
        they show whether the trouble is its own.
        """
        result = SendResult()
        together, single = self._split(writes)
        # Cut when it is their turn: what has fitted lets the next command carry more.
        chunks = self._sizer.chunks(
            together, lambda key: self._weight(writes[key]), MAX_COMMAND_BYTES
        )
        parts = chain(chunks, ([one] for one in single))
        halves: deque[Sequence[WriteKey]] = deque()
        while not result.broken:
            command = halves.popleft() if halves else next(parts, None)
            if command is None:
                break
            try:
                reply = await self._command([writes[key] for key in command])
            except RefusedError as error:
                self._note_sent(command)
                _take_apart(command, error, result, halves)
            except ConsumerError as error:
                self._note_sent(command)
                self._unanswered(command, error, result)
            else:
                self._sort(command, reply, result)
        return result

    def _split(self, writes: Iterable[WriteKey]) -> tuple[Sequence[WriteKey], Sequence[WriteKey]]:
        """Return what travels together, and what travels alone behind it."""
        pending = self._pending
        together: list[WriteKey] = []
        alone: list[WriteKey] = []
        for key in writes:
            goes_alone = key in pending and pending[key].goes_alone
            (alone if goes_alone else together).append(key)
        return together, sorted(alone, key=lambda key: pending[key].unanswered)

    def _note_sent(self, command: Sequence[WriteKey]) -> None:
        for one in command:
            self._pending[one].sent = True

    def _unanswered(
        self, command: Sequence[WriteKey], error: ConsumerError, result: SendResult
    ) -> None:
        if isinstance(error, TimedOutError):
            self._sizer.timed_out(len(command))
        if len(command) == 1:
            self._pending[command[0]].unanswered += 1
            index = self._blame(command[0], command, result)
            if isinstance(error, TransientError):
                error = type(error)(error.cause, error.detail, index=index)
        # Without the calls it came through, which hold this very result.
        result.errors.append(error.with_traceback(None))
        result.broken = True

    def _sort(self, command: Sequence[WriteKey], reply: BulkReply, result: SendResult) -> None:
        code = reply.write_concern_code
        if code is not None:
            # Written perhaps, perhaps to be rolled back: nothing in this reply holds, not
            # even its duplicate keys. A smaller command would wait as long for the majority.
            self._note_sent(command)
            result.errors.append(TransientError("write_concern", code_name(code)))
            result.broken = True
            return
        if not reply.failures:
            result.applied += command
            self._sizer.fitted(len(command))
            return
        result.applied += [one for i, one in enumerate(command) if i not in reply.failures]
        waiting: dict[int, list[WriteKey]] = {}
        for place, failure in reply.failures.items():
            if not self._answered(command[place], failure, result):
                waiting.setdefault(failure.code, []).append(command[place])
            self._pending[command[place]].sent = True
        for failed_code, writes in waiting.items():
            self._failed(command, failed_code, writes, result)
        if not waiting:
            self._sizer.fitted(len(command))

    def _answered(self, write: WriteKey, failure: WriteFailure, result: SendResult) -> bool:
        """Sort a write's error; tell whether it says something for good."""
        match classify(failure.code):
            case CodeClass.DUPLICATE:
                self._duplicate(write, failure, result)
            case CodeClass.PERMANENT:
                result.refused.append((write, code_name(failure.code)))
            case CodeClass.TIMED_OUT | CodeClass.TRANSIENT:
                return False
        return True

    def _failed(
        self,
        command: Sequence[WriteKey],
        code: int,
        writes: Sequence[WriteKey],
        result: SendResult,
    ) -> None:
        """Note trouble that passes.

        The same of several writes is trouble of the command: a router gives the failure
        of a shard to each statement that was for it.
        """
        failure: type[TransientError] = TransientError
        if classify(code) is CodeClass.TIMED_OUT:
            failure = TimedOutError
            self._sizer.timed_out(len(command))
        index = self._blame(writes[0], command, result) if len(writes) == 1 else None
        result.errors.append(failure(code_name(code), index=index))

    def _duplicate(self, write: WriteKey, failure: WriteFailure, result: SendResult) -> None:
        if failure.key is not None and failure.key != self._key:
            # Nothing about this message is known from another index's refusal.
            result.errors.append(
                PreconditionError(
                    f"a unique index on {', '.join(failure.key)} rejected a document; "
                    f"only the one on {', '.join(self._key)} may: drop the other"
                )
            )
            return
        pending = self._pending[write]
        if not pending.sent:
            pending.found_existing = True
        result.duplicates.append(write)

    def _blame(
        self, write: WriteKey, command: Sequence[WriteKey], result: SendResult
    ) -> int | None:
        """Count the trouble as the write's own where others were answered well beside it.

        Returns its record's place in the batch once it is the one that keeps failing.
        """
        pending = self._pending[write]
        others_well = bool(result.applied or result.duplicates or result.refused)
        if others_well or (len(command) == 1 and pending.errors):
            pending.errors += 1
        return write if isinstance(write, int) and pending.errors >= TRIES_BEFORE_ALONE else None


def _take_apart(
    command: Sequence[WriteKey],
    error: RefusedError,
    result: SendResult,
    halves: deque[Sequence[WriteKey]],
) -> None:
    """Look for the one document that the whole command was refused for."""
    if len(command) == 1:
        result.refused.append((command[0], error.cause))
        return
    middle = len(command) // 2
    halves.appendleft(command[middle:])
    halves.appendleft(command[:middle])
