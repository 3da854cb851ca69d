"""Sends statements in bulks and sorts the answers by statement."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic

from consumer.errors import ConsumerError, PreconditionError, TimedOutError, TransientError
from consumer.store.collections import BulkReply, RefusedError, WriteFailure
from consumer.store.failures import CodeClass, classify, code_name
from consumer.store.lane import Lane
from consumer.store.statements import Receipt, Statement, W

MAX_STATEMENTS = 100_000
"""What MongoDB takes at most in one command; the engine's batches are smaller."""


class Sender(Generic[W]):
    """Bulks of one collection. ``key`` is the only unique index that may reject a statement."""

    def __init__(
        self, command: Callable[[Sequence[W]], Awaitable[BulkReply]], key: tuple[str, ...]
    ) -> None:
        """Send by ``command``, which raises as the primitives of ``Collections`` do."""
        self._command = command
        self._key = key
        self._lane = Lane(MAX_STATEMENTS)

    async def send(self, statements: Sequence[Statement[W]]) -> Receipt[W]:
        """Send each statement once; what goes wrong is in the receipt, never raised.

        So the answers that did come are not lost, and commands sent side by side are all
        awaited.
        """
        receipt: Receipt[W] = Receipt()
        together = [statement for statement in statements if not statement.alone]
        commands = deque(self._lane.cut(together))
        commands.extend([statement] for statement in statements if statement.alone)
        while commands and not receipt.broken:
            command = commands.popleft()
            try:
                reply = await self._command([statement.write for statement in command])
            except RefusedError as error:
                self._taken_apart(command, error, receipt, commands)
            except ConsumerError as error:
                self._unanswered(command, error, receipt)
            else:
                self._sort(command, reply, receipt)
            for statement in command:
                statement.sent = True
        return receipt

    def _taken_apart(
        self,
        command: Sequence[Statement[W]],
        error: RefusedError,
        receipt: Receipt[W],
        commands: deque[Sequence[Statement[W]]],
    ) -> None:
        """Look for the one document that the whole command was refused for."""
        if len(command) == 1:
            receipt.refused.append((command[0], error.cause))
            return
        middle = len(command) // 2
        commands.appendleft(command[middle:])
        commands.appendleft(command[:middle])

    def _unanswered(
        self, command: Sequence[Statement[W]], error: ConsumerError, receipt: Receipt[W]
    ) -> None:
        if isinstance(error, TimedOutError):
            self._lane.timed_out(len(command))
        if isinstance(error, TransientError) and self._stands_alone(command):
            error = type(error)(error.cause, error.detail, index=command[0].index)
        receipt.troubles.append(error)
        receipt.broken = True

    def _stands_alone(self, command: Sequence[Statement[W]]) -> bool:
        """Tell whether the trouble has been narrowed down to this one statement."""
        return len(command) == 1 and (command[0].alone or self._lane.limit == 1)

    def _sort(self, command: Sequence[Statement[W]], reply: BulkReply, receipt: Receipt[W]) -> None:
        code = reply.write_concern_code
        if code is not None:
            # Written perhaps, perhaps to be rolled back: nothing in this reply holds, not
            # even its duplicate keys.
            timed_out = classify(code) is CodeClass.TIMED_OUT
            failure = TimedOutError if timed_out else TransientError
            self._unanswered(command, failure("write_concern", code_name(code)), receipt)
            return
        if not reply.failures:
            receipt.applied.extend(command)
            return
        timed_out = False
        for place, statement in enumerate(command):
            failed = reply.failures.get(place)
            if failed is None:
                receipt.applied.append(statement)
            else:
                timed_out |= self._failed(statement, failed, receipt)
        if timed_out:
            self._lane.timed_out(len(command))

    def _failed(self, statement: Statement[W], failure: WriteFailure, receipt: Receipt[W]) -> bool:
        """Sort one failed statement; tell whether its time had run out."""
        kind = classify(failure.code)
        match kind:
            case CodeClass.DUPLICATE:
                self._doubted(statement, failure, receipt)
            case CodeClass.PERMANENT:
                receipt.refused.append((statement, code_name(failure.code)))
            case CodeClass.TIMED_OUT:
                receipt.troubles.append(TimedOutError(code_name(failure.code)))
            case CodeClass.TRANSIENT:
                statement.troubles += 1
                index = statement.index if statement.alone else None
                receipt.troubles.append(TransientError(code_name(failure.code), index=index))
        return kind is CodeClass.TIMED_OUT

    def _doubted(self, statement: Statement[W], failure: WriteFailure, receipt: Receipt[W]) -> None:
        if failure.key is not None and failure.key != self._key:
            # Nothing about this message is known from another index's refusal.
            receipt.troubles.append(
                PreconditionError(
                    f"a unique index on {', '.join(failure.key)} rejected a document; "
                    f"only the one on {', '.join(self._key)} may: drop the other"
                )
            )
            return
        if not statement.sent:
            statement.met_stored = True
        receipt.doubted.append(statement)
