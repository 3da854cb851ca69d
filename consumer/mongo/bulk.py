"""Bulks of one collection: how much a command carries, what its answer says."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Generic, TypeVar

from consumer.errors import ConsumerError, PreconditionError, TimedOutError, TransientError
from consumer.mongo.collections import BulkReply, RefusedError, WriteFailure
from consumer.mongo.errors import CodeClass, classify, code_name
from consumer.state.writes import EventWrite, SessionWrite

T = TypeVar("T")

MAX_STATEMENTS = 100_000
"""What MongoDB takes at most in one command; the engine's batches are smaller."""

MAX_IN_ONE_FIND = 500
"""Ids in one find."""

GROWTH = 16
"""A command that was full and fitted lets the next ones carry one part in so many more."""


class BatchSizer:
    """Cuts work into commands, smaller ones where commands do not fit their deadline.

    Down to one: what never fits the deadline together must not block for ever. It outlives
    the batches: a database that is too slow for one batch is too slow for the next.
    """

    def __init__(self, most: int) -> None:
        """Begin with at most ``most`` in one command, and never exceed it."""
        self.limit = most
        self._most = most

    def chunks(self, work: Sequence[T]) -> Iterator[Sequence[T]]:
        """Yield the work in parts, by the limit as it is when each part is taken."""
        start = 0
        while start < len(work):
            part = work[start : start + self.limit]
            start += len(part)
            yield part

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


W = TypeVar("W", bound=EventWrite | SessionWrite)

TRIES_BEFORE_ALONE = 3
"""After so many errors of its own a statement is sent in a command of its own, and named."""


@dataclass(slots=True, eq=False)
class PendingWrite(Generic[W]):
    """One write on its way. ``index`` is its record's place in the batch, None for an activity.

    ``may_be_ours``: this delivery may have written it already, unheard. It stays false
    where the first answer of all was a clean duplicate key: then somebody else was first.
    ``errors``: how often it failed where others were answered well; ``unanswered``: how
    often a command of it alone had no answer. ``raced_with``: hashes of the documents for
    which its guard holds and that it was refused beside.
    """

    write: W
    index: int | None = None
    sent: bool = False
    found_existing: bool = False
    errors: int = 0
    unanswered: int = 0
    raced_with: list[int] = field(default_factory=list)

    @property
    def may_be_ours(self) -> bool:
        """Whether what is found in its place may be its own earlier attempt."""
        return not self.found_existing

    @property
    def goes_alone(self) -> bool:
        """Whether it travels in a command of its own, behind the others."""
        return self.unanswered > 0 or self.errors >= TRIES_BEFORE_ALONE

    @property
    def named(self) -> int | None:
        """Its record's place in the batch, once it is the one that keeps failing."""
        return self.index if self.errors >= TRIES_BEFORE_ALONE else None


@dataclass(slots=True, eq=False)
class SendResult(Generic[W]):
    """What came of sending some statements; those that appear nowhere had no answer."""

    applied: list[PendingWrite[W]] = field(default_factory=list)
    duplicates: list[PendingWrite[W]] = field(default_factory=list)
    refused: list[tuple[PendingWrite[W], str]] = field(default_factory=list)
    errors: list[ConsumerError] = field(default_factory=list)
    broken: bool = False
    """A command as a whole had no answer; the rest was not sent."""


class Sender(Generic[W]):
    """Bulks of one collection. ``key`` is the only unique index that may reject a statement."""

    def __init__(
        self,
        command: Callable[[Sequence[W]], Awaitable[BulkReply]],
        key: tuple[str, ...],
        sizer: BatchSizer,
    ) -> None:
        """Send by ``command``, which raises as the primitives of ``Collections`` do.

        ``sizer``: how much one command carries.
        """
        self._command = command
        self._key = key
        self._sizer = sizer

    async def send(self, statements: Sequence[PendingWrite[W]]) -> SendResult[W]:
        """Send each statement once; what goes wrong is in the sent_result, never raised.

        So the answers that did come are not lost, and commands sent side by side are all
        awaited. What had no answer when it travelled alone goes behind the others, so that
        they show whether the trouble is its own.
        """
        sent_result: SendResult[W] = SendResult()
        together = [one for one in statements if not one.goes_alone]
        single = [one for one in statements if one.goes_alone]
        single.sort(key=lambda one: one.unanswered)
        # Cut when it is their turn: what has fitted lets the next command carry more.
        parts = chain(self._sizer.chunks(together), ([one] for one in single))
        halves: deque[Sequence[PendingWrite[W]]] = deque()
        while not sent_result.broken:
            command = halves.popleft() if halves else next(parts, None)
            if command is None:
                break
            try:
                reply = await self._command([statement.write for statement in command])
            except RefusedError as error:
                self._taken_apart(command, error, sent_result, halves)
            except ConsumerError as error:
                self._unanswered(command, error, sent_result)
            else:
                self._sort(command, reply, sent_result)
            for statement in command:
                statement.sent = True
        return sent_result

    def _taken_apart(
        self,
        command: Sequence[PendingWrite[W]],
        error: RefusedError,
        sent_result: SendResult[W],
        halves: deque[Sequence[PendingWrite[W]]],
    ) -> None:
        """Look for the one document that the whole command was refused for."""
        if len(command) == 1:
            sent_result.refused.append((command[0], error.cause))
            return
        middle = len(command) // 2
        halves.appendleft(command[middle:])
        halves.appendleft(command[:middle])

    def _unanswered(
        self, command: Sequence[PendingWrite[W]], error: ConsumerError, sent_result: SendResult[W]
    ) -> None:
        if isinstance(error, TimedOutError):
            self._sizer.timed_out(len(command))
        if len(command) == 1:
            command[0].unanswered += 1
            _blame(command[0], command, sent_result)
            if isinstance(error, TransientError):
                error = type(error)(error.cause, error.detail, index=command[0].named)
        sent_result.errors.append(error)
        sent_result.broken = True

    def _sort(
        self, command: Sequence[PendingWrite[W]], reply: BulkReply, sent_result: SendResult[W]
    ) -> None:
        code = reply.write_concern_code
        if code is not None:
            # Written perhaps, perhaps to be rolled back: nothing in this reply holds, not
            # even its duplicate keys. A smaller command would wait as long for the majority.
            sent_result.errors.append(TransientError("write_concern", code_name(code)))
            sent_result.broken = True
            return
        waiting: dict[int, list[PendingWrite[W]]] = {}
        for place, statement in enumerate(command):
            failed = reply.failures.get(place)
            if failed is None:
                sent_result.applied.append(statement)
            elif not self._settled(statement, failed, sent_result):
                waiting.setdefault(failed.code, []).append(statement)
        for failed_code, statements in waiting.items():
            self._failed(command, failed_code, statements, sent_result)
        if not waiting:
            self._sizer.fitted(len(command))

    def _settled(
        self, statement: PendingWrite[W], failure: WriteFailure, sent_result: SendResult[W]
    ) -> bool:
        """Sort a statement's error; tell whether it says something for good."""
        match classify(failure.code):
            case CodeClass.DUPLICATE:
                self._duplicate(statement, failure, sent_result)
            case CodeClass.PERMANENT:
                sent_result.refused.append((statement, code_name(failure.code)))
            case CodeClass.TIMED_OUT | CodeClass.TRANSIENT:
                return False
        return True

    def _failed(
        self,
        command: Sequence[PendingWrite[W]],
        code: int,
        statements: Sequence[PendingWrite[W]],
        sent_result: SendResult[W],
    ) -> None:
        """Note trouble that passes.

        The same of several statements is trouble of the command: a router gives the failure
        of a shard to each statement that was for it.
        """
        failure: type[TransientError] = TransientError
        if classify(code) is CodeClass.TIMED_OUT:
            failure = TimedOutError
            self._sizer.timed_out(len(command))
        index = None
        if len(statements) == 1:
            _blame(statements[0], command, sent_result)
            index = statements[0].named
        sent_result.errors.append(failure(code_name(code), index=index))

    def _duplicate(
        self, statement: PendingWrite[W], failure: WriteFailure, sent_result: SendResult[W]
    ) -> None:
        if failure.key is not None and failure.key != self._key:
            # Nothing about this message is known from another index's refusal.
            sent_result.errors.append(
                PreconditionError(
                    f"a unique index on {', '.join(failure.key)} rejected a document; "
                    f"only the one on {', '.join(self._key)} may: drop the other"
                )
            )
            return
        if not statement.sent:
            statement.found_existing = True
        sent_result.duplicates.append(statement)


def _blame(
    statement: PendingWrite[W], command: Sequence[PendingWrite[W]], sent_result: SendResult[W]
) -> None:
    """Count the trouble as the statement's own where others were answered well beside it."""
    others_well = bool(sent_result.applied or sent_result.duplicates or sent_result.refused)
    if others_well or (len(command) == 1 and statement.errors):
        statement.errors += 1
